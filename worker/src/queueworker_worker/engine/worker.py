"""One queue's worker: slots that take, run and record jobs, and what must go on beside them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from queueworker_worker.engine import stalled
from queueworker_worker.engine.attempt import Handler
from queueworker_worker.engine.channel import QueueChannel
from queueworker_worker.engine.events import Emitter, EventName, Listener
from queueworker_worker.engine.fetch import Fetcher
from queueworker_worker.engine.finish import Finisher
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.link import Link, LinkError
from queueworker_worker.engine.locks import LockKeeper
from queueworker_worker.engine.marker import Marker
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.presence import Presence
from queueworker_worker.engine.schedule import SchedulerKeeper
from queueworker_worker.engine.scripts import QueueScripts, wall_ms
from queueworker_worker.engine.serving import Serving
from queueworker_worker.engine.slots import Slots, end_all
from queueworker_worker.engine.trouble import Contact

_log = logging.getLogger(__name__)

_FAREWELL_SECONDS = 3.0


class Worker:
    """Runs the jobs of one queue until `drain` and the end of its last job; `give_back` ends it sooner.

    `link` may be shared between the workers of a process, `blocking` is this worker's own; `job_limit` may be shared
    too, and when it is exhausted the worker drains by itself.
    """

    def __init__(
        self,
        handler: Handler,
        options: EngineOptions,
        *,
        link: Link,
        blocking: Link,
        job_limit: JobLimit | None = None,
        now_ms: Callable[[], int] = wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limit = job_limit or JobLimit()
        self._options = options
        self._emitter = Emitter(options.queue)
        self._scripts = QueueScripts(link, options, now_ms=now_ms)
        self._locks = LockKeeper(self._scripts, options, clock=clock)
        self._presence = Presence(link, options, slots=lambda: self._slots.wanted, now_ms=now_ms)
        self._contact = Contact(
            options.queue,
            patience=options.refusal_patience_seconds,
            clock=clock,
            told=lambda error: self._emitter.emit("error", error),
        )
        self._schedulers = SchedulerKeeper(self._scripts, self._contact, options.queue, now_ms=now_ms)
        self._marker = Marker(link, blocking, options.keys.of("marker"), longest_block=options.drain_delay_seconds)
        self._fetcher = Fetcher(
            self._scripts,
            self._marker,
            options,
            self._contact,
            known=self._locks,
            limit=limit,
            drained=lambda: self._emitter.emit("drained"),
            now_ms=now_ms,
            clock=clock,
        )
        self._finisher = Finisher(self._scripts, self._locks, self._contact, options)
        self._serving = Serving(
            handler=handler,
            options=options,
            fetcher=self._fetcher,
            locks=self._locks,
            finisher=self._finisher,
            schedulers=self._schedulers,
            presence=self._presence,
            emitter=self._emitter,
            channel=QueueChannel(self._scripts, link, options.keys, self._emitter),
            limit=limit,
            now_ms=now_ms,
            clock=clock,
        )
        self._slots = Slots(self._serving.serve, options.concurrency)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._options.queue

    @property
    def concurrency(self) -> int:
        """How many jobs run at a time; may be set while the worker runs, jobs under way are not touched."""
        return self._slots.wanted

    @concurrency.setter
    def concurrency(self, count: int) -> None:
        self._slots.resize(count)

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
        return self._contact.connected and self._presence.registered and not self._serving.draining

    @property
    def idle(self) -> bool:
        """It holds no job, and its last look found none that it could take."""
        return not self._locks and self._fetcher.empty

    @property
    def paused(self) -> bool:
        """It takes no jobs until `resume`."""
        return self._fetcher.paused

    @property
    def last_look(self) -> float | None:
        """When a slot last looked for a job (`time.monotonic`); None while none is looking because all are busy."""
        return self._fetcher.last_look

    def on(self, event: EventName, listener: Listener) -> None:
        """Have a listener, sync or async, called at every such event; see `Emitter` for what it is given."""
        self._emitter.on(event, listener)

    async def run(self) -> None:
        """Work until drained; raises what broke the loop, AccessRefusedError among it, with the jobs given back."""
        loops: list[Coroutine[Any, Any, None]] = [self._presence.run()]
        if not self._options.skip_lock_renewal:
            loops.append(self._locks.run())
        if not self._options.skip_stalled_check:
            loops.append(stalled.check_for_ever(self._scripts, self._options, self._emitter))
        beside = {asyncio.create_task(one) for one in loops}
        try:
            await self._slots.run(f"{self._options.name}:{secrets.token_hex(4)}", beside=beside)
        except BaseException:
            await self.give_back(grace=1.0)
            raise
        finally:
            await end_all(beside)
            await self._say_goodbye()

    def pause(self) -> None:
        """Take no more jobs until `resume`; those that run go on. Other workers of the queue are not touched."""
        self._fetcher.pause()

    def resume(self) -> None:
        """Take jobs again."""
        self._fetcher.resume()

    def drain(self) -> None:
        """Take no more jobs; `run` returns when the last one has ended."""
        self._serving.draining = True
        self._finisher.taking = False
        self._fetcher.stop()

    def cancel_job(self, job_id: str, reason: str = "cancelled") -> bool:
        """Cancel a job that runs here; its attempt fails with JobCancelledError and the reason.

        The processor sees asyncio.CancelledError and `job.cancel_reason`, and decides: it may end in another way.
        """
        return self._slots.cancel(lambda job: job.id == job_id, reason) > 0

    def cancel_all_jobs(self, reason: str = "cancelled") -> int:
        """Cancel every job that runs here, and return how many."""
        return self._slots.cancel(lambda job: True, reason)

    async def give_back(self, *, grace: float = 2.0) -> None:
        """Cancel what still runs, put it back on the queue and end: no attempt and no stall is counted.

        A processor may use `grace` seconds to end by itself. One in a thread cannot be stopped: its job is put back
        nevertheless and may run twice.
        """
        self.drain()
        self._serving.giving_back = self._finisher.ending = self._schedulers.ending = True
        self._slots.cancel(lambda job: True, None)
        await self._slots.ended(within_seconds=grace)
        left = self._locks.held()
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await asyncio.gather(*(self._finisher.give_back(job_id, token) for job_id, token in left.items()))
        except TimeoutError:
            _log.error("queue %s: not all of %d jobs given back: no answer in time", self.queue, len(left))
        finally:
            self._slots.abandon()

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._marker.aclose()
                await self._presence.end()
                await self._emitter.ended(seconds=1.0)
        except (LinkError, TimeoutError):
            _log.info("queue %s: not signed off, the heartbeat runs out by itself", self.queue)
