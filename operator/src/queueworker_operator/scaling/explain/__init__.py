"""The decision in words: one sentence for the status, and a waterfall with what comes next for `queueworker why`. Pure.

`message` needs the look that the decision was made on; `waterfall`, `next_change` and `would_change` rest on the status
and the spec alone, so that a command needs no Redis.
"""

from queueworker_operator.scaling.explain.forecast import Upcoming, next_change, would_change
from queueworker_operator.scaling.explain.limits import PINNED_ANNOTATION, pinned
from queueworker_operator.scaling.explain.message import message
from queueworker_operator.scaling.explain.waterfall import Line, waterfall
from queueworker_operator.scaling.explain.words import MAX_LENGTH, clip, clock, count, listed, queues_are, without_head

__all__ = [
    "MAX_LENGTH",
    "PINNED_ANNOTATION",
    "Line",
    "Upcoming",
    "clip",
    "clock",
    "count",
    "listed",
    "message",
    "next_change",
    "pinned",
    "queues_are",
    "waterfall",
    "without_head",
    "would_change",
]
