"""One queue's script calls: BullMQ's Lua with the KEYS and ARGV that its own `Scripts.*Args` build."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgpack

from queueworker.scripts import Script, load
from queueworker_worker.engine.jobs import Nothing, Taken, fetched_of, text_of
from queueworker_worker.engine.link import Link, NoScriptError, Word
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import Completed, Failed, Retried, Verdict, keep_of

_MEANINGS = {
    -1: "its hash is gone",
    -2: "its lock has ended",
    -3: "it is not active any more",
    -4: "it has children that have not ended",
    -6: "another worker holds its lock",
    -9: "a child of it failed",
}
HAS_CHILDREN = frozenset({-4, -9})


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
        self._now_ms = now_ms
        of = self._keys.of
        front = ("wait", "active", "prioritized", "events", "stalled", "limiter", "delayed", "paused", "meta", "pc")
        self._front = tuple(of(name) for name in front)
        self._marker = of("marker")

    async def take(self, token: str) -> Taken | Nothing:
        """Take the next job, locked with the token, and promote the delayed jobs that are due."""
        packed = msgpack.packb(self._options.for_script(token))
        return fetched_of(
            await self._run("moveToActive", (*self._front, self._marker), (self._keys.base, self._now_ms(), packed))
        )

    async def record(
        self,
        job_id: str,
        verdict: Verdict,
        *,
        token: str,
        attempts: Mapping[str, int],
        opts: Mapping[str, Any],
        fetch: bool,
    ) -> Taken | Nothing:
        """Record how a job ended and, with `fetch`, take the next one with the same token.

        `attempts` are the job's `attempts` and `attemptsMade`, `opts` its options.
        """
        match verdict:
            case Completed():
                reply = await self._finish(job_id, verdict, token=token, attempts=attempts, opts=opts, fetch=fetch)
            case Failed():
                reply = await self._finish(job_id, verdict, token=token, attempts=attempts, opts=opts, fetch=fetch)
            case Retried(delay_ms=0):
                reply = await self._retry(job_id, verdict, token=token, lifo=bool(opts.get("lifo")))
            case Retried():
                reply = await self._delay(job_id, verdict, token=token, fetch=fetch)
        return fetched_of(_accepted(reply))

    async def give_back(self, job_id: str, token: str) -> None:
        """Put a job back to the head of its class, no attempt and no stall counted, and wake a worker for it.

        The script sets no marker for a job with a priority, so that other workers would sleep on.
        """
        of = self._keys.of
        names = ("active", "wait", "stalled", "paused", "meta", "limiter", "prioritized", "marker", "events")
        keys = tuple(of(name) for name in names)
        _accepted(await self._run("moveJobFromActiveToWait", keys, (job_id, token, self._keys.job(job_id))))
        await self.mark()

    async def mark(self) -> None:
        """Wake a worker that waits for the marker; without a job for it that costs one empty fetch."""
        await self._link.execute("ZADD", self._marker, 0, "0")

    async def extend_locks(self, tokens: Mapping[str, str]) -> list[str]:
        """Renew the locks of jobs (id to token) and return the ids whose lock is lost."""
        ids = msgpack.packb(list(tokens), unicode_errors="surrogateescape")
        packed = msgpack.packb(list(tokens.values())), ids
        words = (self._keys.base, *packed, self._options.lock_duration_ms)
        return [text_of(word) for word in await self._run("extendLocks", (self._keys.of("stalled"),), words) or []]

    async def recover_stalled(self) -> list[str]:
        """Run the stalled check, once per interval over all workers; return the ids that went back to wait."""
        of = self._keys.of
        names = ("stalled", "wait", "active", "stalled-check", "meta", "paused", "marker", "events", "repeat")
        keys = tuple(of(name) for name in names)
        options = self._options
        words = (options.max_stalled_count, self._keys.base, self._now_ms(), options.stalled_interval_ms)
        return [text_of(word) for word in await self._run("moveStalledJobsToWait", keys, words) or []]

    async def adopt(self, token: str, *, known: Collection[str]) -> Taken | None:
        """Return the active job that bears our token and that we do not know: its fetch's reply was lost."""
        ids = [text_of(word) for word in await self._link.execute("LRANGE", self._keys.of("active"), 0, -1)]
        unknown = [job_id for job_id in ids if job_id not in known]
        if not unknown:
            return None
        owners = await self._link.execute("MGET", *(self._keys.lock(job_id) for job_id in unknown))
        for job_id, owner in zip(unknown, owners, strict=True):
            if owner is not None and text_of(owner) == token:
                words = [text_of(word) for word in await self._link.execute("HGETALL", self._keys.job(job_id))]
                return Taken(job_id, dict(zip(words[::2], words[1::2], strict=True)))
        return None

    async def advance_scheduler(self, scheduler: str, *, producer: str, next_ms: int, data: str, opts: bytes) -> None:
        """Add the next job of a scheduler; does nothing where that was done or the scheduler is gone."""
        of = self._keys.of
        names = ("repeat", "delayed", "wait", "paused", "meta", "prioritized", "marker", "id", "events", "pc")
        keys = (*(of(name) for name in names), self._keys.job(producer), of("active"))
        words = (next_ms, scheduler, data, opts, self._now_ms(), self._keys.base, producer)
        await self._run("updateJobScheduler", keys, words)

    async def update_progress(self, job_id: str, progress: str) -> None:
        """Store and publish a job's progress."""
        keys = (self._keys.job(job_id), self._keys.of("events"), self._keys.of("meta"))
        _accepted(await self._run("updateProgress", keys, (job_id, progress)))

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        """Append a line to a job's log."""
        key = self._keys.job(job_id)
        words = (job_id, line, "" if keep is None else keep)
        return int(_accepted(await self._run("addLog", (key, f"{key}:logs"), words)))

    async def update_data(self, job_id: str, data: str) -> None:
        """Store other data with a job."""
        _accepted(await self._run("updateData", (self._keys.job(job_id),), (data,)))

    async def children_values(self, job_id: str) -> dict[str, Any]:
        """Return what the completed children of a job returned, by their keys."""
        words = await self._words("HGETALL", f"{self._keys.job(job_id)}:processed")
        return {child: json.loads(value) for child, value in zip(words[::2], words[1::2], strict=True)}

    async def failed_children(self, job_id: str) -> dict[str, str]:
        """Return why children of a job failed whose failure it ignores, by their keys."""
        words = await self._words("HGETALL", f"{self._keys.job(job_id)}:failed")
        return dict(zip(words[::2], words[1::2], strict=True))

    async def dependency_counts(self, job_id: str) -> dict[str, int]:
        """Return how many children of a job are in each state."""
        key, kinds = self._keys.job(job_id), ("processed", "unprocessed", "ignored", "failed")
        keys = (f"{key}:processed", f"{key}:dependencies", f"{key}:failed", f"{key}:unsuccessful")
        return dict(zip(kinds, map(int, await self._run("getDependencyCounts", keys, kinds)), strict=True))

    async def _words(self, *command: Word) -> list[str]:
        return [text_of(word) for word in await self._link.execute(*command)]

    async def _finish(
        self,
        job_id: str,
        verdict: Completed | Failed,
        *,
        token: str,
        attempts: Mapping[str, int],
        opts: Mapping[str, Any],
        fetch: bool,
    ) -> Any:
        good = isinstance(verdict, Completed)
        target = "completed" if good else "failed"
        default = self._options.remove_on_complete if good else self._options.remove_on_fail
        of = self._keys.of
        keys = (*self._front, of(target), self._keys.job(job_id), of(f"metrics:{target}"), self._marker)
        packed = self._options.for_script(token) | {
            "keepJobs": keep_of(opts.get("removeOnComplete" if good else "removeOnFail"), default),
            "attempts": attempts["attempts"],
            "attemptsMade": attempts["attemptsMade"],
            "maxMetricsSize": self._options.max_data_points,
            **{short: bool(opts.get(short)) for short in ("fpof", "cpof", "idof", "rdof")},
        }
        field, value = (
            ("returnvalue", verdict.value) if isinstance(verdict, Completed) else ("failedReason", verdict.reason)
        )
        words: list[Word] = [job_id, self._now_ms(), field, value, target, "1" if fetch else "", self._keys.base]
        words.append(msgpack.packb(packed))
        if isinstance(verdict, Failed):
            words.append(_fields(verdict))
        return await self._run("moveToFinished", keys, tuple(words))

    async def _retry(self, job_id: str, verdict: Retried, *, token: str, lifo: bool) -> Any:
        of, key = self._keys.of, self._keys.job(job_id)
        names = ("meta", "events", "delayed", "prioritized", "pc", "marker", "stalled")
        keys = (of("active"), of("wait"), of("paused"), key, *(of(name) for name in names))
        push = "RPUSH" if lifo else "LPUSH"
        return await self._run(
            "retryJob", keys, (self._keys.base, self._now_ms(), push, job_id, token, _fields(verdict))
        )

    async def _delay(self, job_id: str, verdict: Retried, *, token: str, fetch: bool) -> Any:
        of, key = self._keys.of, self._keys.job(job_id)
        front = tuple(of(name) for name in ("marker", "active", "prioritized", "delayed"))
        keys = (*front, key, *(of(name) for name in ("events", "meta", "stalled", "wait", "limiter", "pc")))
        words = (self._keys.base, self._now_ms(), job_id, token, verdict.delay_ms, "0", _fields(verdict))
        packed = msgpack.packb(self._options.for_script(token))
        return await self._run("moveToDelayed", keys, (*words, "1" if fetch else "0", packed))

    async def _run(self, name: str, keys: tuple[str, ...], words: tuple[Word, ...]) -> Any:
        script: Script = load(name)
        try:
            return await self._link.execute("EVALSHA", script.sha1, len(keys), *keys, *words)
        except NoScriptError:
            # Nothing was executed, so this is the one error after which the same call may simply be made again.
            await self._link.execute("SCRIPT", "LOAD", script.source)
            return await self._link.execute("EVALSHA", script.sha1, len(keys), *keys, *words)


def _fields(verdict: Failed | Retried) -> bytes:
    return bytes(msgpack.packb(["failedReason", verdict.reason, "stacktrace", verdict.stacktrace]))


def _accepted(reply: Any) -> Any:
    if isinstance(reply, int) and reply < 0:
        raise ScriptRefusal(reply)
    return reply
