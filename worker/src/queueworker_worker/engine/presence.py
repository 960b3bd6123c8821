"""What a worker tells about itself: that it lives, how many slots it has, how long its jobs took.

`qw:stats` has per job name the fields `<name>:jobs`, `<name>:ms` (sum of milliseconds) and `<name>:h<k>`: the attempts
that took fewer than 2**k milliseconds and at least half of that (`h0`: less than one millisecond).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from queueworker_worker.engine.link import Link, LinkError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import wall_ms

_log = logging.getLogger(__name__)
_MOST_NAMES = 100
_OTHER = "(other)"
_FORGOTTEN_AFTER_MS = 3_600_000


@dataclass(slots=True)
class _Tally:
    """The attempts of one job name since they were last written."""

    jobs: int = 0
    milliseconds: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    def fields(self, name: str) -> dict[str, int]:
        buckets = {f"{name}:h{bits}": count for bits, count in self.histogram.items()}
        return {f"{name}:jobs": self.jobs, f"{name}:ms": self.milliseconds, **buckets}


class Presence:
    """Writes the worker's heartbeat and its statistics every few seconds, and takes the heartbeat away at the end."""

    def __init__(
        self,
        link: Link,
        options: EngineOptions,
        *,
        slots: Callable[[], int],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._link, self._options, self._slots, self._now_ms = link, options, slots, now_ms
        self._counts: Counter[str] = Counter()
        self._new: dict[str, _Tally] = {}
        self._names: set[str] = set()
        self.registered = False

    def record(self, job_name: str, milliseconds: int) -> None:
        """Count one attempt; producers choose job names, so there is a bound on how many are told apart."""
        tally = self._new.get(job_name)
        if tally is None:
            if job_name not in self._names and len(self._names) >= _MOST_NAMES:
                # Known from now on, so that this ends after one step.
                self._names.add(_OTHER)
                return self.record(_OTHER, milliseconds)
            self._names.add(job_name)
            tally = self._new[job_name] = _Tally()
        tally.jobs += 1
        tally.milliseconds += milliseconds
        bits = milliseconds.bit_length() if milliseconds > 0 else 0
        tally.histogram[bits] = tally.histogram.get(bits, 0) + 1

    async def run(self) -> None:
        """Tell it for ever."""
        forgotten = False
        while True:
            try:
                if not forgotten:
                    await self._forget_the_dead()
                    forgotten = True
                await self._beat()
            except LinkError as error:
                _log.debug("queue %s: heartbeat not written: %s", self._options.queue, error)
            await asyncio.sleep(self._options.heartbeat_seconds if self.registered else 0.2)

    async def end(self) -> None:
        """Write what is left and sign off; raises LinkError."""
        keys, name = self._options.keys, self._options.name
        await self._flush()
        await self._link.execute("ZREM", keys.workers, name)
        await self._link.execute("HDEL", keys.worker, name)

    async def _beat(self) -> None:
        keys, options = self._options.keys, self._options
        about = json.dumps({"slots": self._slots(), "maxStalledCount": options.max_stalled_count})
        await self._link.execute("HSET", keys.worker, options.name, about)
        await self._link.execute("ZADD", keys.workers, self._now_ms(), options.name)
        self.registered = True
        await self._flush()

    async def _flush(self) -> None:
        for name, tally in self._new.items():
            self._counts.update(tally.fields(name))
        self._new = {}
        counts, self._counts = self._counts, Counter()
        for name, count in list(counts.items()):
            try:
                await self._link.execute("HINCRBY", self._options.keys.statistics, name, count)
            except LinkError:
                self._counts.update(counts)
                raise
            del counts[name]

    async def _forget_the_dead(self) -> None:
        """Remove workers that were killed long ago: they could not sign off."""
        keys, before = self._options.keys, self._now_ms() - _FORGOTTEN_AFTER_MS
        dead = await self._link.execute("ZRANGEBYSCORE", keys.workers, "-inf", before)
        if dead:
            await self._link.execute("HDEL", keys.worker, *dead)
            await self._link.execute("ZREM", keys.workers, *dead)
