"""Reads the queues of one Redis: every second those that hold jobs, every few seconds the others."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from queueworker.errors import RedisReadError, SettingsError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Problem

logger = logging.getLogger(__name__)

# After these a client that is made anew fares better: it asks DNS and the Sentinels again, and logs in again.
REOPEN = frozenset(
    {ConditionReason.REDIS_UNREACHABLE, ConditionReason.REDIS_AUTH_FAILED, ConditionReason.ROLE_NOT_MASTER}
)
NOT_YET_READ = Problem(reason=ConditionReason.NOT_YET_READ, message="The queue has not been read yet.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often queues are read; seconds."""

    busy: float = 1.0
    """Between two reads of a queue that has jobs ready or active, or that could not be read."""
    quiet: float = 5.0
    deadline: float = 2.0
    """A read that takes longer has failed."""
    horizon: float = HORIZON_SECONDS
    """How far ahead delayed jobs are counted."""
    unreachable_after: int = 3
    """Failed reads in a row after which the queue counts as unreachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known of one queue; `read_at` is seconds of the reader's clock."""

    snapshot: QueueSnapshot | None = None
    """The last good reading, also while `problem` says that it is no longer known to hold."""
    read_at: float | None = None
    problem: Problem | None = NOT_YET_READ
    """Why the last read failed."""
    failures: int = 0
    """Failed reads in a row."""
    failing_since: float | None = None
    """When the first of them ended, by the reader's clock."""

    @property
    def tried(self) -> bool:
        """Whether it was read, with or without success."""
        return self.read_at is not None or self.failures > 0

    @property
    def busy(self) -> bool:
        """Whether the last good reading found jobs ready or active."""
        return self.snapshot is not None and self.snapshot.backlog + self.snapshot.active > 0


class Reader(Protocol):
    """An open connection that reads queues."""

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        """Read all queues in one go; one that cannot be read gives its error."""
        ...

    async def aclose(self) -> None:
        """Let go of the connection."""
        ...


class Watch(Protocol):
    """Who wants to hear of reads."""

    def changed(self, settings: ConnectionSettings, queue: QueueKeys) -> None:
        """Take note that a reading of the queue says something new."""
        ...

    def read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        """Take note of what one read found and how long it took."""
        ...


OpenReader = Callable[[ConnectionSettings], Reader]


class Poller:
    """The one reader of one Redis."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        open_reader: OpenReader,
        watch: Watch,
        pace: Pace,
        clock: Callable[[], float],
        phase: float,
    ) -> None:
        """`phase` (0 to 1) sets the readers of different servers apart."""
        self._settings = settings
        self._open_reader = open_reader
        self._watch = watch
        self._pace = pace
        self._clock = clock
        self._grid = pace.busy / 4
        self._phase = phase * self._grid
        self._reader: Reader | None = None
        self._due: dict[QueueKeys, float] = {}
        self._announce: set[QueueKeys] = set()
        self._more = asyncio.Event()
        self.readings: dict[QueueKeys, Reading] = {}

    def add(self, queue: QueueKeys) -> None:
        """Read this queue from now on."""
        if queue not in self.readings:
            self.readings[queue] = Reading()
            self._due[queue] = self._clock()
            self._more.set()

    def discard(self, queue: QueueKeys) -> None:
        """Read this queue no more."""
        self.readings.pop(queue, None)
        self._due.pop(queue, None)
        self._announce.discard(queue)

    def announce_next(self, queue: QueueKeys) -> None:
        """Speak of the next read even if it finds nothing new."""
        self._announce.add(queue)

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                self._more.clear()
                now = self._clock()
                if due := [queue for queue, at in self._due.items() if at <= now]:
                    await self._read(due, now)
                await self._sleep()
        finally:
            await self._close_reader()

    async def _sleep(self) -> None:
        if self._more.is_set():
            return
        pause = max(0.0, min(self._due.values()) - self._clock()) if self._due else None
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._more.wait()

    async def _read(self, due: list[QueueKeys], began: float) -> None:
        results = await self._results(due)
        now = self._clock()
        before = {queue: self.readings[queue] for queue in due if queue in self.readings}
        for queue, old in before.items():
            self.readings[queue] = new = _next_reading(old, results.get(queue), now=now)
            self._due[queue] = self._aligned(min(began, now) + self._interval(new))
        self._watch.read_done(self._settings, {queue: self.readings[queue] for queue in before}, now - began)
        for queue, old in before.items():
            if queue in self._announce or self._is_news(old, self.readings[queue]):
                self._announce.discard(queue)
                self._watch.changed(self._settings, queue)
        problems = [reading.problem for queue in before if (reading := self.readings.get(queue))]
        if any(problem and problem.reason in REOPEN for problem in problems):
            await self._close_reader()

    async def _results(self, due: list[QueueKeys]) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        deadline = self._pace.deadline
        try:
            # The reader has the deadline too; this one holds even where it sits in a place that does not know it.
            async with asyncio.timeout(deadline * 1.25):
                if self._reader is None:
                    self._reader = self._open_reader(self._settings)
                return await self._reader.read(
                    due, horizon_ms=round(self._pace.horizon * 1000), deadline_seconds=deadline
                )
        except TimeoutError:
            error = RedisReadError(f"Redis {self._settings.address}: no whole answer within {deadline:g} s")
        except SettingsError as unusable:
            error = RedisReadError(str(unusable), reason=ConditionReason.REDIS_TLS_ERROR)
        except Exception as surprise:
            logger.exception("Redis %s: the read failed unexpectedly", self._settings.address)
            # Without this the reader would end, and its queues would stay unread for ever.
            error = RedisReadError(
                f"Redis {self._settings.address}: {type(surprise).__name__} while reading, see the log"
            )
        return dict.fromkeys(due, error)

    def _interval(self, reading: Reading) -> float:
        pace, snapshot = self._pace, reading.snapshot
        if reading.problem is not None:
            return pace.busy if reading.failures <= pace.unreachable_after else pace.quiet
        if reading.busy:
            return pace.busy
        if snapshot is None or snapshot.next_delayed_ms is None:
            return pace.quiet
        return min(pace.quiet, max(pace.busy, (snapshot.next_delayed_ms - snapshot.now_ms) / 1000))

    def _aligned(self, when: float) -> float:
        """Move a time onto the grid, later, so that reads of many queues fall together into one."""
        return math.ceil((when - self._phase) / self._grid - 1e-6) * self._grid + self._phase

    def _is_news(self, old: Reading, new: Reading) -> bool:
        if new.problem is not None:
            told = self._pace.unreachable_after
            return old.problem is None or old.problem.reason != new.problem.reason or new.failures == told
        return old.problem is not None or _timeless(old.snapshot) != _timeless(new.snapshot)

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await reader.aclose()


def _next_reading(old: Reading, result: QueueSnapshot | RedisReadError | None, *, now: float) -> Reading:
    if isinstance(result, QueueSnapshot):
        return Reading(snapshot=result, read_at=now, problem=None)
    error = result or RedisReadError("The reader gave no answer for this queue.")
    return replace(
        old,
        problem=Problem(reason=_reason_of(error), message=str(error)),
        failures=old.failures + 1,
        failing_since=now if old.failing_since is None else old.failing_since,
    )


def _reason_of(error: RedisReadError) -> ConditionReason:
    try:
        return ConditionReason(error.reason)
    except ValueError:
        return ConditionReason.REDIS_UNREACHABLE


def _timeless(snapshot: QueueSnapshot | None) -> QueueSnapshot | None:
    """Leave out what changes with every read and decides nothing."""
    return snapshot and replace(snapshot, now_ms=0, rate_limited_for_ms=0, added_count=0)
