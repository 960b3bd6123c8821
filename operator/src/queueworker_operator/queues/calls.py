"""The calls that wait for events: the queues of each, and how many calls begin in a second (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from queueworker.keys import QueueKeys

KEYS_PER_CALL = 500
CALLS_AT_ONCE = 3
CALLS_PER_SECOND = 7
"""With those at once at most 10 begin in any second."""


@dataclass(slots=True, eq=False)
class Group:
    """The queues of one call."""

    after: dict[QueueKeys, str] = field(default_factory=dict)
    """The id that each is waited from."""
    ends_at: float = 0.0
    """When its call ends at the latest."""
    patient: bool = False
    """Whether it heard nothing, and may wait a moment to be joined with another one."""

    def __len__(self) -> int:
        return len(self.after)

    def fill_from(self, other: Group) -> list[QueueKeys]:
        """Take as many queues from another group as there is room for, and return them."""
        taken = list(islice(other.after, KEYS_PER_CALL - len(self)))
        for queue in taken:
            self.after[queue] = other.after.pop(queue)
        return taken


class Rate:
    """A few calls at once, then so many a second."""

    def __init__(self) -> None:
        self._paid_at = float("-inf")

    def free_at(self) -> float:
        """Return from when on the next call may begin."""
        return self._paid_at - (CALLS_AT_ONCE - 1) / CALLS_PER_SECOND

    def spend(self, now: float) -> None:
        """Take note that a call begins."""
        self._paid_at = max(self._paid_at, now) + 1 / CALLS_PER_SECOND
