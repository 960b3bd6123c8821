"""The operator of the demo: its own loop, readers and decisions, with workers as processes of this host."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from examples.demo.manifests import JsonObject
from prometheus_client import CollectorRegistry

from queueworker_operator.cluster.local import LocalCluster, LocalSettings
from queueworker_operator.cluster.local_objects import LocalObjects
from queueworker_operator.cluster.port import Key
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Queues
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings
from queueworker_operator.resource import resource_of


@asynccontextmanager
async def local_operator(
    queueworkers: Iterable[JsonObject], secrets: Iterable[JsonObject], *, log: Callable[[str, str], None]
) -> AsyncIterator[LocalCluster]:
    """Run the operator on these documents; the workers are drained at the end. `log` gets worker and line."""
    objects = LocalObjects()
    for secret in secrets:
        objects.add(secret)
    resources = (replace(resource_of(document), uid=document["metadata"]["name"]) for document in queueworkers)
    store = {resource.key: resource for resource in resources}

    def changed(key: Key) -> None:
        reconciler.workers_changed(key)
        loop.wake(key)

    with tempfile.TemporaryDirectory(prefix="queueworker-demo-") as directory:
        cluster = LocalCluster(objects, LocalSettings(directory=Path(directory), log=log), changed=changed)
        queues: Queues[Key] = Queues(wake=lambda key: loop.wake(key), clock=time.monotonic, random=random.random)
        reconciler = Reconciler(
            store=store,
            cluster=cluster,
            queues=queues,
            metrics=Metrics(CollectorRegistry()),
            settings=ReconcilerSettings(tls_directory=Path(directory), allow_local_redis=True),
            now=time.time,
            clock=time.monotonic,
        )
        loop: Loop[Key] = Loop(reconciler, clock=time.monotonic, random=random.random)
        task = asyncio.create_task(loop.run(), name="loop")
        try:
            for key in store:
                loop.wake(key, fresh=True)
            yield cluster
        finally:
            task.cancel()
            await asyncio.wait([task])
            await cluster.close()
            await queues.close()
