"""The end of a queue."""

from __future__ import annotations

import dataclasses
from typing import Unpack

from queueworker.changes import Change
from queueworker.errors import JobStateError, PartlyDoneError, RedisWriteError
from queueworker.mass import ALL, Course, How, MassChanges
from queueworker.selection import changeable
from queueworker.switches import Switches

_LISTS = ("wait", "paused", "active")
_ZSETS = ("prioritized", "delayed", "waiting-children", "completed", "failed")
# What the script leaves behind: a window of a rate limit, and what our workers tell about themselves.
_LEFT_BEHIND = ("limiter", "qw:workers", "qw:worker", "qw:stats")


class Obliteration(MassChanges, Switches):
    """Removing a queue whole."""

    async def obliterate(self, *, force: bool = False, **how: Unpack[How]) -> Change:
        """Pause the queue and remove it whole: every job, every scheduler, its counters and its events.

        Active jobs are a reason to refuse (JobStateError) unless `force`: their workers then fail to finish them. What
        is interrupted leaves the queue paused; the same call again goes on. Source: `obliterate-2.lua`, which leaves
        parents that wait for children where they are; this does not.
        """
        course = Course(**how)
        held = await self._held()
        active, matched = held["active"], sum(held.values())
        if active and not force:
            raise JobStateError(f"queue {self.name} has {active} active jobs: wait for them, or use force")
        if course.dry_run:
            return Change(matched=matched)
        await self.pause()
        parents = await self._select(changeable("waiting-children"), ALL)
        removal = self._removal(changeable("waiting-children"), parents)
        removed = await self._change([removal], dataclasses.replace(course, progress=None))
        return await self._obliterate(Change(matched=matched, done=min(matched, removed.done)), course, force=force)

    async def _obliterate(self, change: Change, course: Course, *, force: bool) -> Change:
        while True:
            if course.is_to_end:
                return dataclasses.replace(change, interrupted=True)
            over = await self._obliterate_batch(change, size=course.batch, force=force)
            left = 0 if over else sum((await self._held()).values())
            change = dataclasses.replace(change, done=max(0, change.matched - left))
            await course.tell(change)
            if over:
                await self._one(("DEL", *map(self.keys.of, _LEFT_BEHIND)))
                return change

    async def _obliterate_batch(self, before: Change, *, size: int, force: bool) -> bool:
        """Remove some jobs; tells whether the queue is gone."""
        keys, arguments = [self.keys.of("meta"), self.keys.base], [size, "force" if force else ""]
        try:
            code = int(await self._persist(lambda: self._run_script("obliterate", keys, arguments)))
        except RedisWriteError as error:
            message = f"{error}; {before.done} of {before.matched} jobs were removed before: do it again for the rest"
            raise PartlyDoneError(message, change=before, reason=error.reason) from error
        if code == -2:
            raise JobStateError(f"queue {self.name}: a worker took a job before the pause; the queue stays paused")
        if code == -1 and await self._one(("EXISTS", self.keys.of("meta"))):
            raise JobStateError(f"queue {self.name} was resumed by somebody: {before.left} jobs are left")
        # Without `meta` the queue is gone: by a request whose answer was lost.
        return code in {0, -1}

    async def _held(self) -> dict[str, int]:
        commands = [*(("LLEN", self.keys.of(one)) for one in _LISTS), *(("ZCARD", self.keys.of(one)) for one in _ZSETS)]
        return dict(zip((*_LISTS, *_ZSETS), map(int, await self._answers(commands)), strict=True))
