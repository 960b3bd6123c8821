"""One queue's script calls: BullMQ's Lua with the KEYS and ARGV that its own `Scripts.*Args` build."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgpack

from queueworker.scripts import Script, load
from queueworker_worker.engine.jobs import Nothing, Taken, fetched_of, fields_of
from queueworker_worker.engine.link import Link, NoScriptError, Word
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import (
    Completed,
    Delayed,
    Failed,
    RateLimited,
    Retried,
    Verdict,
    WaitsForChildren,
)
from queueworker_worker.engine.packed import PackedOptions

_MEANINGS = {
    -1: "its hash is gone",
    -2: "its lock has ended",
    -3: "it is not active any more",
    -4: "it has children that have not ended",
    -6: "another worker holds its lock",
    -9: "a child of it failed",
}
HAS_CHILDREN = frozenset({-4, -9})
# What `Queue.rateLimit` of BullMQ writes: more jobs than any limit allows.
_OVER_ANY_LIMIT = 2**53 - 1


_NO_FIELDS: tuple[bytes, ...] = ()


class ScriptRefusal(Exception):  # noqa: N818 - an answer, not a fault
    """A script declined to touch a job; `code` is one of BullMQ's `ErrorCode`."""

    def __init__(self, code: int) -> None:
        super().__init__(_MEANINGS.get(code, f"code {code}"))
        self.code = code


def wall_ms() -> int:
    """Return the time that BullMQ's scripts are given: Unix milliseconds of this host."""
    return time.time_ns() // 1_000_000


class QueueScripts:
    """The calls of one worker on one queue; every one raises LinkError, those on a job also ScriptRefusal."""

    def __init__(self, link: Link, options: EngineOptions, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self._link = link
        self._options = options
        self._keys = options.keys
        self._base = self._keys.base
        self._now_ms = now_ms
        self._packed = PackedOptions(options)
        of = self._keys.of
        front = ("wait", "active", "prioritized", "events", "stalled", "limiter", "delayed", "paused", "meta", "pc")
        self._front = tuple(of(name) for name in front)
        self._marker = of("marker")
        self._finish = load("moveToFinished")
        call: tuple[Word, ...] = ("EVALSHA", self._finish.sha1, self._finish.number_of_keys, *self._front)
        # The words of the call that are the same for every job, before and after the job's key.
        self._ends: dict[str, tuple[tuple[Word, ...], tuple[Word, ...], str]] = {
            target: ((*call, of(target)), (of(f"metrics:{target}"), self._marker), field)
            for target, field in (("completed", "returnvalue"), ("failed", "failedReason"))
        }

    async def take(self, token: str) -> Taken | Nothing:
        """Take the next job, locked with the token, and promote the delayed jobs that are due."""
        words = (self._base, self._now_ms(), self._packed.to_take(token))
        return fetched_of(await self.run("moveToActive", (*self._front, self._marker), words))

    async def record(
        self,
        job_id: str,
        verdict: Verdict,
        *,
        token: str,
        attempts: tuple[int, int],
        opts: Mapping[str, Any],
        fetch: bool,
    ) -> Taken | Nothing:
        """Record how a job ended and, with `fetch`, take the next one with the same token where the script can.

        `attempts` are how many the job has and how many were made before this one, `opts` its options.
        """
        match verdict:
            case Completed():
                target, value, fields = "completed", verdict.value, _NO_FIELDS
            case Failed():
                target, value, fields = "failed", verdict.reason, (_fields(verdict),)
            case Retried(delay_ms=0):
                return fetched_of(_accepted(await self._retry(job_id, verdict, token=token, opts=opts)))
            case Retried():
                fields_packed = _fields(verdict)
                due = (self._now_ms(), verdict.delay_ms, "0", fields_packed)
                return await self._delay(job_id, due, token=token, fetch=fetch)
            case Delayed():
                now = self._now_ms()
                return await self._delay(
                    job_id, (now, max(0, verdict.until_ms - now), "1", ""), token=token, fetch=fetch
                )
            case WaitsForChildren():
                return await self._wait_for_children(job_id, token)
            case RateLimited():
                return await self._limit(job_id, token, verdict.limit_ms)
        call, near, field = self._ends[target]
        packed = self._packed.to_finish(token, target, attempts=attempts, opts=opts)
        words = (job_id, self._now_ms(), field, value, target, "1" if fetch else "", self._base, packed)
        reply = await self._evaluate(self._finish, (*call, self._base + job_id, *near, *words, *fields))
        return fetched_of(_accepted(reply))

    async def give_back(self, job_id: str, token: str) -> None:
        """Put a job back to the head of its class, no attempt and no stall counted, and wake a worker for it.

        The script sets no marker for a job with a priority, so that other workers would sleep on.
        """
        of = self._keys.of
        names = ("active", "wait", "stalled", "paused", "meta", "limiter", "prioritized", "marker", "events")
        keys = tuple(of(name) for name in names)
        _accepted(await self.run("moveJobFromActiveToWait", keys, (job_id, token, self._keys.job(job_id))))
        await self.mark()

    async def mark(self) -> None:
        """Wake a worker that waits for the marker; without a job for it that costs one empty fetch."""
        await self._link.execute("ZADD", self._marker, 0, "0")

    async def extend_locks(self, tokens: Mapping[str, str]) -> list[str]:
        """Renew the locks of jobs (id to token) and return the ids whose lock is lost."""
        ids = msgpack.packb(list(tokens), unicode_errors="surrogateescape")
        packed = msgpack.packb(list(tokens.values())), ids
        words = (self._base, *packed, self._options.lock_duration_ms)
        return list(await self.run("extendLocks", (self._keys.of("stalled"),), words) or [])

    async def recover_stalled(self) -> list[str]:
        """Run the stalled check, once per interval over all workers; return the ids that went back to wait."""
        of = self._keys.of
        names = ("stalled", "wait", "active", "stalled-check", "meta", "paused", "marker", "events", "repeat")
        keys = tuple(of(name) for name in names)
        options = self._options
        words = (options.max_stalled_count, self._base, self._now_ms(), options.stalled_interval_ms)
        return list(await self.run("moveStalledJobsToWait", keys, words) or [])

    async def adopt(self, token: str, *, known: Collection[str]) -> Taken | None:
        """Return the active job that bears our token and that we do not know: its fetch's reply was lost."""
        ids = await self._link.execute("LRANGE", self._keys.of("active"), 0, -1)
        unknown = [job_id for job_id in ids if job_id not in known]
        if not unknown:
            return None
        owners = await self._link.execute("MGET", *(self._keys.lock(job_id) for job_id in unknown))
        for job_id, owner in zip(unknown, owners, strict=True):
            if owner == token:
                return Taken(job_id, fields_of(await self._link.execute("HGETALL", self._keys.job(job_id))))
        return None

    async def advance_scheduler(self, scheduler: str, *, producer: str, next_ms: int, data: str, opts: bytes) -> None:
        """Add the next job of a scheduler; does nothing where that was done or the scheduler is gone."""
        of = self._keys.of
        names = ("repeat", "delayed", "wait", "paused", "meta", "prioritized", "marker", "id", "events", "pc")
        keys = (*(of(name) for name in names), self._keys.job(producer), of("active"))
        words = (next_ms, scheduler, data, opts, self._now_ms(), self._base, producer)
        await self.run("updateJobScheduler", keys, words)

    async def run(self, name: str, keys: tuple[str, ...], words: tuple[Word, ...]) -> Any:
        """Call a script by its name; a server that does not know it, restarted or flushed, gets it."""
        script = load(name)
        return await self._evaluate(script, ("EVALSHA", script.sha1, len(keys), *keys, *words))

    async def _evaluate(self, script: Script, call: tuple[Word, ...]) -> Any:
        try:
            return await self._link.execute(*call)
        except NoScriptError:
            # Nothing was executed, so this is the one error after which the same call may simply be made again.
            await self._link.execute("SCRIPT", "LOAD", script.source)
            return await self._link.execute(*call)

    async def _retry(self, job_id: str, verdict: Retried, *, token: str, opts: Mapping[str, Any]) -> Any:
        of, key = self._keys.of, self._keys.job(job_id)
        names = ("meta", "events", "delayed", "prioritized", "pc", "marker", "stalled")
        keys = (of("active"), of("wait"), of("paused"), key, *(of(name) for name in names))
        push = "RPUSH" if opts.get("lifo") else "LPUSH"
        return await self.run("retryJob", keys, (self._base, self._now_ms(), push, job_id, token, _fields(verdict)))

    async def _delay(
        self, job_id: str, due: tuple[int, int, str, str | bytes], *, token: str, fetch: bool
    ) -> Taken | Nothing:
        """Delay an active job; `due` is now, the delay, whether to spare the attempt, and the fields to store."""
        of, key = self._keys.of, self._keys.job(job_id)
        front = tuple(of(name) for name in ("marker", "active", "prioritized", "delayed"))
        keys = (*front, key, *(of(name) for name in ("events", "meta", "stalled", "wait", "limiter", "pc")))
        now, delay_ms, spare, fields = due
        words = (self._base, now, job_id, token, delay_ms, spare, fields, "1" if fetch else "0")
        return fetched_of(_accepted(await self.run("moveToDelayed", keys, (*words, self._packed.to_take(token)))))

    async def _wait_for_children(self, job_id: str, token: str) -> Nothing:
        of, key = self._keys.of, self._keys.job(job_id)
        near = (f"{key}:dependencies", f"{key}:unsuccessful", of("stalled"), of("events"))
        keys = (of("active"), of("waiting-children"), key, *near)
        words = (token, "", self._now_ms(), job_id, self._base)
        if _accepted(await self.run("moveToWaitingChildren", keys, words)):
            await self.give_back(job_id, token)
        return Nothing()

    async def _limit(self, job_id: str, token: str, limit_ms: int) -> Nothing:
        await self._link.execute("SET", self._keys.of("limiter"), _OVER_ANY_LIMIT, "PX", limit_ms)
        await self.give_back(job_id, token)
        return Nothing(limited_ms=limit_ms)


def _fields(verdict: Failed | Retried) -> bytes:
    return bytes(msgpack.packb(["failedReason", verdict.reason, "stacktrace", verdict.stacktrace]))


def _accepted(reply: Any) -> Any:
    if isinstance(reply, int) and reply < 0:
        raise ScriptRefusal(reply)
    return reply
