"""Observe, decide, apply, report: what happens when a key was woken."""

from queueworker_operator.reconciler.reconciler import Reconciler, ReconcilerSettings

__all__ = ["Reconciler", "ReconcilerSettings"]
