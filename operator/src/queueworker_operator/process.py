"""`queueworker operator`: kopf, the loop, the readers, and the port for metrics and probes in one process."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.cluster.connection import open_guarded_reader
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.kubernetes.rivals import AutoscalerWatch
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.handlers import Door
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.probes import Probes
from queueworker_operator.queues import Pace, Queues, Reading
from queueworker_operator.queues.registry import open_reader
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings
from queueworker_operator.settings import OperatorSettings
from queueworker_operator.start import Start
from queueworker_operator.watches import watch

logger = logging.getLogger(__name__)

STALE_SECONDS = 60.0
"""A loop that did not go round for so long is dead."""


class Operator:
    """The parts of one operator process; needs a running event loop."""

    def __init__(self, requests: Requests, settings: OperatorSettings, *, directory: Path) -> None:
        """`directory` is for TLS files and private to this user."""
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        pace = Pace(
            busy=settings.busy_seconds,
            quiet=settings.quiet_seconds,
            polled=settings.polled_seconds,
            deadline=settings.read_deadline_seconds,
        )
        self._settings = settings
        self._store: dict[Key, Resource] = {}
        self._metrics = Metrics(registry, clock=time.monotonic)
        self._rivals = Rivals(self._store)
        self._rivals.look_again = self._look_again
        self._autoscalers = AutoscalerWatch(requests, self._rivals, settings.namespaces)
        self._cluster = KubernetesCluster(requests, rivals=self._rivals)
        self._queues: Queues[Key] = Queues(
            wake=self._queue_spoke,
            clock=time.monotonic,
            random=random.random,
            pace=pace,
            open_reader=open_reader if settings.allow_loopback_redis else open_guarded_reader,
            read_done=self._read_done,
            discarded=lambda settings, queue: self._metrics.discarded(settings.address, queue),
        )
        self._reconciler = Reconciler(
            store=self._store,
            cluster=self._cluster,
            queues=self._queues,
            metrics=self._metrics,
            settings=ReconcilerSettings(tls_directory=directory, allow_local_redis=settings.allow_loopback_redis),
            now=time.time,
            clock=time.monotonic,
            tell_in=lambda key, seconds: self._telling.wake_in(key, seconds),
            dropped=self._rivals.dropped,
        )
        self._loop: Loop[Key] = Loop(
            self._reconciler,
            clock=time.monotonic,
            random=random.random,
            on_failure=lambda key, error: self._metrics.reconcile_failed(),
        )
        self._telling: Loop[Key] = Loop(self._reconciler.tell, clock=time.monotonic, random=random.random)
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._watching = asyncio.Event()
        self._door = Door(
            store=self._store,
            wake=self._loop.wake,
            workers_changed=self._workers_changed,
            workers_seen=self._cluster.saw,
            rivals=self._rivals,
        )
        self._first = Start(
            cluster=self._cluster,
            door=self._door,
            list_autoscalers=self._autoscalers.list,
            is_decided=lambda key: self._reconciler.decision(key) is not None,
            progress=self._reconciler.progress,
            namespaces=settings.namespaces,
            stop=self._stop,
            clock=time.monotonic,
            random=random.random,
        )
        self._probes = Probes(metrics=self._metrics.text, health=self._ill, readiness=self._unready)
        self.broken = False
        """Whether the loop ended by itself."""

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT, or until the loop breaks.

        Raises QueueWorkerError where it cannot listen, and ClusterError where it may no longer watch.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            # kopf puts its own in their place.
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        await self._probes.open(self._settings.metrics_host, self._settings.metrics_port)
        try:
            await self._first.read()
            if self._stop.is_set():
                return
            _spare_the_collector()
            self._start()
            await self._first.decide()
            if not self._stop.is_set():
                await self._watch()
        finally:
            await self._end()

    async def _watch(self) -> None:
        self._tasks.append(asyncio.create_task(self._first.follow(), name="follow"))
        self._tasks[-1].add_done_callback(self._follow_ended)
        await watch(self._door, self._settings.namespaces, stop=self._stop, ready=self._watching, end=self._end)

    def _workers_changed(self, key: Key) -> None:
        self._loop.wake_in(key, self._reconciler.workers_changed(key))

    def _look_again(self, key: Key) -> None:
        self._reconciler.workers_changed(key)
        self._loop.wake(key, fresh=True)

    def _start(self) -> None:
        runs = {"loop": self._loop.run(), "telling": self._telling.run(), "autoscalers": self._autoscalers.run()}
        for name, run in runs.items():
            task = asyncio.create_task(run, name=name)
            task.add_done_callback(self._loop_ended)
            self._tasks.append(task)
        which = ", ".join(self._settings.namespaces) or "all namespaces"
        logger.info("the operator serves the QueueWorkers of %s", which)

    async def _end(self, **_: Any) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._queues.close()
        # For tasks that are left kopf waits 5 s: its own that waits for the flag, and one for each open connection.
        self._stop.set()
        await self._probes.close()

    def _queue_spoke(self, key: Key) -> None:
        self._loop.wake(key, urgent=self._reconciler.is_urgent(key))

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.broken = True
            logger.critical("the loop broke: the operator ends", exc_info=task.exception())
            self._stop.set()

    def _follow_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._loop_ended(task)

    def _ill(self) -> str | None:
        age = time.monotonic() - min(self._loop.heartbeat, self._telling.heartbeat)
        return f"the loop has stood still for {age:.0f} s" if self.broken or age > STALE_SECONDS else None

    def _unready(self) -> str | None:
        told = self._watching.is_set() and not self._door.untold
        return self._ill() if told else "the watches are not open yet"

    def _read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        self._metrics.read(
            settings.address,
            {keys: None if reading.problem else reading.snapshot for keys, reading in readings.items()},
            [str(reading.problem.reason) for reading in readings.values() if reading.problem],
            seconds=seconds,
        )


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what stays anyway, and go through the rest more seldom.

    With a thousand QueueWorkers it took half of the CPU time: what is kept of them grows, and it is looked at whole
    each time. Little of what is dropped is a cycle: what the start left of them, some hundred KB, is not looked for.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


async def run(settings: OperatorSettings) -> int:
    """Run an operator until it is told to end; return its exit code.

    Raises ClusterError where the API server cannot be used.
    """
    requests = await Requests.connect()
    try:
        with tempfile.TemporaryDirectory(prefix="queueworker-operator-") as directory:
            operator = Operator(requests, settings, directory=Path(directory))
            await operator.serve()
            return 1 if operator.broken else 0
    finally:
        await requests.close()
