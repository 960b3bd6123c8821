"""Which queues are read next: several lines, each with its right to the server's time (pure)."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, auto
from itertools import islice
from typing import Generic, TypeVar

from queueworker_operator.queues.agenda import Agenda
from queueworker_operator.queues.budget import Budget
from queueworker_operator.queues.pace import Pace
from queueworker_operator.queues.reading import Reading

K = TypeVar("K", bound=Hashable)

BATCH = 250
"""Queues read in one call: few enough that a wake behind it is served soon."""
DETAILS_BATCH = 50
LATE_SECONDS = 5.0
"""So long polls step back behind reads that run ahead of the budget."""


class Kind(Enum):
    """A line."""

    URGENT = auto()
    """An event came, or somebody waits for the answer."""
    OWED = auto()
    """Never read, or not since the server came back: read once, whatever it costs."""
    POLL = auto()
    DETAILS = auto()


class Lines(Generic[K]):
    """The queues that are due, by what makes them due. The lines that have work and right take turns."""

    def __init__(self, budget: Budget, pace: Pace) -> None:
        self._budget = budget
        self._pace = pace
        self._urgent: Agenda[K] = Agenda()
        self._owed: dict[K, None] = {}
        self._polls: Agenda[K] = Agenda()
        self._details: Agenda[K] = Agenda()
        self._asked_details: dict[K, None] = {}
        self._last = Kind.DETAILS

    def owe(self, queue: K) -> None:
        """Read the queue as soon as possible."""
        self._owed[queue] = None

    def hurry(self, queue: K, when: float) -> None:
        """Read the queue then, ahead of those that are polled."""
        self._urgent.hasten(queue, when)

    def hurry_details(self, queue: K, when: float) -> None:
        """Read the queue's details then, ahead of the others."""
        self._asked_details[queue] = None
        self._details.hasten(queue, when)

    def poll(self, queue: K, when: float) -> None:
        """Read the queue then, if the budget allows it."""
        self._polls.set(queue, when)

    def poll_by(self, queue: K, when: float) -> None:
        """Read the queue then, unless it is due sooner."""
        self._polls.hasten(queue, when)

    def poll_details(self, queue: K, when: float) -> None:
        """Read the queue's details then, if the budget allows it."""
        self._details.set(queue, when)

    def wants_details(self, queue: K, reading: Reading, *, became_busy: bool, now: float) -> None:
        """Plan the details after a read: the first ones now, then of a busy queue and not too often."""
        if reading.problem is not None:
            return
        at = reading.details_at
        if at is not None and not reading.busy:
            if queue not in self._asked_details:
                self._details.discard(queue)
        elif became_busy or queue not in self._details:
            self._details.hasten(queue, now if at is None else max(now, at + self._pace.details))

    def discard(self, queue: K) -> None:
        """Forget the queue."""
        self._owed.pop(queue, None)
        self._asked_details.pop(queue, None)
        for agenda in (self._urgent, self._polls, self._details):
            agenda.discard(queue)

    def clear(self) -> None:
        """Forget all queues."""
        self._owed.clear()
        self._asked_details.clear()
        for agenda in (self._urgent, self._polls, self._details):
            agenda.clear()

    def take(self, now: float) -> tuple[Kind, list[K]]:
        """Take the next batch; an empty one where nothing may be read yet."""
        for kind in sorted(Kind, key=lambda kind: (kind is self._last, kind.value)):
            at = self._ready_at(kind)
            if at is not None and at <= now:
                self._last = kind
                return kind, self._take(kind, now)
        return Kind.POLL, []

    def next_at(self) -> float | None:
        """Return when a batch can be taken; None where nothing is due at any time."""
        return min((at for kind in Kind if (at := self._ready_at(kind)) is not None), default=None)

    def _ready_at(self, kind: Kind) -> float | None:
        if kind is Kind.OWED:
            return float("-inf") if self._owed else None
        agenda = {Kind.URGENT: self._urgent, Kind.POLL: self._polls, Kind.DETAILS: self._details}[kind]
        due = agenda.next_at()
        if due is None:
            return None
        if kind is Kind.URGENT or (kind is Kind.DETAILS and self._asked_details):
            return max(due, self._budget.free_at(ahead=True))
        # Reads that run ahead must not hold up the others for ever: after a while these may do so too.
        late = max(due + LATE_SECONDS, self._budget.free_at(ahead=True))
        return min(late, max(due, self._budget.free_at()))

    def _take(self, kind: Kind, now: float) -> list[K]:
        if kind is Kind.DETAILS:
            return self._take_details(now)
        if kind is Kind.OWED:
            taken = list(islice(self._owed, BATCH))
        else:
            taken = (self._urgent if kind is Kind.URGENT else self._polls).take(now, BATCH)
        for queue in taken:
            self._owed.pop(queue, None)
            self._urgent.discard(queue)
        return taken

    def _take_details(self, now: float) -> list[K]:
        asked = list(islice(self._asked_details, DETAILS_BATCH))
        for queue in asked:
            del self._asked_details[queue]
            self._details.discard(queue)
        return asked or self._details.take(now, DETAILS_BATCH)
