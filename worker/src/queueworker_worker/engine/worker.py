"""One queue's worker: slots that take, run and record jobs, and what must go on beside them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from queueworker_worker.engine import outcome, stalled
from queueworker_worker.engine.fetch import Fetcher, Marker
from queueworker_worker.engine.finish import Finisher
from queueworker_worker.engine.jobs import ActiveJob, Taken, read
from queueworker_worker.engine.link import Backoff, Link, LinkError, ReplyError
from queueworker_worker.engine.locks import LockKeeper
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import Verdict
from queueworker_worker.engine.presence import Presence
from queueworker_worker.engine.schedule import next_of
from queueworker_worker.engine.scripts import QueueScripts, wall_ms
from queueworker_worker.engine.trouble import Contact
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

_log = logging.getLogger(__name__)
Handler = Callable[[Job], Awaitable[Any]]

_FAREWELL_SECONDS = 3.0


class Worker:
    """Runs the jobs of one queue until `drain` and the end of its last job; `give_back` ends it sooner.

    `link` may be shared between the workers of a process, `blocking` is this worker's own.
    """

    def __init__(
        self,
        handler: Handler,
        options: EngineOptions,
        *,
        link: Link,
        blocking: Link,
        now_ms: Callable[[], int] = wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handler, self._options = handler, options
        self._now_ms, self._clock = now_ms, clock
        self._scripts = QueueScripts(link, options, now_ms=now_ms)
        self._locks = LockKeeper(self._scripts, options, clock=clock)
        self._presence = Presence(link, options, now_ms=now_ms)
        self._contact = Contact(options.queue, patience=options.refusal_patience_seconds, clock=clock)
        longest = options.drain_delay_seconds
        self._marker = Marker(link, blocking, options.keys.of("marker"), longest_block=longest)
        self._fetcher = Fetcher(
            self._scripts, self._marker, options, self._contact, known=self._locks, now_ms=now_ms, clock=clock
        )
        self._slots: set[asyncio.Task[None]] = set()
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._finisher = Finisher(self._scripts, self._locks, self._contact, options)
        self._draining = self._giving_back = False

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._options.queue

    @property
    def jobs_done(self) -> int:
        """Attempts whose end was recorded."""
        return self._finisher.jobs_done

    @property
    def jobs_given_back(self) -> int:
        """Jobs put back unfinished."""
        return self._finisher.jobs_given_back

    @property
    def jobs_left(self) -> int:
        """Jobs that could not be put back: the stalled check of another worker has to."""
        return self._finisher.jobs_left

    @property
    def jobs_running(self) -> int:
        """Jobs that this worker holds."""
        return len(self._locks)

    @property
    def ready(self) -> bool:
        """Connected, registered and taking jobs."""
        return self._contact.connected and self._presence.registered and not self._draining

    @property
    def last_look(self) -> float | None:
        """When a slot last looked for a job (`time.monotonic`); None while none is looking because all are busy."""
        return self._fetcher.last_look

    async def run(self) -> None:
        """Work until drained; raises what broke the loop, AccessRefusedError among it, with the jobs given back."""
        instance = secrets.token_hex(4)
        names = [f"{self._options.name}:{instance}-{number}" for number in range(self._options.concurrency)]
        self._slots = {asyncio.create_task(self._slot(token)) for token in names}
        beside = {
            asyncio.create_task(self._locks.run()),
            asyncio.create_task(stalled.check_for_ever(self._scripts, self._options)),
            asyncio.create_task(self._presence.run()),
        }
        try:
            await self._until_the_last_slot_ends(beside)
        except BaseException:
            await self.give_back(grace=1.0)
            raise
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._say_goodbye()

    def drain(self) -> None:
        """Take no more jobs; `run` returns when the last one has ended."""
        self._draining = True
        self._finisher.taking = False
        self._fetcher.stop()

    async def give_back(self, *, grace: float = 2.0) -> None:
        """Cancel what still runs, put it back on the queue and end: no attempt and no stall is counted.

        A processor may use `grace` seconds to end by itself. One in a thread cannot be stopped: its job is put back
        nevertheless and may run twice.
        """
        self.drain()
        self._giving_back = True
        for task in list(self._running.values()):
            task.cancel()
        slots = [slot for slot in self._slots if not slot.done()]
        if slots:
            await asyncio.wait(slots, timeout=grace)
        for slot in slots:
            slot.cancel()
        left = self._locks.held()
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await asyncio.gather(*(self._finisher.give_back(job_id, token) for job_id, token in left.items()))
        except TimeoutError:
            _log.error("queue %s: not all of %d jobs given back: no answer in time", self.queue, len(left))

    async def _until_the_last_slot_ends(self, beside: set[asyncio.Task[None]]) -> None:
        waiting = self._slots | beside
        while not all(slot.done() for slot in self._slots):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._marker.aclose()
                await self._presence.end()
        except (LinkError, TimeoutError):
            _log.info("queue %s: not signed off, the heartbeat runs out by itself", self.queue)

    async def _slot(self, token: str) -> None:
        """Take a job, run it, and go on with the one that recording its end brought along."""
        while (taken := await self._fetcher.next(token)) is not None:
            following: Taken | None = taken
            while following is not None:
                if self._draining:
                    # It came with a call that was under way when the end was announced.
                    self._locks.hold(following.job_id, token)
                    await self._finisher.give_back(following.job_id, token)
                    break
                following = await self._work(following, token)

    async def _work(self, taken: Taken, token: str) -> Taken | None:
        self._locks.hold(taken.job_id, token)
        try:
            active = read(taken, queue=self.queue, prefix=self._options.prefix, channel=self._scripts)
            if active.job.scheduler_id is not None:
                await self._advance_scheduler(active.job)
            verdict = await self._run(active)
            if verdict is None:
                await self._finisher.give_back(taken.job_id, token)
                return None
            return await self._finisher.record(active, verdict, token)
        finally:
            self._locks.release(taken.job_id, token)

    async def _run(self, active: ActiveJob) -> Verdict | None:
        """Run the processor and return how it ended; None where we ended it ourselves."""
        condemned = active.deferred_failure or active.unreadable
        if condemned is not None:
            return self._verdict(active, None, UnrecoverableError(condemned))
        job, started = active.job, self._clock()
        # A task of its own: a cancel that leaks from the processor, or one meant for it, cannot reach the slot.
        task = asyncio.create_task(_guarded(self._handler, job), name=f"job {self.queue}/{job.id}")
        self._running[job.id] = task
        try:
            # Not awaited itself: that would raise here what cancelled it before its first step.
            await asyncio.wait({task})
        finally:
            del self._running[job.id]
        value, error = (None, asyncio.CancelledError()) if task.cancelled() else task.result()
        if self._giving_back and error is not None:
            # Whatever it made of the cancel, it did not come from the job.
            return None
        self._presence.record(job.name, round((self._clock() - started) * 1000))
        return self._verdict(active, value, error)

    def _verdict(self, active: ActiveJob, value: Any, error: BaseException | None) -> Verdict:
        if error is None:
            try:
                return outcome.completed(value)
            except (TypeError, ValueError, RecursionError) as wrong:
                error = UnrecoverableError(f"the result is not JSON: {wrong}")
        verdict = outcome.failed(active, error, options=self._options)
        job, then = active.job, "failed"
        if isinstance(verdict, outcome.Retried):
            then = f"runs again in {verdict.delay_ms} ms"
            if verdict.warning:
                _log.warning("queue %s: job %s: %s", self.queue, job.id, verdict.warning)
        attempt = f"attempt {job.attempts_made + 1} of {job.attempts}"
        _log.warning("queue %s: job %s (%s) %s, %s: %s", self.queue, job.id, job.name, attempt, then, verdict.reason)
        return verdict

    async def _advance_scheduler(self, job: Job) -> None:
        """Add the scheduler's next job before this one runs: without it the schedule would end here."""
        backoff = Backoff()
        while not self._giving_back:
            try:
                following = next_of(job, now_ms=self._now_ms())
                if following is not None and job.scheduler_id is not None:
                    next_ms, opts = following
                    await self._scripts.advance_scheduler(
                        job.scheduler_id, producer=job.id, next_ms=next_ms, data="{}", opts=opts
                    )
                return
            except (ReplyError, ValueError, KeyError, TypeError, OSError) as error:
                _log.error("queue %s: scheduler %s has no next job: %s", self.queue, job.scheduler_id, error)
                return
            except LinkError as error:
                self._contact.failed(error)
                await asyncio.sleep(backoff.pause())


async def _guarded(handler: Handler, job: Job) -> tuple[Any, BaseException | None]:
    """Run the processor; whatever it raises is a value, SystemExit and a leaking CancelledError too."""
    try:
        return await handler(job), None
    except BaseException as error:  # noqa: BLE001 - nothing that a processor raises may end the worker
        return None, error
