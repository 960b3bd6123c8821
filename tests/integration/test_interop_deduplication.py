"""With BullMQ for Node on the other side: deduplication ids, which hold whoever set them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from nodeside import NodeSide
from redis.asyncio import Redis
from worker_support import eventually, working

from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job

Add = Callable[[dict[str, Any], dict[str, Any]], Awaitable[str]]
"""Adds a job with data and options, and returns the id of the job that stands for it."""


class Sides(NamedTuple):
    """Who adds first, and who adds then."""

    first: Add
    then: Add
    node: NodeSide
    queue: Queue

    async def waiting(self) -> list[Any]:
        return [job["data"] for job in await self.node.queue("q", "getJobs", ["waiting", "prioritized", "delayed"])]


@pytest.fixture(params=["node then us", "us then node"])
async def sides(
    request: pytest.FixtureRequest, node: NodeSide, redis_settings: ConnectionSettings
) -> AsyncIterator[Sides]:
    async with Queue("q", redis_settings) as queue:

        async def theirs(data: dict[str, Any], options: dict[str, Any]) -> str:
            return await node.add("q", "any", data, **options)

        async def ours(data: dict[str, Any], options: dict[str, Any]) -> str:
            return (await queue.enqueue("any", data, **options)).id

        await node.listen("q")
        pair = (theirs, ours) if request.param == "node then us" else (ours, theirs)
        yield Sides(*pair, node, queue)


async def test_simple_a_second_job_is_not_added_until_the_first_has_ended(
    sides: Sides, redis_settings: ConnectionSettings
) -> None:
    options = {"deduplication": {"id": "character-7"}}
    first = await sides.first({"n": 1}, options)
    assert await sides.then({"n": 2}, options) == first
    assert await sides.waiting() == [{"n": 1}]
    (event,) = await eventually(lambda: sides.node.events("q", "deduplicated"))
    assert (event["jobId"], event["deduplicationId"]) == (first, "character-7")
    assert await sides.node.queue("q", "getDeduplicationJobId", "character-7") == first
    assert await sides.queue.deduplication_job_id("character-7") == first

    async def nothing(_: Job) -> None:
        return None

    async with working(nothing, redis_settings):
        await eventually(lambda: sides.node.events("q", "completed"))
    assert await sides.queue.deduplication_job_id("character-7") is None
    third = await sides.then({"n": 3}, options)
    assert third != first
    assert await sides.waiting() == [{"n": 3}]


async def test_simple_is_let_go_by_the_node_worker_too(sides: Sides) -> None:
    options = {"deduplication": {"id": "d"}, "attempts": 1}
    first = await sides.first({"succeedsAt": 9}, options)
    await sides.node.worker("q", "fails")
    await eventually(lambda: sides.node.events("q", "failed"))
    assert await sides.then({"succeedsAt": 1}, options) != first
    await eventually(lambda: sides.node.events("q", "completed"))


async def test_throttle_holds_for_its_time_though_the_job_has_ended(sides: Sides, client: Redis) -> None:
    options = {"deduplication": {"id": "d", "ttl": 60_000}}
    first = await sides.first({"n": 1}, options)
    await sides.node.worker("q", "echo")
    await eventually(lambda: sides.node.events("q", "completed"))
    assert await sides.then({"n": 2}, options) == first
    assert 0 < await client.pttl("bull:q:de:d") <= 60_000
    # As if its time were nearly over.
    await client.pexpire("bull:q:de:d", 300)

    async def is_added() -> bool:
        return await sides.then({"n": 3}, options) != first

    await eventually(is_added)
    await eventually(lambda: len(sides.node.events("q", "completed")) == 2)
    assert [job["data"] for job in sides.node.ran("q")] == [{"n": 1}, {"n": 3}]


async def test_debounce_the_last_data_take_the_place_of_the_delayed_job(
    sides: Sides, redis_settings: ConnectionSettings
) -> None:
    options = {"delay": 60_000, "deduplication": {"id": "d", "ttl": 60_000, "extend": True, "replace": True}}
    first = await sides.first({"n": 1}, options)
    second = await sides.then({"n": 2}, options)
    # The last one's delay counts, too.
    third = await sides.first({"n": 3}, options | {"delay": 300})
    assert len({first, second, third}) == 3
    assert await sides.waiting() == [{"n": 3}]
    seen: list[Any] = []

    async def note(job: Job) -> None:
        seen.append((job.id, job.data))

    async with working(note, redis_settings):
        await eventually(lambda: seen)
        await asyncio.sleep(0.1)
    assert seen == [(third, {"n": 3})]


async def test_keep_last_if_active_the_last_of_those_that_came_meanwhile_runs_next(
    sides: Sides, redis_settings: ConnectionSettings
) -> None:
    options = {"deduplication": {"id": "d", "keepLastIfActive": True}}
    seen: list[Any] = []
    go_on = asyncio.Event()

    async def note(job: Job) -> None:
        seen.append(job.data)
        await go_on.wait()

    async with working(note, redis_settings):
        await sides.first({"n": 1}, options)
        await eventually(lambda: seen)
        await sides.then({"n": 2}, options)
        await sides.first({"n": 3}, options)
        await sides.then({"n": 4}, options)
        go_on.set()
        await eventually(lambda: len(sides.node.events("q", "completed")) == 2)
    assert seen == [{"n": 1}, {"n": 4}]
    assert await sides.waiting() == []


async def test_keep_last_if_active_goes_on_when_the_node_worker_ends_the_job(sides: Sides) -> None:
    options = {"deduplication": {"id": "d", "keepLastIfActive": True}}
    await sides.node.worker("q", "slow")
    # So long that a machine that stands still has not ended it when the others are added.
    await sides.first({"n": 1, "ms": 3_500}, options)
    await eventually(lambda: sides.node.ran("q"))
    await sides.then({"n": 2, "ms": 0}, options)
    await sides.first({"n": 3, "ms": 0}, options)
    await eventually(lambda: len(sides.node.events("q", "completed")) == 2)
    assert [job["data"]["n"] for job in sides.node.ran("q")] == [1, 3]


async def test_either_side_lets_an_id_go_before_its_time(sides: Sides) -> None:
    options = {"deduplication": {"id": "d", "ttl": 60_000}}
    await sides.first({"n": 1}, options)
    assert await sides.queue.remove_deduplication_key("d")
    second = await sides.then({"n": 2}, options)
    assert await sides.node.queue("q", "removeDeduplicationKey", "d") == 1
    assert await sides.first({"n": 3}, options) != second
    assert len(await sides.waiting()) == 3
