"""What a slot does with a job: run it, judge how it ended, record that, and go on with the job that this brought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from queueworker_worker.engine import outcome
from queueworker_worker.engine.attempt import Ended, Handler
from queueworker_worker.engine.channel import QueueChannel
from queueworker_worker.engine.events import Emitter
from queueworker_worker.engine.fetch import Fetcher
from queueworker_worker.engine.finish import Finisher
from queueworker_worker.engine.jobs import ActiveJob, Taken, read
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.locks import LockKeeper
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import Verdict
from queueworker_worker.engine.presence import Presence
from queueworker_worker.engine.schedule import SchedulerKeeper
from queueworker_worker.engine.slots import Slot
from queueworker_worker.errors import JobCancelledError, UnrecoverableError

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Serving:
    """The way of jobs through the slots of one worker, over its other parts."""

    handler: Handler
    options: EngineOptions
    fetcher: Fetcher
    locks: LockKeeper
    finisher: Finisher
    schedulers: SchedulerKeeper
    presence: Presence
    emitter: Emitter
    channel: QueueChannel
    limit: JobLimit
    now_ms: Callable[[], int]
    clock: Callable[[], float]
    draining: bool = False
    """Jobs that come along are put back; those that run go on."""
    giving_back: bool = False
    """Jobs that run are cancelled and put back."""

    async def serve(self, slot: Slot) -> None:
        """Take jobs, one at a time, until the slot is to end."""
        while (taken := await self.fetcher.next(slot.token, slot.is_retired)) is not None:
            await self._chain(slot, taken)

    async def _chain(self, slot: Slot, taken: Taken) -> None:
        following: Taken | None = taken
        while following is not None:
            if self.draining:
                # It came with a call that was under way when the end was announced.
                self.locks.hold(following.job_id, slot.token)
                await self.finisher.give_back(following.job_id, slot.token)
                return
            following = await self._work(slot, following)

    async def _work(self, slot: Slot, taken: Taken) -> Taken | None:
        token = slot.token
        self.locks.hold(taken.job_id, token)
        try:
            active = read(
                taken,
                queue=self.options.queue,
                prefix=self.options.prefix,
                channel=self.channel,
                loop=asyncio.get_running_loop(),
            )
            job = active.job
            if job.scheduler_id is not None:
                await self.schedulers.advance(job)
            value, error = await self._run(slot, active)
            if self.giving_back and error is not None:
                # Whatever it made of the cancel, it did not come from the job.
                if job.id in self.locks:
                    await self.finisher.give_back(job.id, token)
                return None
            return await self._end(slot, active, value, error)
        finally:
            self.locks.release(taken.job_id, token)

    async def _run(self, slot: Slot, active: ActiveJob) -> Ended:
        """Run the processor, and return its result or its error."""
        condemned = active.deferred_failure or active.unreadable
        if condemned is not None:
            return None, UnrecoverableError(condemned)
        if self.giving_back:
            # The next job of its scheduler had to wait for Redis.
            return None, asyncio.CancelledError()
        job, started = active.job, self.clock()
        self.emitter.emit("active", job)
        value, error = await slot.run(self.handler, job)
        self.presence.record(job.name, round((self.clock() - started) * 1000))
        if isinstance(error, asyncio.CancelledError) and job.cancel_reason is not None:
            error = JobCancelledError(job.cancel_reason)
        return value, error

    async def _end(self, slot: Slot, active: ActiveJob, value: Any, error: BaseException | None) -> Taken | None:
        """Record how a job ended, and tell the listeners."""
        verdict, error = self._verdict(active, value, error)
        if isinstance(verdict, outcome.RateLimited):
            self.fetcher.hold(verdict.limit_ms / 1000)
        reserved = not slot.retired and self.fetcher.may_take and self.limit.reserve()
        following = None
        try:
            following, done = await self.finisher.record(active, verdict, slot.token, fetch=reserved)
        finally:
            if reserved:
                self.limit.settle(taken=following is not None)
        if done and isinstance(verdict, outcome.Completed):
            self.emitter.emit("completed", active.job, value)
        elif done and isinstance(verdict, outcome.Failed | outcome.Retried):
            self.emitter.emit("failed", active.job, error)
        return following

    def _verdict(
        self, active: ActiveJob, value: Any, error: BaseException | None
    ) -> tuple[Verdict, BaseException | None]:
        if error is None:
            try:
                return outcome.completed(value), None
            except (TypeError, ValueError, RecursionError) as wrong:
                error = UnrecoverableError(f"the result is not JSON: {wrong}")
        postponed = outcome.postponed(error, now_ms=self.now_ms())
        if postponed is not None:
            return postponed, error
        verdict = outcome.failed(active, error, options=self.options)
        self._say_failed(active, verdict)
        return verdict, error

    def _say_failed(self, active: ActiveJob, verdict: outcome.Failed | outcome.Retried) -> None:
        job, queue, then = active.job, self.options.queue, "failed"
        if isinstance(verdict, outcome.Retried):
            then = f"runs again in {verdict.delay_ms} ms"
            if verdict.warning:
                _log.warning("queue %s: job %s: %s", queue, job.id, verdict.warning)
        number = f"attempt {job.attempts_made + 1} of {job.attempts}"
        _log.warning("queue %s: job %s (%s) %s, %s: %s", queue, job.id, job.name, number, then, verdict.reason)
