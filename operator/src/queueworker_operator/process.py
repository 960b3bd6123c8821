"""`queueworker operator`: kopf, the loop, the readers, and the port for metrics and probes in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from queueworker.errors import QueueWorkerError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings, Node
from queueworker_operator import handlers
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from queueworker_operator.cluster.connection import open_guarded_reader
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.kubernetes.requests import path_of
from queueworker_operator.cluster.port import ClusterError, Key, Resource
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Pace, Queues, Reading
from queueworker_operator.queues.registry import open_reader
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings
from queueworker_operator.settings import OperatorSettings

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
        pace = Pace(busy=settings.busy_seconds, quiet=settings.quiet_seconds, deadline=settings.read_deadline_seconds)
        self._settings = settings
        self._store: dict[Key, Resource] = {}
        self._metrics = Metrics(registry)
        self._cluster = KubernetesCluster(requests)
        self._queues: Queues[Key] = Queues(
            wake=lambda key: self._loop.wake(key),
            clock=time.monotonic,
            random=random.random,
            pace=pace,
            open_reader=open_reader if settings.allow_loopback_redis else open_guarded_reader,
            read_done=self._read_done,
        )
        self._reconciler = Reconciler(
            store=self._store,
            cluster=self._cluster,
            queues=self._queues,
            metrics=self._metrics,
            settings=ReconcilerSettings(tls_directory=directory, allow_local_redis=settings.allow_loopback_redis),
            now=time.time,
            clock=time.monotonic,
        )
        self._loop: Loop[Key] = Loop(
            self._reconciler,
            clock=time.monotonic,
            random=random.random,
            on_failure=lambda key, error: self._metrics.reconcile_failed(),
        )
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._watching = asyncio.Event()
        self.broken = False
        """Whether the loop ended by itself."""

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT, or until the loop breaks.

        Raises QueueWorkerError where it cannot listen, and ClusterError where it may no longer watch.
        """
        registry = kopf.OperatorRegistry()
        handlers.register(
            registry,
            handlers.Door(store=self._store, wake=self._loop.wake, workers_changed=self._reconciler.workers_changed),
        )
        kopf.on.login(registry=registry, id="login")(_login)
        kopf.on.startup(registry=registry, id="start")(self._start)
        kopf.on.cleanup(registry=registry, id="end")(self._end)
        server = await self._serve_probes()
        namespaces = self._settings.namespaces
        try:
            await kopf.operator(
                registry=registry,
                settings=handlers.kopf_settings(),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self._stop,
                ready_flag=self._watching,
            )
        except Exception as error:
            # kopf gives up a watch that is refused, by errors that have no public names.
            message = f"the watches broke: {error}; are the CRD and the operator's rights still there?"
            raise ClusterError(message, reason=ConditionReason.CLUSTER_DENIED) from error
        finally:
            await server.cleanup()

    async def _start(self, **_: Any) -> None:
        self._task = asyncio.create_task(self._loop.run(), name="loop")
        self._task.add_done_callback(self._loop_ended)
        which = ", ".join(self._settings.namespaces) or "all namespaces"
        logger.info("the operator serves the QueueWorkers of %s", which)

    async def _end(self, **_: Any) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._queues.close()

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.broken = True
            logger.critical("the loop broke: the operator ends", exc_info=task.exception())
            self._stop.set()

    async def _serve_probes(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/metrics", self._answer_metrics)
        app.router.add_get("/healthz", self._answer_health)
        app.router.add_get("/readyz", self._answer_ready)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, port = self._settings.metrics_host, self._settings.metrics_port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise QueueWorkerError(f"cannot listen on {host}:{port}: {error}; choose another --metrics-port") from error
        return runner

    async def _answer_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _answer_health(self, _: web.Request) -> web.Response:
        age = time.monotonic() - self._loop.heartbeat
        if self.broken or age > STALE_SECONDS:
            return web.Response(status=503, text=f"the loop has stood still for {age:.0f} s\n")
        return web.Response(text="ok\n")

    async def _answer_ready(self, _: web.Request) -> web.Response:
        if not self._watching.is_set():
            return web.Response(status=503, text="the watches are not open yet\n")
        return await self._answer_health(_)

    def _read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        self._metrics.read(
            settings.address,
            {keys: None if reading.problem else reading.snapshot for keys, reading in readings.items()},
            [str(reading.problem.reason) for reading in readings.values() if reading.problem],
            seconds=seconds,
        )


async def run(settings: OperatorSettings) -> int:
    """Run an operator until it is told to end; return its exit code.

    Raises ClusterError where the API server cannot be used.
    """
    requests = await Requests.connect()
    try:
        await _check(requests, settings)
        with tempfile.TemporaryDirectory(prefix="queueworker-operator-") as directory:
            operator = Operator(requests, settings, directory=Path(directory))
            await operator.serve()
            return 1 if operator.broken else 0
    finally:
        await requests.close()


async def _check(requests: Requests, settings: OperatorSettings) -> None:
    """Raise ClusterError unless QueueWorkers can be listed: kopf would wait for ever and say nothing."""
    for namespace in settings.namespaces or (None,):
        within = ("namespaces", namespace) if namespace is not None else ()
        where = f"in {namespace}" if namespace is not None else "in all namespaces"
        try:
            await requests.get(
                path_of("apis", GROUP, VERSION, *within, PLURAL), attempt=f"list the QueueWorkers {where}", limit="1"
            )
        except ClusterError as error:
            message = f"{error}; are the CRD and the operator's rights there? `queueworker crd` prints the CRD"
            raise ClusterError(message, reason=error.reason) from error


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    account = kopf.login_with_service_account(**kwargs)
    if account is None:
        return kopf.login_with_kubeconfig(**kwargs)
    # kopf asks DNS for the API server; the kubelet's variables hold before DNS does, and are what our requests use.
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return replace(account, server=f"https://{Node(host=host, port=int(port))}") if host else account
