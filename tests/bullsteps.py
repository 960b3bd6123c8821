"""A worker by hand: take a job and finish it, by the scripts that every worker calls, one step at a time."""

from __future__ import annotations

import json
import time
from typing import Any

import msgpack
from redis.asyncio import Redis

from queueworker import scripts
from queueworker.keys import QueueKeys
from queueworker.optionnames import ON_FAILURE

TOKEN = "by-hand"
_SHARED = ("wait", "active", "prioritized", "events", "stalled", "limiter", "delayed", "paused", "meta", "pc")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def take(client: Redis, queue: str, *, prefix: str = "bull") -> str | None:
    """Move the next job to active and return its id, None where none is ready."""
    keys = QueueKeys(prefix, queue)
    options = msgpack.packb({"token": TOKEN, "lockDuration": 30_000})
    reply = await client.eval(
        scripts.load("moveToActive").source,
        11,
        *map(keys.of, (*_SHARED, "marker")),
        *(keys.base, _now_ms(), options),
    )
    return str(reply[1]) if reply[0] else None


async def finish(
    client: Redis, queue: str, job_id: str, *, value: Any = None, error: str | None = None, prefix: str = "bull"
) -> None:
    """Finish an active job for good: with a return value, or with an error."""
    keys = QueueKeys(prefix, queue)
    target = "completed" if error is None else "failed"
    opts = json.loads(str(await client.hget(keys.job(job_id), "opts")))
    keep = opts["removeOnComplete" if error is None else "removeOnFail"]
    options = {
        **{"token": TOKEN, "lockDuration": 30_000, "attempts": 1, "attemptsMade": 1, "maxMetricsSize": ""},
        "keepJobs": {"count": 0 if keep is True else -1},
        **{short: bool(opts.get(short)) for short in ON_FAILURE.values()},
    }
    code = await client.eval(
        scripts.load("moveToFinished").source,
        14,
        *map(keys.of, (*_SHARED, target, job_id, f"metrics:{target}", "marker")),
        *(job_id, _now_ms(), "returnvalue" if error is None else "failedReason"),
        *(json.dumps(value) if error is None else error, target, "", keys.base, msgpack.packb(options)),
    )
    assert code == 0, f"finishing {job_id}: {code}"


async def run_all(client: Redis, queue: str, *, errors: dict[str, str] | None = None) -> list[str]:
    """Take and finish all jobs that are ready, those of the names in `errors` with an error; return their names."""
    names = []
    while (job_id := await take(client, queue)) is not None:
        name = str(await client.hget(f"bull:{queue}:{job_id}", "name"))
        error = (errors or {}).get(name)
        await finish(client, queue, job_id, value=None if error else {"from": name}, error=error)
        names.append(name)
    return names
