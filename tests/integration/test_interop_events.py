"""With BullMQ for Node on the other side: events, which either side publishes and either side hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nodeside import NodeError, NodeSide
from worker_support import eventually, working

from queueworker import Queue, QueueEvent
from queueworker.settings import ConnectionSettings
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job


@asynccontextmanager
async def heard(queue: Queue) -> AsyncIterator[list[QueueEvent]]:
    """The events of a queue as they come."""
    seen: list[QueueEvent] = []

    async def hear() -> None:
        async for event in events:
            assert isinstance(event, QueueEvent), f"events were lost: {event}"
            seen.append(event)

    async with queue.events(block_seconds=120) as events:
        listening = asyncio.create_task(hear())
        try:
            yield seen
        finally:
            # At once, though it is in the middle of a request: a read that is begun then blocks for two minutes.
            await asyncio.wait_for(events.aclose(), 30)
            await listening


async def do(job: Job) -> Any:
    """What the processors of the Node side do, by the job's name."""
    if job.name == "fails":
        raise ValueError(f"try {job.attempts_made + 1}")
    if job.name == "unrecoverable":
        raise UnrecoverableError("there is no such thing")
    await job.update_progress(50)
    await job.update_progress({"phase": "žluť"})
    return {"of": job.data}


LIFE = {
    "works": ["added", "waiting", "active", "progress", "progress", "completed"],
    "fails": ["added", "waiting", "active", "delayed", "waiting", "active", "failed", "retries-exhausted"],
    "unrecoverable": ["added", "waiting", "active", "failed"],
    "delayed": ["added", "delayed", "waiting", "active", "progress", "progress", "completed"],
}


@pytest.mark.parametrize("name", LIFE)
async def test_node_hears_the_life_of_a_job_that_we_add_and_run(
    node: NodeSide, redis_settings: ConnectionSettings, name: str
) -> None:
    await node.listen("q")
    async with working(do, redis_settings), Queue("q", redis_settings) as queue:
        options = {"delay": 80} if name == "delayed" else {}
        added = await queue.enqueue(name, {"n": 1}, attempts=2, backoff=50, **options)
        await eventually(lambda: node.events("q", LIFE[name][-1]))
    mine = [note for note in node.notes("event", queue="q") if _job_id(note["about"]) == added.id]
    assert [note["event"] for note in mine] == LIFE[name]
    if name == "works":
        assert mine[-1]["about"] == {"jobId": added.id, "returnvalue": {"of": {"n": 1}}, "prev": "active"}
        assert [note["about"]["data"] for note in mine if note["event"] == "progress"] == [50, {"phase": "žluť"}]


@pytest.mark.parametrize("name", LIFE)
async def test_we_hear_the_life_of_a_job_that_node_adds_and_runs(
    node: NodeSide, redis_settings: ConnectionSettings, name: str
) -> None:
    """And it is the same life that a job has with us, event for event."""
    data = {"progress": [50, {"phase": "žluť"}], "result": {"of": 1}, "succeedsAt": 9}
    options = {"delay": 80} if name == "delayed" else {}
    processor = name if name in {"fails", "unrecoverable"} else "tells"
    async with Queue("q", redis_settings) as queue, heard(queue) as seen:
        await node.worker("q", processor)
        job_id = await node.add("q", name, data, attempts=2, backoff=50, **options)
        await eventually(lambda: seen and LIFE[name][-1] in {event.name for event in seen})
    mine = [event for event in seen if event.job_id == job_id]
    assert [event.name for event in mine] == LIFE[name]
    if name == "works":
        assert mine[-1].fields["returnvalue"] == {"of": 1}
        assert [event.fields["data"] for event in mine if event.name == "progress"] == [50, {"phase": "žluť"}]


async def test_node_waits_for_the_end_of_a_job_that_our_worker_runs(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    await node.listen("q")
    async with working(do, redis_settings):
        works = await node.add("q", "works", {"n": 1})
        assert await node.wait_until_finished("q", works) == {"of": {"n": 1}}
        fails = await node.add("q", "unrecoverable", {})
        with pytest.raises(NodeError, match="there is no such thing"):
            await node.wait_until_finished("q", fails)


async def test_both_hear_what_happens_to_the_queue(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    await node.listen("q")
    async with Queue("q", redis_settings) as queue, heard(queue) as seen:
        await queue.pause()
        await node.queue("q", "resume")
        await node.queue("q", "pause")
        await queue.resume()
        removed = await node.add("q", "any", {})
        await queue.remove(removed)
        await queue.enqueue("any", job_id="twice")
        await node.add("q", "any", {}, jobId="twice")
        await node.queue("q", "drain")

        def names() -> list[str]:
            return [note["event"] for note in node.notes("event", queue="q")]

        await eventually(lambda: {"duplicated", "removed"} <= set(names()) and len(seen) == len(names()))
    assert [event.name for event in seen] == names()
    assert names()[:4] == ["paused", "resumed", "paused", "resumed"]


async def test_both_hear_of_children_and_of_a_stalled_job(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    await node.listen("q")
    async with Queue("q", redis_settings) as queue, heard(queue) as seen:
        tree = {"name": "works", "queueName": "q", "data": {}, "opts": {"jobId": "p"}}
        tree["children"] = [{"name": "works", "queueName": "q", "data": {}, "opts": {"jobId": "c"}}]
        await node.flow("add", tree)
        async with working(do, redis_settings):
            await eventually(lambda: [event.job_id for event in seen if event.name == "completed"] == ["c", "p"])
    of_parent = [event.name for event in seen if event.job_id == "p"]
    assert of_parent == ["added", "waiting-children", "waiting", "active", "progress", "progress", "completed"]
    names = [note["event"] for note in node.notes("event", queue="q") if _job_id(note["about"]) == "p"]
    assert names == of_parent


def _job_id(about: Any) -> Any:
    return about.get("jobId") if isinstance(about, dict) else None
