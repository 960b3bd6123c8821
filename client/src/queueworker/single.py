"""Changing one job, named by its id: what cannot be done is said, with the state that the job is in."""

from __future__ import annotations

from typing import NoReturn

from queueworker.base import QueueBase, raise_first
from queueworker.changes import Finished
from queueworker.errors import InvalidJobError, JobNotFoundError, JobStateError
from queueworker.failures import is_wrong_type
from queueworker.keys import MAX_PRIORITY
from queueworker.options import MAX_DUE_MS
from queueworker.reprocess import Arguments, promote_call, reprocess_call

_STATE_KEYS = ("completed", "failed", "delayed", "active", "wait", "paused", "waiting-children", "prioritized")
_PRIORITY_KEYS = ("wait", "paused", "meta", "prioritized", "active", "pc", "marker")


class SingleChanges(QueueBase):
    """Changes of one job.

    A change whose answer was lost is sent again: what its first request had done is no error then. Raises
    JobNotFoundError, JobStateError, RedisWriteError.
    """

    async def _job_state(self, job_id: str) -> str | None:
        """Return the state of a job (`waiting`, `active`, `failed`, …), None where there is none.

        Source: `getStateV2-8.lua`.
        """
        keys = [self.keys.of(part) for part in _STATE_KEYS]
        found = str(await self._persist(lambda: self._run_script("getStateV2", keys, [job_id])))
        return None if found == "unknown" else found

    async def retry_job(self, job_id: str, *, reset_attempts: bool = False) -> None:
        """Have a failed or completed job run again; it keeps its priority. Source: `reprocessJob-9.lua`."""
        state = await self._job_state(job_id)
        if state not in {"failed", "completed"}:
            self._refuse(job_id, state, "only failed and completed jobs can be retried")
        finished: Finished = "failed" if state == "failed" else "completed"
        (options,) = await self._answers([("HGET", self.keys.job(job_id), "opts")])
        call = reprocess_call(self.keys, job_id, options=options, state=finished, reset_attempts=reset_attempts)
        await self._once("reprocessJob", call, job_id, refused="it was retried or removed meanwhile")

    async def promote_job(self, job_id: str) -> None:
        """Have a delayed job run now, a scheduler's next run too; it keeps its priority. Source: `promote-9.lua`."""
        call = promote_call(self.keys, job_id)
        await self._once("promote", call, job_id, refused="only delayed jobs can be promoted")

    async def change_priority(self, job_id: str, priority: int) -> None:
        """Give a job another priority, 1 (first) to 2097151 (last); it then stands last among its equals.

        A job that does not wait yet has it as soon as it does. Source: `changePriority-7.lua`.
        """
        if not 1 <= priority <= MAX_PRIORITY:
            raise InvalidJobError(f"priority {priority}: it must be 1 (first) to {MAX_PRIORITY} (last)")
        if await self._job_state(job_id) is None:
            self._refuse(job_id, None, "")
        keys = [self.keys.of(part) for part in _PRIORITY_KEYS]
        await self._once("changePriority", (keys, (int(priority), self.keys.base, job_id, 0)), job_id)

    async def change_delay(self, job_id: str, delay_ms: int) -> None:
        """Have a delayed job fall due so many milliseconds from now. Source: `changeDelay-4.lua`."""
        now_ms = self._now_ms()
        if delay_ms < 0 or now_ms + delay_ms > MAX_DUE_MS:
            raise InvalidJobError(f"delay {delay_ms} ms: it must not be negative, nor end after 2039")
        keys = [self.keys.of(part) for part in ("delayed", "meta", "marker", "events")]
        call = (keys, (delay_ms, now_ms, job_id, self.keys.job(job_id)))
        await self._once("changeDelay", call, job_id, refused="only delayed jobs have a delay to change")

    async def remove(self, job_id: str, *, children: bool = False) -> None:
        """Remove a job with its logs, wherever it stands, and with `children` all that it still waits for.

        A job that a worker has locked, or one with such a child, stays: JobStateError; so does the next run of a
        scheduler, which `unschedule` removes. Source: `removeJob-2.lua`.
        """
        sendings = 0
        keys = [self.keys.job(job_id), self.keys.of("repeat")]
        arguments = [job_id, str(int(children)), self.keys.base]

        async def send() -> int | None:
            nonlocal sendings
            # The script removes whatever key has that name, and says of a job that is not there that it was removed.
            if not await self._is_job(job_id):
                return 1 if sendings else None
            sendings += 1
            return int(await self._run_script("removeJob", keys, arguments))

        code = await self._persist(send)
        if code is None:
            self._refuse(job_id, None, "")
        if code == -8:
            self._refuse(job_id, "the next run of a scheduler", "remove the scheduler instead")
        if code == 0:
            self._refuse(job_id, "locked", "a worker is at it or at one of its children, wait for it to finish")

    async def _once(self, script: str, call: Arguments, job_id: str, *, refused: str = "") -> None:
        """Call a script for one job; -1 (no such job) and -3 (not in that state) become errors."""
        sendings = 0

        async def send() -> int:
            nonlocal sendings
            sendings += 1
            return int(await self._run_script(script, *call))

        code = await self._persist(send)
        if code == -1 or (code == -3 and sendings == 1):
            self._refuse(job_id, await self._job_state(job_id), refused)

    async def _is_job(self, job_id: str) -> bool:
        (reply,) = await self._run([("HEXISTS", self.keys.job(job_id), "timestamp")])
        if is_wrong_type(reply):
            return False
        raise_first([reply])
        return bool(reply)

    def _refuse(self, job_id: str, state: str | None, why: str) -> NoReturn:
        if state is None:
            raise JobNotFoundError(f"queue {self.name} has no job {job_id}")
        raise JobStateError(f"queue {self.name}: job {job_id} is {state}: {why}")
