"""Switches of a whole queue: pause, global concurrency, global rate limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from queueworker.base import QueueBase
from queueworker.command import Command
from queueworker.errors import InvalidJobError, RedisReadError
from queueworker.keys import RATE_LIMIT_REACHED

_PAUSE_KEYS = ("wait", "paused", "meta", "prioritized", "events", "delayed", "marker")
_RESUME_KEYS = ("paused", "wait", *_PAUSE_KEYS[2:])


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `max` jobs are begun in `duration_ms` milliseconds, by all workers together."""

    max: int
    duration_ms: int


class Switches(QueueBase):
    """What holds for all workers of a queue: looking raises RedisReadError, switching RedisWriteError."""

    async def exists(self) -> bool:
        """Tell whether the queue was ever used: BullMQ writes `meta` with the first job."""
        return bool(await self._look(("EXISTS", self.keys.of("meta"))))

    async def pause(self) -> None:
        """Have workers take no more jobs until `resume`; those under way go on. Source: `pause-7.lua`."""
        keys = [self.keys.of(part) for part in _PAUSE_KEYS]
        await self._persist(lambda: self._run_script("pause", keys, ["paused", "1"]))

    async def resume(self) -> None:
        """Have workers take jobs again; jobs that BullMQ 5 or older put aside come back to where they were."""
        keys = [self.keys.of(part) for part in _RESUME_KEYS]
        # The script brings back 7000 of them a call.
        while await self._persist(lambda: self._run_script("pause", keys, ["resumed", "1"])):
            pass

    async def is_paused(self) -> bool:
        """Tell whether the queue is paused."""
        return bool(await self._look(("HEXISTS", self.keys.of("meta"), "paused")))

    async def set_global_concurrency(self, jobs: int) -> None:
        """Have at most so many jobs of the queue be active at once, whatever workers there are."""
        _at_least_one("global concurrency", jobs)
        await self._one(("HSET", self.keys.of("meta"), "concurrency", int(jobs)))

    async def global_concurrency(self) -> int | None:
        """Return the global concurrency, None where none is set."""
        value = await self._look(("HGET", self.keys.of("meta"), "concurrency"))
        return None if value is None else int(value)

    async def remove_global_concurrency(self) -> bool:
        """Remove the global concurrency; tells whether there was one."""
        return bool(await self._one(("HDEL", self.keys.of("meta"), "concurrency")))

    async def set_global_rate_limit(self, jobs: int, duration_ms: int) -> None:
        """Have at most `jobs` jobs be begun in `duration_ms` milliseconds, by all workers together."""
        _at_least_one("rate limit: jobs", jobs)
        _at_least_one("rate limit: milliseconds", duration_ms)
        await self._one(("HSET", self.keys.of("meta"), "max", int(jobs), "duration", int(duration_ms)))

    async def global_rate_limit(self) -> RateLimit | None:
        """Return the global rate limit, None where none is set."""
        most, duration = await self._look(("HMGET", self.keys.of("meta"), "max", "duration"))
        return None if most is None or duration is None else RateLimit(int(most), int(duration))

    async def remove_global_rate_limit(self) -> bool:
        """Remove the global rate limit; tells whether there was one."""
        return bool(await self._one(("HDEL", self.keys.of("meta"), "max", "duration")))

    async def rate_limit(self, duration_ms: int) -> None:
        """Have no more jobs be begun for so many milliseconds, as if a rate limit were reached.

        It holds for workers that have a limiter and for queues that have a global rate limit; for others use `pause`.
        Source: `Queue.rateLimit` of BullMQ for Node.
        """
        _at_least_one("rate limit: milliseconds", duration_ms)
        await self._one(("SET", self.keys.of("limiter"), RATE_LIMIT_REACHED, "PX", int(duration_ms)))

    async def remove_rate_limit(self) -> bool:
        """End what `rate_limit` began, and the current window of any other rate limit; tells whether there was one."""
        return bool(await self._one(("DEL", self.keys.of("limiter"))))

    async def _look(self, command: Command) -> Any:
        return (await self._answers([command], kind=RedisReadError))[0]

    async def _one(self, command: Command) -> Any:
        return (await self._answers([command]))[0]


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise InvalidJobError(f"{what}: {value} is not possible, it must be at least 1")
