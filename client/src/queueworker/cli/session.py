"""Running one piece of work on a queue: where it is, and what an interrupt means."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from queueworker.cli.output import message
from queueworker.errors import SettingsError

if TYPE_CHECKING:
    import asyncio

    from queueworker.queue import Queue
    from queueworker.settings import ConnectionSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Which queue, and what the command line says about its Redis."""

    queue: str
    prefix: str
    redis_host: str | None
    redis_port: int | None


def run(work: Awaitable[T]) -> T:
    """Do something in an event loop of its own; an interrupt cancels it and is raised as KeyboardInterrupt.

    The loop takes the signal. By asyncio.run alone it comes in the midst of whatever the loop does just then, which
    may be to settle the very future that it cancels: a traceback where the user only pressed Ctrl-C.
    """
    import asyncio

    async def main() -> T:
        task = asyncio.ensure_future(work)
        with _interrupts(task.cancel):
            return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def on_queue(place: Place, work: Callable[[Queue], Awaitable[T]]) -> T:
    """Do something with a queue; an interrupt ends it at once."""

    async def main() -> T:
        async with _open(place) as queue:
            return await work(queue)

    return run(main())


def on_queue_in_batches(place: Place, work: Callable[[Queue, asyncio.Event], Awaitable[T]]) -> T:
    """Do something that ends after the batch under way once the event is set, which the first interrupt does.

    The second one ends it at once: KeyboardInterrupt.
    """
    import asyncio

    async def main() -> T:
        stop, task = asyncio.Event(), asyncio.current_task()

        def interrupt() -> None:
            if stop.is_set() and task is not None:
                task.cancel()
                return
            stop.set()
            message("interrupted: finishing the batch under way; once more ends at once")

        async with _open(place) as queue:
            with _interrupts(interrupt):
                return await work(queue, stop)

    return run(main())


@contextmanager
def _interrupts(do: Callable[[], object]) -> Iterator[None]:
    """Let the running loop do it at each interrupt; before and after, one breaks in at once."""
    import asyncio
    import signal

    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        # In the background of a script, where Ctrl-C is not meant for this process.
        yield
        return
    with suppress(NotImplementedError):
        # Not on Windows, where asyncio's own way stands.
        loop.add_signal_handler(signal.SIGINT, do)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)


def connection(redis_host: str | None, redis_port: int | None) -> ConnectionSettings:
    """Return the connection of the environment, its address replaced by what the options name."""
    from queueworker.settings import ConnectionSettings

    environment = dict(os.environ)
    if redis_host is None and redis_port is None:
        return ConnectionSettings.from_environment(environment)
    return ConnectionSettings.from_environment(with_address(environment, redis_host, redis_port))


def with_address(environment: dict[str, str], host: str | None, port: int | None) -> dict[str, str]:
    """Return the environment with another standalone address; user, password, database and TLS stay.

    Raises SettingsError for an empty host.
    """
    from queueworker.settings import prefix_in

    if host == "":
        # A variable of a script that is not set: localhost would be a guess.
        raise SettingsError("--redis-host is empty: name a host, or leave the option out")
    prefix = prefix_in(environment)
    topology = ("SENTINEL_MASTER", "SENTINEL_NODES", "CLUSTER_NODES")
    changed = {name: value for name, value in environment.items() if name.removeprefix(prefix) not in topology}
    if host is not None:
        changed[prefix + "HOST"] = host
    if port is not None:
        changed[prefix + "PORT"] = str(port)
    return changed


def _open(place: Place) -> Queue:
    from queueworker.queue import Queue

    return Queue(place.queue, connection(place.redis_host, place.redis_port), prefix=place.prefix)
