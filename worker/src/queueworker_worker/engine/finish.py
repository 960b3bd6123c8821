"""Telling Redis how a job ended, or giving it back, over whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import NamedTuple

from queueworker_worker.engine import outcome
from queueworker_worker.engine.jobs import ActiveJob, Taken
from queueworker_worker.engine.link import Backoff, LinkError, LinkLostError, ReplyError
from queueworker_worker.engine.locks import LockKeeper
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import Verdict
from queueworker_worker.engine.scripts import HAS_CHILDREN, QueueScripts, ScriptRefusal
from queueworker_worker.engine.trouble import Contact
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

_log = logging.getLogger(__name__)

_RECORD_TRIES = 10
"""How often an outcome that the server answers with an error is offered again; a lost connection has no such bound."""


class Recorded(NamedTuple):
    """What came of recording a job's end."""

    following: Taken | None
    """The next job, where one came along."""
    done: bool
    """It is recorded; else somebody else will run the job again."""


@dataclass(slots=True)
class _End:
    """An end that is being recorded."""

    active: ActiveJob
    verdict: Verdict
    token: str
    fetch: bool
    unsure: bool = False
    """A call may have been executed though its reply was lost."""
    tries: int = 0
    """Errors that the server answered."""

    @property
    def needs_children_ended(self) -> bool:
        return isinstance(self.verdict, outcome.Completed | outcome.WaitsForChildren)

    def note(self, error: LinkError) -> None:
        self.unsure = self.unsure or isinstance(error, LinkLostError)
        self.tries += isinstance(error, ReplyError)


class Finisher:
    """Records the ends of jobs and counts them."""

    def __init__(self, scripts: QueueScripts, locks: LockKeeper, contact: Contact, options: EngineOptions) -> None:
        self._scripts, self._locks, self._contact, self._options = scripts, locks, contact, options
        self._queue = options.queue
        self.taking = True
        """Recording an end may bring the next job along."""
        self.ending = False
        """What runs is being given back: of such a job no end is recorded any more."""
        self.jobs_done = 0
        """Attempts whose end was recorded."""
        self.jobs_given_back = 0
        self._left: set[str] = set()

    @property
    def jobs_left(self) -> int:
        """Jobs that could not be put back."""
        return len(self._left)

    async def record(self, active: ActiveJob, verdict: Verdict, token: str, *, fetch: bool) -> Recorded:
        """Record the end of a job for as long as it takes, and with `fetch` bring the next job along."""
        end, backoff = _End(active, verdict, token, fetch=fetch), Backoff()
        while True:
            try:
                return await self._try(end)
            except ScriptRefusal as refusal:
                if refusal.code not in HAS_CHILDREN or not end.needs_children_ended:
                    return self._refused(active.job, refusal, unsure=end.unsure)
                end.verdict = outcome.failed(active, UnrecoverableError(str(refusal)), options=self._options)
            except LinkError as error:
                if self.ending and active.job.id not in self._locks:
                    return Recorded(None, done=False)
                end.note(error)
                if end.tries >= _RECORD_TRIES:
                    _log.error("queue %s: job %s: its end cannot be recorded: %s", self._queue, active.job.id, error)
                    return Recorded(None, done=False)
                self._contact.failed(error)
                await asyncio.sleep(backoff.pause())

    async def _try(self, end: _End) -> Recorded:
        if end.unsure and (adopted := await self._scripts.adopt(end.token, known=self._locks)) is not None:
            # Only the call whose reply was lost can have taken it, so that call recorded this job's end.
            return self._recorded(adopted)
        job = end.active.job
        found = await self._scripts.record(
            job.id,
            end.verdict,
            token=end.token,
            attempts=(job.attempts, job.attempts_made),
            opts=job.opts,
            fetch=end.fetch and self.taking,
        )
        self._contact.ok()
        if isinstance(found, Taken):
            return self._recorded(found)
        if not self.taking:
            # At a global concurrency our place is free now, and nothing else would tell the others.
            await self._mark()
        return self._recorded(None)

    async def _mark(self) -> None:
        """Wake another worker."""
        try:
            await self._scripts.mark()
        except LinkError as error:
            _log.debug("queue %s: marker not set: %s", self._queue, error)

    def _recorded(self, following: Taken | None) -> Recorded:
        self.jobs_done += 1
        return Recorded(following, done=True)

    def _refused(self, job: Job, refusal: ScriptRefusal, *, unsure: bool) -> Recorded:
        if unsure:
            # Our earlier call was executed and its reply lost, or the lock ended while Redis was away.
            _log.info("queue %s: job %s: recorded before the connection broke, or lost with it", self._queue, job.id)
            return self._recorded(None)
        _log.error("queue %s: job %s ended, but %s: its end is not recorded", self._queue, job.id, refusal)
        return Recorded(None, done=False)

    async def give_back(self, job_id: str, token: str) -> None:
        """Put a job back on the queue, in four tries; `jobs_left` counts those that could not be put back."""
        unsure = False
        self._left.add(job_id)
        for pause in (0.1, 0.3, 1.0, None):
            try:
                await self._scripts.give_back(job_id, token)
                return self._gave_back(job_id, token)
            except ScriptRefusal as refusal:
                if unsure:
                    # The first call was executed; what may be missing is the marker.
                    await self._mark()
                    return self._gave_back(job_id, token)
                _log.warning("queue %s: job %s not given back: %s", self._queue, job_id, refusal)
                self._locks.release(job_id, token)
                self._left.discard(job_id)
                return None
            except LinkError as error:
                unsure = True
                if pause is None:
                    _log.error("queue %s: job %s not given back: %s", self._queue, job_id, error)
                else:
                    await asyncio.sleep(pause)

    def _gave_back(self, job_id: str, token: str) -> None:
        self._locks.release(job_id, token)
        self.jobs_given_back += 1
        self._left.discard(job_id)
        _log.info("queue %s: job %s given back", self._queue, job_id)
