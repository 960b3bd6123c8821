"""Telling Redis how a job ended, or giving it back, over whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging

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


class Finisher:
    """Records the ends of jobs and counts them."""

    def __init__(self, scripts: QueueScripts, locks: LockKeeper, contact: Contact, options: EngineOptions) -> None:
        self._scripts, self._locks, self._contact, self._options = scripts, locks, contact, options
        self._queue = options.queue
        self.taking = True
        """Recording an end brings the next job along."""
        self.jobs_done = 0
        """Attempts whose end was recorded."""
        self.jobs_given_back = 0
        self._left: set[str] = set()

    @property
    def jobs_left(self) -> int:
        """Jobs that could not be put back."""
        return len(self._left)

    async def record(self, active: ActiveJob, verdict: Verdict, token: str) -> Taken | None:
        """Record the end of a job for as long as it takes, and return the next job if one came along."""
        job, backoff, unsure, tries = active.job, Backoff(), False, 0
        attempts = {"attempts": job.attempts, "attemptsMade": job.attempts_made}
        while True:
            try:
                if unsure and (adopted := await self._scripts.adopt(token, known=self._locks)) is not None:
                    # Only the call whose reply was lost can have taken it, so that call recorded this job's end.
                    self.jobs_done += 1
                    return adopted
                found = await self._scripts.record(
                    job.id, verdict, token=token, attempts=attempts, opts=job.opts, fetch=self.taking
                )
                self.jobs_done += 1
                self._contact.ok()
                if isinstance(found, Taken):
                    return found
                if not self.taking:
                    # At a global concurrency our place is free now, and nothing else would tell the others.
                    await self._mark()
                return None
            except ScriptRefusal as refusal:
                if refusal.code in HAS_CHILDREN and isinstance(verdict, outcome.Completed):
                    verdict = outcome.failed(active, UnrecoverableError(str(refusal)), options=self._options)
                    continue
                self._say_refused(job, refusal, unsure=unsure)
                return None
            except LinkError as error:
                unsure = unsure or isinstance(error, LinkLostError)
                tries += isinstance(error, ReplyError)
                if tries >= _RECORD_TRIES:
                    _log.error("queue %s: job %s: its end cannot be recorded: %s", self._queue, job.id, error)
                    return None
                self._contact.failed(error)
                await asyncio.sleep(backoff.pause())

    async def _mark(self) -> None:
        """Wake another worker."""
        try:
            await self._scripts.mark()
        except LinkError as error:
            _log.debug("queue %s: marker not set: %s", self._queue, error)

    def _say_refused(self, job: Job, refusal: ScriptRefusal, *, unsure: bool) -> None:
        if unsure:
            # Our earlier call was executed and its reply lost, or the lock ended while Redis was away.
            _log.info("queue %s: job %s: recorded before the connection broke, or lost with it", self._queue, job.id)
            self.jobs_done += 1
        else:
            _log.error("queue %s: job %s ended, but %s: its end is not recorded", self._queue, job.id, refusal)

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
