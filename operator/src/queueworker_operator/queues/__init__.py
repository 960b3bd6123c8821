"""What the queues hold: one reader per Redis, which wakes those that care."""

from queueworker_operator.queues.pace import Pace
from queueworker_operator.queues.reading import Reading
from queueworker_operator.queues.registry import Queues

__all__ = ["Pace", "Queues", "Reading"]
