"""Bringing back the jobs of workers that died: the check that any one worker does for all."""

from __future__ import annotations

import asyncio
import logging

from queueworker_worker.engine.events import Emitter
from queueworker_worker.engine.link import Backoff, LinkError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import QueueScripts

_log = logging.getLogger(__name__)


async def check_for_ever(scripts: QueueScripts, options: EngineOptions, emitter: Emitter) -> None:
    """Check at once, because no other worker may be left, and then once per interval."""
    backoff = Backoff()
    while True:
        try:
            for job_id in await scripts.recover_stalled():
                _log.warning("queue %s: job %s stalled, it goes back to wait", options.queue, job_id)
                emitter.emit("stalled", job_id)
            backoff.reset()
            await asyncio.sleep(options.stalled_interval_ms / 1000)
        except LinkError as error:
            _log.debug("queue %s: stalled check: %s", options.queue, error)
            await asyncio.sleep(backoff.pause())
