"""The calls of BullMQ's scripts that put a job back to where workers take it from."""

from __future__ import annotations

from collections.abc import Sequence

from queueworker.changes import Finished
from queueworker.decoding import json_or_text
from queueworker.keys import QueueKeys

Arguments = tuple[Sequence[str], Sequence[str | int | bytes]]

# KEYS in the order that the head of each script names them.
PROMOTE_KEYS = ("delayed", "wait", "paused", "meta", "prioritized", "active", "pc", "events", "marker")
_REPROCESS_KEYS = ("wait", "meta", "active", "marker", "prioritized", "pc")
RESULT_FIELD: dict[str, str] = {"failed": "failedReason", "completed": "returnvalue"}
"""The states of finished jobs, and the field that each leaves in its jobs."""


def reprocess_call(
    keys: QueueKeys, job_id: str, *, options: str | None, state: Finished, reset_attempts: bool
) -> Arguments:
    """Return KEYS and ARGV of `reprocessJob-9.lua`; `options` is the job's field `opts`."""
    reset = "1" if reset_attempts else "0"
    push = "RPUSH" if _is_lifo(options) else "LPUSH"
    return (
        (keys.job(job_id), keys.of("events"), keys.of(state), *map(keys.of, _REPROCESS_KEYS)),
        (job_id, push, RESULT_FIELD[state], state, reset, reset),
    )


def promote_call(keys: QueueKeys, job_id: str) -> Arguments:
    """Return KEYS and ARGV of `promote-9.lua`."""
    return tuple(map(keys.of, PROMOTE_KEYS)), (keys.base, job_id)


def _is_lifo(options: str | None) -> bool:
    decoded = json_or_text(options)
    return isinstance(decoded, dict) and bool(decoded.get("lifo"))
