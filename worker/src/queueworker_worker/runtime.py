"""The life of a worker process: its queues served side by side, from the first signal handler to the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from queueworker.errors import SettingsError
from queueworker.keys import QueueKeys, missing_hash_tag
from queueworker.settings import ConnectionSettings
from queueworker_worker.context import Dependencies, closing, open_unless
from queueworker_worker.engine.link import Link
from queueworker_worker.engine.pooled import link_to
from queueworker_worker.engine.worker import Worker
from queueworker_worker.errors import ProcessorError
from queueworker_worker.execution import handler_of
from queueworker_worker.health import Health, HealthServer
from queueworker_worker.processor import Processor, Registry
from queueworker_worker.settings import WorkerSettings
from queueworker_worker.threads import default_threads, slot_threads

_log = logging.getLogger(__name__)
_LAST_WAIT_SECONDS = 6.0


class Ending:
    """When to end: `drain` at the first SIGTERM or SIGINT, `now` at a second SIGINT."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()

    def terminate(self) -> None:
        """SIGTERM: finish what runs."""
        self.drain.set()

    def interrupt(self) -> None:
        """SIGINT: the same, and the second time at once."""
        (self.now if self.drain.is_set() else self.drain).set()


async def serve(
    settings: WorkerSettings,
    connection: ConnectionSettings,
    registry: Registry,
    *,
    told_to_end: Callable[[], bool] = lambda: False,
) -> int:
    """Serve the queues until a signal ends it; return the exit code: 0 after a drain, 1 when a loop broke.

    `told_to_end` says whether a SIGTERM came before the loop could take one.
    Raises SettingsError or ProcessorError where it cannot begin.
    """
    ending = Ending()
    # Before anything else: PID 1 without a handler ignores SIGTERM.
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.terminate)
    loop.add_signal_handler(signal.SIGINT, ending.interrupt)
    if told_to_end():
        ending.terminate()
    _check(settings, connection, registry)
    health = Health(stale_seconds=settings.health_stale_seconds)
    port = settings.health_port
    server = HealthServer(health, settings.health_host, port) if port is not None else None
    names = ", ".join(f"{queue.name} ({queue.concurrency})" for queue in settings.queues)
    probes = f", probes on {settings.health_host}:{server.port}" if server is not None else ""
    _log.info("worker %s starts: queues %s, Redis %s%s", settings.name, names, connection.address, probes)
    with server or nullcontext(), default_threads(loop):
        beating = asyncio.create_task(_beat(health, settings.health_stale_seconds))
        try:
            return await _with_dependencies(settings, connection, registry, ending=ending, health=health)
        finally:
            beating.cancel()


async def _with_dependencies(
    settings: WorkerSettings, connection: ConnectionSettings, registry: Registry, *, ending: Ending, health: Health
) -> int:
    processors = [one for queue in settings.queues for one in registry.of_queue(queue.name)]
    dependencies = Dependencies(depends for one in processors for depends in one.dependencies.values())
    try:
        opened = await open_unless(ending.drain, dependencies)
    except BaseException as error:
        raise ProcessorError(f"a dependency cannot be opened: {type(error).__name__}: {error}") from error
    if not opened:
        _log.info("worker %s ends before it began", settings.name)
        return 0
    async with closing(dependencies):
        with slot_threads(_thread_slots(settings, registry)) as threads:
            handler = handler_of(registry, dependencies, threads=threads)
            link = link_to(connection, client_name=settings.name, connections=_connections(settings))
            links = [link, *(link_to(connection, client_name=settings.name, connections=2) for _ in settings.queues)]
            workers = [
                Worker(handler, settings.engine_options(queue), link=link, blocking=blocking)
                for queue, blocking in zip(settings.queues, links[1:], strict=True)
            ]
            health.workers = workers
            try:
                return await _run(workers, settings, ending=ending, health=health)
            finally:
                await _close(links)


async def _run(workers: Sequence[Worker], settings: WorkerSettings, *, ending: Ending, health: Health) -> int:
    runs = {asyncio.create_task(worker.run()): worker for worker in workers}
    saying = asyncio.create_task(_say_ready(workers, settings.name))
    broken = await _until_the_end(runs, ending, health)
    saying.cancel()
    if runs.keys() - broken:
        await _drain(runs, settings, ending=ending)
    code = 0
    for run, worker in runs.items():
        if run.cancelled() or not run.done() or (error := run.exception()) is None:
            continue
        _log.error("queue %s: the worker's loop broke: %s: %s", worker.queue, type(error).__name__, error)
        code = 1
    done, back = sum(worker.jobs_done for worker in workers), sum(worker.jobs_given_back for worker in workers)
    left = sum(worker.jobs_left for worker in workers)
    if left:
        _log.error("worker %s: %d jobs are left to the stalled check of other workers", settings.name, left)
        code = 1
    _log.info("worker %s ends: %d jobs ended, %d given back", settings.name, done, back)
    return code


async def _until_the_end(
    runs: dict[asyncio.Task[None], Worker], ending: Ending, health: Health
) -> set[asyncio.Task[None]]:
    """Wait for a signal or for a loop that breaks; return the loops that ended."""
    told = asyncio.create_task(ending.drain.wait())
    done, _ = await asyncio.wait({told, *runs}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    ended = {run for run in runs if run in done}
    if ended:
        health.end(", ".join(runs[run].queue for run in ended))
    return ended


async def _drain(runs: dict[asyncio.Task[None], Worker], settings: WorkerSettings, *, ending: Ending) -> None:
    running = sum(worker.jobs_running for worker in runs.values())
    seconds = settings.drain_timeout_seconds
    _log.info("worker %s drains: %d jobs running, at most %g s", settings.name, running, seconds)
    for worker in runs.values():
        worker.drain()
    left = await _wait_for(set(runs), seconds, ending.now)
    if not left:
        return
    why = "interrupted again" if ending.now.is_set() else f"not ended after {seconds:g} s"
    running = sum(runs[run].jobs_running for run in left)
    _log.warning("worker %s gives back %d jobs: %s", settings.name, running, why)
    await asyncio.gather(*(runs[run].give_back() for run in left))
    await asyncio.wait(left, timeout=_LAST_WAIT_SECONDS)


async def _wait_for(runs: set[asyncio.Task[None]], seconds: float, now: asyncio.Event) -> set[asyncio.Task[None]]:
    """Wait until all have ended, the time is up or `now`; return those that have not ended."""
    everything = asyncio.ensure_future(asyncio.wait(runs))
    hurry = asyncio.create_task(now.wait())
    await asyncio.wait({everything, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in (everything, hurry):
        one.cancel()
    return {run for run in runs if not run.done()}


async def _say_ready(workers: Sequence[Worker], name: str) -> None:
    # Many parts of a worker make up its readiness, and nobody but this line wants to be woken by it.
    while not all(worker.ready for worker in workers):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    _log.info("worker %s is ready", name)


async def _beat(health: Health, stale_seconds: float) -> None:
    while True:
        health.beat()
        await asyncio.sleep(min(1.0, stale_seconds / 4))


def _check(settings: WorkerSettings, connection: ConnectionSettings, registry: Registry) -> None:
    found: dict[str, tuple[Processor, ...]] = {queue.name: registry.of_queue(queue.name) for queue in settings.queues}
    without = [name for name, processors in found.items() if not processors]
    if without:
        known = ", ".join(registry.queues) or "none"
        raise ProcessorError(
            f"no processor for queue {', '.join(without)}: known queues are {known}; name their module with --module"
        )
    keys = QueueKeys(settings.prefix, settings.queues[0].name)
    if connection.cluster is not None and not keys.has_hash_tag:
        raise SettingsError(missing_hash_tag(keys))


def _thread_slots(settings: WorkerSettings, registry: Registry) -> int:
    """Return how many slots may run a `def` processor."""
    return sum(
        queue.concurrency for queue in settings.queues if any(not one.is_async for one in registry.of_queue(queue.name))
    )


def _connections(settings: WorkerSettings) -> int:
    return sum(queue.concurrency for queue in settings.queues) + 10


async def _close(links: Sequence[Link]) -> None:
    await asyncio.gather(*(link.aclose() for link in links), return_exceptions=True)
