"""A job that is about to be added: checked, encoded, and the script call that adds it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import msgpack
from pydantic import BaseModel

from queueworker import scripts
from queueworker.command import Command
from queueworker.errors import InvalidJobError
from queueworker.keys import QueueKeys
from queueworker.optionnames import ON_FAILURE
from queueworker.options import MAX_DUE_MS, JobOptions, ParentOptions

# KEYS in the order that the head of each script names them.
_KEYS = {
    "addStandardJob": ("wait", "paused", "meta", "id", "completed", "delayed", "active", "events", "marker"),
    "addPrioritizedJob": ("marker", "meta", "id", "prioritized", "delayed", "completed", "active", "events", "pc"),
    "addDelayedJob": ("marker", "meta", "id", "delayed", "completed", "events"),
    "addParentJob": ("meta", "id", "delayed", "waiting-children", "completed", "events"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job to add. Its id is settled when it is made, so that adding the same `Job` again is harmless."""

    name: str
    payload: str
    """The data as JSON text."""
    options: JobOptions
    id: str
    generated_id: bool

    @classmethod
    def create(cls, name: str, data: Any = None, **options: Any) -> Self:
        """Check and encode a job; `data` is anything JSON can hold, or a pydantic model.

        Options are those of `queueworker.options.JobOptions`. Raises InvalidJobError.
        """
        if not isinstance(name, str) or not name:
            raise InvalidJobError(f"job name {name!r}: it must be a text that is not empty")
        checked = JobOptions.of(**options)
        payload = encode_data(data, job_name=name)
        _check_size(payload, checked.size_limit, job_name=name)
        job_id = checked.job_id or uuid.uuid4().hex
        return cls(name, payload, checked, job_id, checked.job_id is None)

    def under(self, parent: ParentOptions) -> Self:
        """Return this job as the child of a parent."""
        return replace(self, options=self.options.model_copy(update={"parent": parent}))

    @property
    def script(self) -> scripts.Script:
        """The script of BullMQ that adds this job."""
        if self.options.delay:
            return scripts.load("addDelayedJob")
        return scripts.load("addPrioritizedJob" if self.options.effective_priority else "addStandardJob")

    def call(self, keys: QueueKeys, *, timestamp_ms: int, script: scripts.Script | None = None) -> Command:
        """Return the EVALSHA that adds this job, by `script` where it is not the job's own.

        Raises InvalidJobError if it falls due too late for BullMQ, or would affect a parent that it has not.
        """
        if timestamp_ms + self.options.delay > MAX_DUE_MS:
            raise InvalidJobError(f"job {self.name}: option delay: falls due after 2039, which BullMQ cannot store")
        if self.options.parent is None and self.options.on_failure:
            raise InvalidJobError(f"job {self.name}: option {self.options.on_failure[0]}: needs a parent")
        script = script or self.script
        parts = _KEYS[script.name]
        try:
            arguments = self._arguments(keys, timestamp_ms)
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidJobError(f"job {self.name!a}: a name, an id or a number cannot be sent: {error}") from None
        return ("EVALSHA", script.sha1, len(parts), *map(keys.of, parts), *arguments)

    def _arguments(self, keys: QueueKeys, timestamp_ms: int) -> tuple[bytes, str, bytes]:
        options: Mapping[str, Any] = {**self.options.encode(), "jobId": self.id}
        deduplication = self.options.deduplication
        deduplication_key = None if deduplication is None else f"{keys.base}de:{deduplication.id}"
        # prefix, id, name, timestamp, then parent key, its dependencies, parent, scheduler, deduplication key
        head = [keys.base, self.id, self.name, timestamp_ms, *self._parent(), None, deduplication_key]
        return msgpack.packb(head), self.payload, msgpack.packb(options)

    def _parent(self) -> tuple[str | None, str | None, dict[str, Any] | None]:
        parent = self.options.parent
        if parent is None:
            return None, None, None
        stored: dict[str, Any] = {"id": parent.id, "queueKey": parent.queue}
        stored |= {ON_FAILURE[name]: True for name in self.options.on_failure}
        return parent.key, f"{parent.key}:dependencies", stored


def encode_data(data: Any, *, job_name: str) -> str:
    """Return data as JSON; raises InvalidJobError for what JSON cannot hold, NaN and infinities included."""
    try:
        if isinstance(data, BaseModel):
            data = data.model_dump(mode="json", by_alias=True)
        return json.dumps({} if data is None else data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJobError(f"job {job_name}: its data cannot be written as JSON: {error}") from None


def _check_size(payload: str, limit: int | None, *, job_name: str) -> None:
    """Raise InvalidJobError if the data is longer than `limit` bytes of JSON, counted as BullMQ for Node writes it."""
    if limit is None or len(payload) <= limit:
        return
    # Ours escapes what is not ASCII, Node's does not.
    text = json.dumps(json.loads(payload), separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise InvalidJobError(f"job {job_name}: option sizeLimit: its data has {size} bytes, the limit is {limit}")
