"""What a running job asks of its queue and tells it."""

from __future__ import annotations

import json
from typing import Any

from queueworker.keys import QueueKeys
from queueworker_worker.engine.events import Emitter
from queueworker_worker.engine.jobs import fields_of
from queueworker_worker.engine.link import Link
from queueworker_worker.engine.scripts import QueueScripts, ScriptRefusal
from queueworker_worker.job import JobChannel


class QueueChannel(JobChannel):
    """See `JobChannel`; a job whose hash is gone raises ScriptRefusal where something should be stored."""

    def __init__(self, scripts: QueueScripts, link: Link, keys: QueueKeys, emitter: Emitter) -> None:
        self._scripts, self._link, self._keys, self._emitter = scripts, link, keys, emitter

    async def update_progress(self, job_id: str, progress: str) -> None:
        """See `JobChannel`."""
        keys = (self._keys.job(job_id), self._keys.of("events"), self._keys.of("meta"))
        await self._run("updateProgress", keys, (job_id, progress))
        self._emitter.emit("progress", job_id, json.loads(progress))

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        """See `JobChannel`."""
        key = self._keys.job(job_id)
        return int(await self._run("addLog", (key, f"{key}:logs"), (job_id, line, "" if keep is None else keep)))

    async def update_data(self, job_id: str, data: str) -> None:
        """See `JobChannel`."""
        await self._run("updateData", (self._keys.job(job_id),), (data,))

    async def children_values(self, job_id: str) -> dict[str, Any]:
        """See `JobChannel`."""
        values = fields_of(await self._link.execute("HGETALL", f"{self._keys.job(job_id)}:processed"))
        return {child: json.loads(value) for child, value in values.items()}

    async def failed_children(self, job_id: str) -> dict[str, str]:
        """See `JobChannel`."""
        return fields_of(await self._link.execute("HGETALL", f"{self._keys.job(job_id)}:failed"))

    async def dependency_counts(self, job_id: str) -> dict[str, int]:
        """See `JobChannel`."""
        key, kinds = self._keys.job(job_id), ("processed", "unprocessed", "ignored", "failed")
        keys = (f"{key}:processed", f"{key}:dependencies", f"{key}:failed", f"{key}:unsuccessful")
        return dict(zip(kinds, map(int, await self._run("getDependencyCounts", keys, kinds)), strict=True))

    async def _run(self, name: str, keys: tuple[str, ...], words: tuple[str | int, ...]) -> Any:
        reply = await self._scripts.run(name, keys, words)
        if isinstance(reply, int) and reply < 0:
            raise ScriptRefusal(reply)
        return reply
