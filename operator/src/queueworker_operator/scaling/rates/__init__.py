"""What successive readings teach: how fast jobs come and go, how long they take, how long pods need to start."""

from queueworker_operator.scaling.rates.learner import learn
from queueworker_operator.scaling.rates.measure import rates
from queueworker_operator.scaling.rates.memory import (
    remember_service,
    remember_starts,
    restore_service,
    restore_starts,
)
from queueworker_operator.scaling.rates.starts import learn_starts, start_up

__all__ = [
    "learn",
    "learn_starts",
    "rates",
    "remember_service",
    "remember_starts",
    "restore_service",
    "restore_starts",
    "start_up",
]
