"""Changing many jobs: counted first, then in batches between which the change can end, each safe to repeat.

Every job is changed by a script of BullMQ's own and only while it is in the state that it was found in, so that a
change that ends anywhere leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypedDict, Unpack

from queueworker import scripts, selection
from queueworker.base import QueueBase
from queueworker.changes import BATCH, Change, Finished, JobFilter, Progress
from queueworker.errors import JobStateError, PartlyDoneError, RedisWriteError
from queueworker.reprocess import RESULT_FIELD, Arguments, promote_call, reprocess_call
from queueworker.scripts import Script, script_of
from queueworker.selection import changeable
from queueworker.states import State

# The script alone takes a job out of whatever state it is in: one that was retried a moment ago would be lost.
_ONLY_IF_THERE = """
local place
if ARGV[4] == "list" then
  place = redis.call("LPOS", KEYS[3], ARGV[1])
else
  place = redis.call("ZSCORE", KEYS[3], ARGV[1])
end
if not place then
  return -3
end
"""
ALL = JobFilter()


class How(TypedDict, total=False):
    """How a change of many jobs is made; see `MassChanges`."""

    dry_run: bool
    progress: Progress
    stop: asyncio.Event
    batch: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """`How` with its defaults.

    Raises TypeError for a word that is not in it: whoever writes `dryrun=True` must not lose any job. ValueError for a
    batch of less than one job.
    """

    dry_run: bool = False
    progress: Progress | None = None
    stop: asyncio.Event | None = None
    batch: int = BATCH

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch {self.batch}: it must be at least 1 job")

    @property
    def is_to_end(self) -> bool:
        """Whether no further batch is to be begun."""
        return self.stop is not None and self.stop.is_set()

    async def tell(self, change: Change) -> None:
        """Tell what became of the jobs so far, where somebody wants to know."""
        if self.progress is not None:
            self.progress(change)
            # Where that cancelled this very task, it ends here, before the next batch.
            await asyncio.sleep(0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Jobs that one script changes, and how it is called for a batch of them."""

    script: Script
    ids: Sequence[str]
    calls: Callable[[Sequence[str]], Awaitable[list[Arguments]]]


class MassChanges(QueueBase):
    """Changes of all jobs of a state, or of those that a filter admits.

    Each takes `dry_run` (count only), `progress` (called after each batch with a `Change`), `stop` (an event; once set,
    the change ends after the batch under way and says what is left) and `batch` (jobs between two such moments), and
    returns a `Change`. The ids are collected first, some 100 bytes of memory each: jobs that get into the state later
    are not touched, so a job that fails again is not retried for ever. A batch whose answer was lost is sent again;
    jobs that are gone then count as done. Raises RedisWriteError if Redis fails before the first batch is done,
    PartlyDoneError after it.
    """

    async def retry(
        self,
        *,
        state: Finished = "failed",
        which: JobFilter = ALL,
        reset_attempts: bool = False,
        **how: Unpack[How],
    ) -> Change:
        """Have failed (or completed) jobs run again; each keeps its priority and its place in a flow.

        Those that finished first are put back first. `reset_attempts` gives them all their attempts again; without it
        a job that had used them up gets one more. Jobs of other states raise JobStateError. Source:
        `reprocessJob-9.lua`.
        """
        course = Course(**how)
        if state not in RESULT_FIELD:
            raise JobStateError(f"{state} jobs cannot be retried: only failed and completed ones can")
        ids = await self._select(changeable(state), which)

        async def calls(batch: Sequence[str]) -> list[Arguments]:
            return await self._reprocess_calls(batch, state=state, reset_attempts=reset_attempts)

        return await self._change([_Part(script=scripts.load("reprocessJob"), ids=ids, calls=calls)], course)

    async def clear(self, *states: str, which: JobFilter = ALL, **how: Unpack[How]) -> Change:
        """Remove the jobs of these states (`wait` is `waiting`), with their logs; a worker's lock protects its job.

        The next runs of schedulers are neither counted nor removed: `unschedule` does that. A parent that waited for a
        removed child alone runs then. Active jobs, and no state at all, raise JobStateError. Source:
        `removeJob-2.lua`.
        """
        course = Course(**how)
        wanted = dict.fromkeys(map(changeable, states))
        if not wanted:
            raise JobStateError("clear: name the states whose jobs are to be removed, failed for example")
        return await self._change([self._removal(one, await self._select(one, which)) for one in wanted], course)

    async def drain(self, *, delayed: bool = False, **how: Unpack[How]) -> Change:
        """Remove all jobs that wait for a worker, prioritized ones too; with `delayed` those that are not due as well.

        BullMQ's own drain holds up the server until all are gone, and with a scheduler's job among them leaves a job
        without data in its place; this one does neither. Schedulers go on.
        """
        course = Course(**how)
        names = ["paused", "waiting", "prioritized", *(["delayed"] if delayed else [])]
        states = list(map(changeable, names))
        return await self._change([self._removal(state, await self._select(state, ALL)) for state in states], course)

    async def promote(self, *, which: JobFilter = ALL, include_scheduled: bool = False, **how: Unpack[How]) -> Change:
        """Have delayed jobs run now, those that were due first to begin with; each keeps its priority.

        The next runs of schedulers stay where they are unless `include_scheduled`. Source: `promote-9.lua`.
        """
        course = Course(**how)
        ids = await self._select(changeable("delayed"), which, include_scheduled=include_scheduled)

        async def calls(batch: Sequence[str]) -> list[Arguments]:
            return [promote_call(self.keys, one) for one in batch]

        return await self._change([_Part(script=scripts.load("promote"), ids=ids, calls=calls)], course)

    async def _select(self, state: State, which: JobFilter, *, include_scheduled: bool = False) -> list[str]:
        ids = await selection.ids_of_state(self._answers, self.keys, state)
        finished = state.name in RESULT_FIELD
        if not finished and not include_scheduled and any(one.startswith("repeat:") for one in ids):
            for one in await selection.scheduled_ids(self._answers, self.keys):
                ids.pop(one, None)
        return await selection.admitted(self._answers, self.keys, ids, which, finished=finished)

    async def _reprocess_calls(self, ids: Sequence[str], *, state: Finished, reset_attempts: bool) -> list[Arguments]:
        all_options = await self._answers([("HGET", self.keys.job(one), "opts") for one in ids])
        return [
            reprocess_call(self.keys, one, options=options, state=state, reset_attempts=reset_attempts)
            for one, options in zip(ids, all_options, strict=True)
        ]

    def _removal(self, state: State, ids: Sequence[str]) -> _Part:
        place = self.keys.of(state.part)
        kind = "list" if state.is_list else "zset"
        # The last job of a scheduler that has come to its end still counts as its next run: none of a finished one.
        schedulers = self.keys.of("repeat:none" if state.name in RESULT_FIELD else "repeat")

        async def calls(batch: Sequence[str]) -> list[Arguments]:
            return [((self.keys.job(one), schedulers, place), (one, "0", self.keys.base, kind)) for one in batch]

        return _Part(script=_remove_if_there(), ids=ids, calls=calls)

    async def _change(self, parts: Sequence[_Part], course: Course) -> Change:
        change = Change(matched=sum(len(part.ids) for part in parts))
        if course.dry_run:
            return change
        for part, batch in _batches(parts, course.batch):
            if course.is_to_end:
                return dataclasses.replace(change, interrupted=True)
            done = await self._run_batch(part, batch, change)
            change = dataclasses.replace(change, done=change.done + done, moved=change.moved + len(batch) - done)
            await course.tell(change)
        return change

    async def _run_batch(self, part: _Part, batch: Sequence[str], before: Change) -> int:
        """Change the jobs of a batch and return how many were changed."""
        sendings = 0

        async def send() -> int:
            nonlocal sendings
            sendings += 1
            replies = [int(reply) for reply in await self._run_scripts(part.script, calls)]
            # Gone already (-1 the job, -3 from its state): by the request before, whose answer was lost.
            return sum(_is_done(part.script, reply) or (sendings > 1 and reply in {-1, -3}) for reply in replies)

        try:
            calls = await part.calls(batch)
            return await self._persist(send)
        except RedisWriteError as error:
            if not before.done:
                raise
            message = f"{error}; {before.done} of {before.matched} jobs were done before: do it again for the rest"
            raise PartlyDoneError(message, change=before, reason=error.reason) from error


def _batches(parts: Sequence[_Part], size: int) -> Iterator[tuple[_Part, Sequence[str]]]:
    for part in parts:
        for start in range(0, len(part.ids), size):
            yield part, part.ids[start : start + size]


def _remove_if_there() -> Script:
    remove = scripts.load("removeJob")
    return script_of("removeJobIfThere", _ONLY_IF_THERE + remove.source, number_of_keys=remove.number_of_keys + 1)


def _is_done(script: Script, reply: int) -> bool:
    return reply == (0 if script.name == "promote" else 1)
