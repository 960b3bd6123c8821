"""The life of a worker process: its queues served side by side, from the first signal handler to the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from queueworker.errors import SettingsError
from queueworker.keys import QueueKeys, missing_hash_tag
from queueworker_worker import schedules
from queueworker_worker.cancels import is_cancelled
from queueworker_worker.context import Dependencies, closing, open_unless
from queueworker_worker.control import Control
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.link import Link
from queueworker_worker.engine.resp import RespLink
from queueworker_worker.engine.worker import Worker
from queueworker_worker.errors import DependencyError, ProcessorError
from queueworker_worker.execution import handler_of
from queueworker_worker.health import Health, HealthServer, report_to
from queueworker_worker.lifecycle import Ending, Lifecycle, until_ready
from queueworker_worker.processpool import ProcessPool
from queueworker_worker.registry import Processor, Registry
from queueworker_worker.settings import QueueSettings, WorkerSettings
from queueworker_worker.threads import default_threads, slot_threads

if TYPE_CHECKING:
    from queueworker.settings import ConnectionSettings

_log = logging.getLogger(__name__)
_SCHEDULERS_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How long to work, and whose process it is."""

    burst: bool = False
    """End when no queue holds a job that could be taken."""
    limit: int | None = None
    """End after so many jobs."""
    owns_process: bool = True
    """Take SIGTERM and SIGINT, and the loop's default threads: not where another program embeds the worker."""
    control: Control | None = None
    """The program's handle on the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a process is to serve, and how."""

    settings: WorkerSettings
    connection: ConnectionSettings
    registry: Registry
    mode: Mode = field(default_factory=Mode)

    def __post_init__(self) -> None:
        """Raise ProcessorError or SettingsError for what cannot work."""
        without = [queue.name for queue in self.settings.queues if not self.registry.of_queue(queue.name)]
        if without:
            known = ", ".join(self.registry.queues) or "none"
            raise ProcessorError(
                f"no processor for queue {', '.join(without)}: known queues are {known}; "
                "name their module with --module"
            )
        if self.connection.cluster is not None and not self.keys[0].has_hash_tag:
            raise SettingsError(missing_hash_tag(self.keys[0]))

    @property
    def keys(self) -> list[QueueKeys]:
        """The keys of the queues."""
        return [QueueKeys(self.settings.prefix, queue.name) for queue in self.settings.queues]

    @property
    def processors(self) -> list[Processor]:
        """The processors of the queues served."""
        return [one for queue in self.settings.queues for one in self.registry.of_queue(queue.name)]

    def slots_of(self, execution: str) -> int:
        """Return how many slots may run a processor in this way."""
        return sum(
            queue.concurrency
            for queue in self.settings.queues
            if any(one.execution == execution for one in self.registry.of_queue(queue.name))
        )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(
    service: Service, *, told_to_end: Callable[[], bool] = lambda: False, ending: Ending | None = None
) -> int:
    """Serve the queues until it is told to end; return the exit code: 0 after a drain, 1 when a loop broke.

    `told_to_end` says whether a SIGTERM came before the loop could take one; `ending` ends it from inside the program.
    Raises SettingsError or ProcessorError where it cannot begin.
    """
    ending = ending or Ending()
    loop, settings = asyncio.get_running_loop(), service.settings
    if service.mode.owns_process:
        # Before anything else: PID 1 without a handler ignores SIGTERM.
        loop.add_signal_handler(signal.SIGTERM, ending.terminate)
        loop.add_signal_handler(signal.SIGINT, ending.interrupt)
    if told_to_end():
        ending.terminate()
    health = Health(stale_seconds=settings.health_stale_seconds)
    async with AsyncExitStack() as stack:
        probes = ""
        if settings.health_port is not None:
            server = stack.enter_context(HealthServer(health, settings.health_host, settings.health_port))
            probes = f", probes on {settings.health_host}:{server.port}"
        if settings.status_fd is not None:
            report_to(settings.status_fd, health)
        names = ", ".join(f"{queue.name} ({queue.concurrency})" for queue in settings.queues)
        _log.info("worker %s starts: queues %s, Redis %s%s", settings.name, names, service.connection.address, probes)
        if service.mode.owns_process:
            stack.enter_context(default_threads(loop))
        beating = asyncio.create_task(_beat(health, settings.health_stale_seconds))
        stack.callback(beating.cancel)
        return await _with_dependencies(service, ending=ending, health=health)


async def _with_dependencies(service: Service, *, ending: Ending, health: Health) -> int:
    # Children open their own.
    here = [one for one in service.processors if one.execution != "process"]
    dependencies = Dependencies(depends for one in here for depends in one.parameters.dependencies.values())
    try:
        opened = await open_unless(ending.drain, dependencies)
    except BaseException as error:
        if is_cancelled(error):
            raise
        # Settings do not get right by trying again.
        kind = ProcessorError if isinstance(error, SettingsError) else DependencyError
        raise kind(f"dependency {dependencies.opening} cannot be opened: {type(error).__name__}: {error}") from error
    if not opened:
        _log.info("worker %s ends before it began", service.settings.name)
        return 0
    async with closing(dependencies), _workers(service, dependencies) as workers:
        health.workers = workers
        beside = [asyncio.ensure_future(_store_schedulers(service, workers))]
        if service.mode.burst:
            beside.append(asyncio.ensure_future(_end_burst(service, workers, after=beside[0], ending=ending)))
        return await Lifecycle(workers, service.settings, ending=ending, health=health).run(beside)


@asynccontextmanager
async def _workers(service: Service, dependencies: Dependencies) -> AsyncIterator[list[Worker]]:
    """Make the workers with what runs their processors, and close their connections after them."""
    settings, connection = service.settings, service.connection
    limit = JobLimit(service.mode.limit)
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(slot_threads(service.slots_of("thread")))
        pool = ProcessPool() if service.slots_of("process") else None
        if pool is not None:
            stack.push_async_callback(pool.aclose)
        link = _link(connection, name=settings.name, connections=_connections(settings))
        links = [link, *(_link(connection, name=settings.name, connections=2) for _ in settings.queues)]
        stack.push_async_callback(_close, links)
        workers = []
        for queue, blocking in zip(settings.queues, links[1:], strict=True):
            handler = handler_of(service.registry, queue.name, dependencies, threads=threads, processes=pool)
            options = settings.engine_options(queue, backoff_strategies=_backoffs(service.registry, queue))
            worker = Worker(handler, options, link=link, blocking=blocking, job_limit=limit)
            for hook in service.registry.hooks_of(queue.name, "listener"):
                worker.on(hook.about, hook.function)  # type: ignore[arg-type]
            workers.append(worker)
        if (control := service.mode.control) is not None:
            control.attach(workers)
            stack.callback(control.attach, [])
        yield workers


async def _store_schedulers(service: Service, workers: Sequence[Worker]) -> None:
    plans = [plan for queue in service.settings.queues for plan in service.registry.plans_of(queue.name)]
    if plans:
        # What stores them takes its time to import, and without Redis there is nothing to store them in.
        await until_ready(workers)
        await schedules.store(plans, service.connection, prefix=service.settings.prefix)


async def _end_burst(
    service: Service, workers: Sequence[Worker], *, after: asyncio.Future[None], ending: Ending
) -> None:
    """End the process when its queues hold nothing more to take."""
    from queueworker.reader import QueueReader
    from queueworker_worker.burst import Burst

    await until_ready(workers)
    # A scheduler that is new may have a job at once.
    await asyncio.wait({after}, timeout=_SCHEDULERS_SECONDS)
    async with QueueReader.open(service.connection, name=service.settings.name) as reader:
        burst = Burst(workers, service.keys, reader.read)
        await burst.over()
    if burst.delayed:
        ending.last_words = f", {burst.delayed} delayed jobs left for later"
    ending.terminate()


def _backoffs(registry: Registry, queue: QueueSettings) -> dict[str, Callable[..., int]]:
    return {str(hook.about): hook.function for hook in registry.hooks_of(queue.name, "backoff")}


async def _beat(health: Health, stale_seconds: float) -> None:
    while True:
        health.beat()
        await asyncio.sleep(min(1.0, stale_seconds / 4))


def _link(connection: ConnectionSettings, *, name: str, connections: int) -> Link:
    if connection.host is not None:
        return RespLink(connection, client_name=name)
    # With it comes redis-py, a fifth of the time that a worker takes to start.
    from queueworker_worker.engine.pooled import link_to

    return link_to(connection, client_name=name, connections=connections)


def _connections(settings: WorkerSettings) -> int:
    return sum(queue.concurrency for queue in settings.queues) + 10


async def _close(links: Sequence[Link]) -> None:
    await asyncio.gather(*(link.aclose() for link in links), return_exceptions=True)
