"""From the last `enqueue` of a burst to the replica write, through the real operator and a real API server.

Each of the QueueWorkers has a queue of its own that is quiet until its burst comes, at a random moment of a minute.
The end is the time at which the API server's watch tells of the new number.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress

from acceptance import running_operator
from fleet import NAMESPACE, apply_fleet, ready_fleet
from report import emit, summary
from valkeyserver import start_valkey

import controlplane
from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings

QUEUEWORKERS = 200
SPREAD_SECONDS = 60.0
BURST = 100


async def burst(name: str, settings: ConnectionSettings, moments: dict[str, float], *, after: float) -> None:
    await asyncio.sleep(after)
    async with Queue(name, settings) as queue:
        await queue.enqueue_many([Job.create("job", {"n": n}) for n in range(BURST)])
    moments[name] = time.monotonic()


async def watch(plane: controlplane.ControlPlane, writes: dict[str, float]) -> None:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments?watch=true"
    process = await asyncio.create_subprocess_exec(
        str(plane.binary),
        "kubectl",
        "get",
        "--raw",
        path,
        env=plane.environment,
        stdout=asyncio.subprocess.PIPE,
        limit=2**22,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            deployment = json.loads(line)["object"]
            if deployment["spec"]["replicas"] > 0:
                writes.setdefault(deployment["metadata"]["name"], time.monotonic())
            if len(writes) == QUEUEWORKERS:
                return
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def measure(plane: controlplane.ControlPlane, settings: ConnectionSettings) -> dict[str, float]:
    moments: dict[str, float] = {}
    writes: dict[str, float] = {}
    watching = asyncio.create_task(watch(plane, writes))
    chance = random.Random(1)
    names = [f"qw-{number}" for number in range(QUEUEWORKERS)]
    await asyncio.gather(*(burst(name, settings, moments, after=chance.uniform(1, SPREAD_SECONDS)) for name in names))
    with suppress(TimeoutError):
        await asyncio.wait_for(watching, 30)
    missing = sorted(set(names) - writes.keys())
    if missing:
        raise SystemExit(f"no replica write within 30 s for {missing[:5]}")
    return summary([writes[name] - moments[name] for name in names])


def main() -> None:
    server = start_valkey()
    try:
        settings = ConnectionSettings(host=server.host, port=server.port)
        with controlplane.ControlPlane.start(controlplane.build()) as plane:
            apply_fleet(plane, settings, count=QUEUEWORKERS)
            with running_operator(plane, NAMESPACE):
                ready_fleet(plane, count=QUEUEWORKERS)
                emit("reaction", {"last enqueue to replica write, seconds": asyncio.run(measure(plane, settings))})
    finally:
        server.stop()


if __name__ == "__main__":
    main()
