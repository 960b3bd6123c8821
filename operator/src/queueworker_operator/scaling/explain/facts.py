"""What a sentence says of one queue, from a look at it or from the status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.observation import QueueObservation
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.starts import UNMEASURED_SECONDS, StartUp
from queueworker_operator.scaling.rounding import coarse_age, milliseconds, per_minute, two_digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One queue as the status shows it; the fields are those of `Seen`."""

    name: str = ""
    backlog: int | None = None
    active: int = 0
    slots: int = 1
    service_milliseconds: int | None = None
    arrivals_per_minute: int | None = None
    oldest_age_seconds: int | None = None
    parts: tuple[tuple[str, int], ...] = ()
    soon: int | None = None
    horizon_seconds: int = 0
    start_up_seconds: int = 0
    next_due_at: float | None = None
    withheld: int = 0
    concurrency_allowed: int | None = None
    rate_limit: tuple[int, int] | None = None
    trouble: str = ""

    @classmethod
    def of(cls, queue: api.QueueInputs, inputs: api.Inputs) -> Self:
        """Return what the status says."""
        start_up = int(UNMEASURED_SECONDS) if inputs.start_up_seconds is None else inputs.start_up_seconds
        return cls(
            name=queue.name,
            backlog=queue.backlog,
            active=queue.active or 0,
            slots=queue.slots or 1,
            service_milliseconds=queue.service_milliseconds,
            arrivals_per_minute=queue.arrivals_per_minute,
            # Of several queues the status does not tell whose job is the oldest.
            oldest_age_seconds=inputs.oldest_age_seconds if len(inputs.queues or ()) == 1 else None,
            horizon_seconds=start_up + 2,
            start_up_seconds=start_up,
            trouble="" if queue.backlog is not None else "not read",
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """One queue as it was read. Numbers are computed as they are asked for: most sentences need few of them."""

    queue: QueueObservation
    rates: QueueRates | None
    start_up: StartUp

    @property
    def name(self) -> str:
        """Name of the queue."""
        return self.queue.name

    @property
    def backlog(self) -> int | None:
        """Jobs that a free slot could take."""
        return self._read.backlog if self._read is not None else None

    @property
    def active(self) -> int:
        """Jobs that run."""
        if self.rates is not None:
            return self.rates.active
        return self._read.active if self._read is not None else 0

    @property
    def slots(self) -> int:
        """Jobs that one pod runs at a time."""
        return self.rates.slots if self.rates is not None else self.queue.concurrency

    @property
    def service_milliseconds(self) -> int | None:
        """How long a job takes."""
        return milliseconds(self.rates.service_seconds) if self.rates is not None else None

    @property
    def arrivals_per_minute(self) -> int | None:
        """Jobs that become ready."""
        return per_minute(self.rates.arrivals_per_second) if self.rates is not None else None

    @property
    def oldest_age_seconds(self) -> int | None:
        """How long the job has been ready that waits longest."""
        age = self._read.oldest_age_seconds if self._read is not None else None
        return None if age is None else coarse_age(age)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What the backlog consists of; empty where that is not known."""
        read = self._read
        if read is None:
            return ()
        return ("waiting", read.waiting), ("prioritized", read.prioritized), ("due", read.delayed_due)

    @property
    def soon(self) -> int | None:
        """Jobs that fall due within the horizon and are not due yet."""
        read = self._read
        return None if read is None else max(0, read.delayed_due_soon - read.delayed_due)

    @property
    def horizon_seconds(self) -> int:
        """How far ahead that looks."""
        return two_digits(self.start_up.horizon_seconds)

    @property
    def start_up_seconds(self) -> int:
        """How long a pod needs until it is ready."""
        return two_digits(self.start_up.seconds)

    @property
    def next_due_at(self) -> float | None:
        """When the next job comes of itself; see `next_due_at`."""
        return next_due_at(self._read)

    @property
    def withheld(self) -> int:
        """Ready jobs that nobody may take while the queue is paused."""
        read = self._read
        return read.backlog + read.legacy_paused if read is not None and read.paused else 0

    @property
    def concurrency_allowed(self) -> int | None:
        """What the queue itself allows at a time."""
        return self._read.global_concurrency if self._read is not None else None

    @property
    def rate_limit(self) -> tuple[int, int] | None:
        """Jobs, and milliseconds."""
        read = self._read
        if read is None or read.rate_limit_max is None or read.rate_limit_duration_ms is None:
            return None
        return read.rate_limit_max, read.rate_limit_duration_ms

    @property
    def trouble(self) -> str:
        """Why it cannot be read."""
        if self._read is not None:
            return ""
        return self.queue.problem.message.rstrip(".") if self.queue.problem is not None else "not read yet"

    @property
    def _read(self) -> QueueSnapshot | None:
        return self.queue.snapshot


QueueFacts = Seen | Recorded
"""One queue in rounded numbers; None is unknown."""
Facts = Mapping[str, QueueFacts]
"""By the queue's name."""
NOBODY = Recorded()
"""Stands for no queue in particular."""


def next_due_at(snapshot: QueueSnapshot | None) -> float | None:
    """Return when the next job comes of itself, delayed or of a scheduler; None where none does, or it is due already.

    In Unix seconds by the clock of Redis: counted from the present it would tremble.
    """
    if snapshot is None:
        return None
    coming = (snapshot.next_delayed_ms, snapshot.next_scheduler_ms)
    return min((at / 1000 for at in coming if at is not None and at > snapshot.now_ms), default=None)
