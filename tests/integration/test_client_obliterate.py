"""Removing a whole queue: no key is left, and what is interrupted goes on later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from finished_jobs import add_failed
from redis.asyncio import Redis

from queueworker import Queue
from queueworker.changes import Change
from queueworker.errors import JobStateError


async def test_obliterate_leaves_no_key(queue: Queue, client: Redis) -> None:
    for i in range(25):
        await queue.enqueue("n", job_id=f"a{i}")
    await queue.enqueue("n", delay=1000)
    await queue.enqueue("n", lifo=True)
    await queue.schedule("s", every=60_000)
    await add_failed(queue, client, 3)
    await client.hset("bull:q:parent", mapping={"name": "p", "timestamp": 1})
    await client.zadd("bull:q:waiting-children", {"parent": 1})
    await client.hset("bull:q:qw:stats", "n:jobs", 1)
    await queue.rate_limit(60_000)
    dry = await queue.obliterate(dry_run=True)
    assert dry.matched >= 31
    assert not await queue.is_paused()
    assert await queue.obliterate(batch=10) == Change(matched=dry.matched, done=dry.matched)
    assert await client.keys("*") == []
    assert await queue.obliterate() == Change(matched=0)


async def test_obliterate_refuses_active_jobs_unless_forced(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="a")
    await client.zrem("bull:q:prioritized", "a")
    await client.lpush("bull:q:active", "a")
    with pytest.raises(JobStateError, match="1 active jobs"):
        await queue.obliterate()
    assert not await queue.is_paused(), "a refusal changes nothing"
    assert await queue.obliterate(force=True) == Change(matched=1, done=1)
    assert await client.keys("*") == []


async def test_an_interrupted_obliterate_goes_on_later(queue: Queue, client: Redis) -> None:
    for i in range(20):
        await queue.enqueue("n", job_id=f"a{i}")
    stop = asyncio.Event()
    change = await queue.obliterate(batch=5, stop=stop, progress=lambda change: stop.set())
    assert change.interrupted
    assert change.left == 15
    assert await queue.is_paused()
    assert (await queue.obliterate()).matched == 15
    assert await client.keys("*") == []


async def test_obliterate_can_end_among_the_parents_too(
    queue: Queue, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        await client.hset(f"bull:q:p{i}", mapping={"name": "p", "timestamp": 1})
        await client.zadd("bull:q:waiting-children", {f"p{i}": i})
    stop = asyncio.Event()
    original = queue._run_scripts

    async def interrupted(*arguments: Any) -> Any:
        if getattr(arguments[0], "name", None) == "removeJobIfThere":
            stop.set()
        return await original(*arguments)

    monkeypatch.setattr(queue, "_run_scripts", interrupted)
    assert await queue.obliterate(batch=2, stop=stop) == Change(matched=6, done=2, interrupted=True)
    assert await client.zcard("bull:q:waiting-children") == 4
