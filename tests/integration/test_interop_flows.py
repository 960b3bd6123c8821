"""With BullMQ for Node on the other side: flows, whose parents and children either side adds and either side runs."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from nodeside import NodeSide
from redis.asyncio import Redis
from worker_support import eventually, working

from queueworker import FlowJob, Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job

CHILDREN = [{"n": n, "text": "žluť"} for n in range(3)]


async def result_of_children(job: Job) -> Any:
    if job.name == "parent":
        values = await job.children_values()
        return {"values": dict(sorted(values.items())), "ignored": await job.failed_children()}
    if job.data.get("fails"):
        raise ValueError("child failed: žluť")
    return {"of": job.data}


def tree_for_node(**options: Any) -> dict[str, Any]:
    children = [{"name": "child", "queueName": "children", "data": data, "opts": options} for data in CHILDREN]
    return {"name": "parent", "queueName": "parents", "data": {}, "opts": {"jobId": "p"}, "children": children}


@pytest.mark.parametrize(
    ("adds", "runs_children", "runs_parent"),
    [combination for combination in itertools.product(["node", "us"], repeat=3) if len(set(combination)) == 2],
)
async def test_parent_runs_after_its_children_and_gets_what_they_returned(
    node: NodeSide, redis_settings: ConnectionSettings, adds: str, runs_children: str, runs_parent: str
) -> None:
    await node.listen("parents")
    async with Queue("parents", redis_settings) as queue:
        if adds == "node":
            flow = await node.flow("add", tree_for_node())
            ids = [child["job"]["id"] for child in flow["children"]]
        else:
            jobs = [FlowJob("child", "children", data) for data in CHILDREN]
            added = await queue.enqueue_flow(FlowJob("parent", "parents", job_id="p", children=jobs))
            ids = [one.id for one in added.jobs[1:]]
        assert await node.job("parents", "p", "getState") == "waiting-children"
        if runs_children == "node":
            handle = await node.worker("children", "echo", concurrency=3)
            await eventually(lambda: len(node.notes("completed", worker=handle)) == 3)
        else:
            async with working(result_of_children, redis_settings, queue="children", concurrency=3):
                await eventually(lambda: _count(node, "children", "completed", 3))
        expected = {f"bull:children:{job_id}": {"of": data} for job_id, data in zip(ids, CHILDREN, strict=True)}
        if runs_parent == "node":
            await node.worker("parents", "children")
            assert await node.wait_until_finished("parents", "p") == {"values": expected, "ignored": {}}
        else:
            async with working(result_of_children, redis_settings, queue="parents"):
                assert await node.wait_until_finished("parents", "p") == {"values": expected, "ignored": {}}
        counts = await node.job("parents", "p", "getDependenciesCount")
        assert counts == {"processed": 3, "unprocessed": 0, "ignored": 0, "failed": 0}
        read = await queue.get_flow("p")
        assert read is not None
        assert {child.id: child.returnvalue for child in read.children} == {
            job_id: {"of": data} for job_id, data in zip(ids, CHILDREN, strict=True)
        }


FAILURES = {
    "failParentOnFailure": "failed",
    "ignoreDependencyOnFailure": "completed",
    "continueParentOnFailure": "completed",
    "removeDependencyOnFailure": "completed",
    None: "waiting-children",
}


@pytest.mark.parametrize(("adds", "runs_children"), [("node", "us"), ("us", "node")])
@pytest.mark.parametrize("option", FAILURES)
async def test_what_a_failed_child_does_to_its_parent(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, adds: str, runs_children: str, option: str | None
) -> None:
    data = {"fails": True, "succeedsAt": 9}
    options = {"attempts": 1} | ({} if option is None else {option: True})
    if adds == "node":
        children = [{"name": "child", "queueName": "children", "data": data, "opts": {**options, "jobId": "c"}}]
        tree = {"name": "parent", "queueName": "parents", "opts": {"jobId": "p"}, "children": children}
        await node.flow("add", tree)
    else:
        async with Queue("parents", redis_settings) as queue:
            child = FlowJob("child", "children", data, job_id="c", **options)
            await queue.enqueue_flow(FlowJob("parent", "parents", job_id="p", children=[child]))
    if runs_children == "node":
        await node.worker("children", "fails")
        await eventually(lambda: node.notes("failed", queue="children"))
    else:
        async with working(result_of_children, redis_settings, queue="children"):
            await eventually(lambda: _count(node, "children", "failed", 1))

    expected = FAILURES[option]
    async with working(result_of_children, redis_settings, queue="parents"):
        await eventually(lambda: _has_state(node, "parents", "p", expected))
    parent = await node.job("parents", "p")
    reason = "child failed: žluť" if runs_children == "us" else "try 1: žluť"
    if expected == "failed":
        assert parent["failedReason"] == "child bull:children:c failed"
    elif expected == "completed":
        ignored = {} if option == "removeDependencyOnFailure" else {"bull:children:c": reason}
        assert parent["returnvalue"] == {"values": {}, "ignored": ignored}
    assert await client.hget("bull:children:c", "failedReason") == reason


async def test_the_same_flow_is_stored_the_same_by_both_sides(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    def ids(side: str) -> dict[str, str]:
        return {"parent": f"{side}-p", "child": f"{side}-c", "grandchild": f"{side}-g"}

    kept: dict[str, Any] = {"attempts": 2, "removeOnComplete": True, "removeOnFail": False}
    theirs = ids("theirs")
    plain = {"backoff": {"type": "exponential", "delay": 1000}, "priority": 5}
    await node.flow(
        "add",
        {
            "name": "parent",
            "queueName": "a",
            "opts": {**kept, **plain, "jobId": theirs["parent"]},
            "children": [
                {
                    "name": "child",
                    "queueName": "b",
                    "opts": {**kept, **plain, "jobId": theirs["child"], "failParentOnFailure": True},
                    "children": [
                        {
                            "name": "grandchild",
                            "queueName": "c",
                            "data": {"n": 1},
                            "opts": {**kept, **plain, "jobId": theirs["grandchild"], "delay": 60_000},
                        }
                    ],
                }
            ],
        },
    )
    ours = ids("ours")
    async with Queue("a", redis_settings) as queue:
        grandchild = FlowJob("grandchild", "c", {"n": 1}, job_id=ours["grandchild"], delay=60_000, **kept)
        child = FlowJob("child", "b", job_id=ours["child"], fail_parent_on_failure=True, children=[grandchild], **kept)
        await queue.enqueue_flow(FlowJob("parent", "a", job_id=ours["parent"], children=[child], **kept))
    for name, queue_name in (("parent", "a"), ("child", "b"), ("grandchild", "c")):
        stored = await client.hgetall(f"bull:{queue_name}:{ours[name]}")
        other = await client.hgetall(f"bull:{queue_name}:{theirs[name]}")
        for hash_of in (stored, other):
            del hash_of["timestamp"]
            hash_of["opts"] = {"delay": 0, **json.loads(hash_of["opts"])}
        renamed = json.loads(json.dumps(other).replace("theirs-", "ours-"))
        assert stored == renamed, name
        members = await client.smembers(f"bull:{queue_name}:{ours[name]}:dependencies")
        others = await client.smembers(f"bull:{queue_name}:{theirs[name]}:dependencies")
        assert {one.replace("ours-", "theirs-") for one in members} == others


@pytest.mark.parametrize("runs_parent", ["us", "node"])
async def test_a_child_that_a_running_parent_adds_is_waited_for(
    node: NodeSide, redis_settings: ConnectionSettings, runs_parent: str
) -> None:
    """The step pattern: the parent adds a child while it runs, and comes back when that has ended."""
    from queueworker_worker.errors import WaitingChildrenError

    await node.listen("parents")
    async with Queue("children", redis_settings) as children:

        async def parent(job: Job) -> Any:
            if job.data.get("step") is None:
                await children.enqueue("child", {"n": 1}, parent=job.parent)
                await job.update_data({**job.data, "step": 1})
                raise WaitingChildrenError
            return list((await job.children_values()).values())

        if runs_parent == "node":
            await node.worker("parents", "waitsForChild")
            job_id = await node.add("parents", "parent", {"child": "children"})
            await eventually(lambda: _has_state(node, "parents", job_id, "waiting-children"))
            async with working(result_of_children, redis_settings, queue="children"):
                assert await node.wait_until_finished("parents", job_id) == [{"of": {"n": 1}}]
        else:
            await node.worker("children", "echo")
            async with working(parent, redis_settings, queue="parents"):
                job_id = await node.add("parents", "parent", {})
                assert await node.wait_until_finished("parents", job_id) == [{"of": {"n": 1}}]
    job = await node.job("parents", job_id)
    assert (job["attemptsMade"], job["attemptsStarted"]) == (1, 2)


async def _count(node: NodeSide, queue: str, state: str, number: int) -> bool:
    return bool((await node.queue(queue, "getJobCounts", state))[state] == number)


async def _has_state(node: NodeSide, queue: str, job_id: str, state: str) -> bool:
    return bool(await node.job(queue, job_id, "getState") == state)
