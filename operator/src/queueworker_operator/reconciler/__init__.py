"""Observe, decide, apply, report: what happens when a key was woken."""

from queueworker_operator.reconciler.reconciler import Reconciler
from queueworker_operator.reconciler.settings import ReconcilerSettings

__all__ = ["Reconciler", "ReconcilerSettings"]
