"""The conditions of a QueueWorker and the events that go with them. Pure: no I/O, no clock."""

from queueworker_operator.conditions.evaluate import Facts, conditions
from queueworker_operator.conditions.events import EventToPublish, transitions

__all__ = ["EventToPublish", "Facts", "conditions", "transitions"]
