"""With BullMQ for Node on the other side: what both refuse, and where we refuse more."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from nodeside import NodeError, NodeSide
from redis.asyncio import Redis
from worker_support import Recorder, eventually, working

from queueworker import InvalidJobError, Job, Queue
from queueworker.settings import ConnectionSettings

ALPHABET = "01:-a"
EVERY_SHORT_ID = ["".join(letters) for length in (1, 2, 3, 4) for letters in itertools.product(ALPHABET, repeat=length)]


def stored(job_id: str) -> str | None:
    """The id under which we add a job, None where we refuse."""
    try:
        return Job.create("any", job_id=job_id).id
    except InvalidJobError:
        return None


async def test_every_short_id_is_refused_by_both_or_stored_by_both(node: NodeSide) -> None:
    refused = await node.refusals("q", ({"name": "any", "opts": {"jobId": one}} for one in EVERY_SHORT_ID))
    at_node = dict(zip(EVERY_SHORT_ID, refused, strict=True))
    assert {None, "Custom Id cannot be integers", "Custom Id cannot contain :"} <= set(refused)
    for job_id, why in at_node.items():
        ours = stored(job_id)
        if why is None:
            assert ours == job_id, f"Node takes {job_id!r}, we made {ours!r} of it"
        elif ours is not None:
            assert (job_id.count(":"), ours) == (1, job_id.replace(":", "-")), f"Node refuses {job_id!r}: {why}"
            assert at_node[ours] is None, f"we made {ours!r} of {job_id!r}, which Node refuses"


OURS_ALONE = {
    "a key of the queue": {"jobId": "meta"},
    "an integer that Node cannot hold": {"jobId": "9007199254740993"},
    "a priority below 0": {"priority": -1},
    "a delay below 0": {"delay": -1},
    "no attempts": {"attempts": -1},
    "lifo with a priority, which BullMQ ignores": {"lifo": True, "priority": 3},
}
BOTH = {
    "an integer id": {"jobId": "12345"},
    "a negative integer id": {"jobId": "-7"},
    "id 0": {"jobId": "0"},
    "a number below zero, an error code for Node": {"jobId": "-1.5e3"},
    "an id that looks like a marker": {"jobId": "0:1"},
    "an id with three colons": {"jobId": "a:b:c:d"},
    "a fractional priority": {"priority": 1.5},
    "too large a priority": {"priority": 3_000_000},
    "a jitter above 1": {"backoff": {"type": "fixed", "delay": 1, "jitter": 1.5}},
    "a jitter below 0": {"backoff": {"type": "fixed", "delay": 1, "jitter": -0.5}},
    "a deduplication without an id": {"deduplication": {"id": ""}},
    "two exclusive options of a child": {"failParentOnFailure": True, "removeDependencyOnFailure": True},
    "the old name of deduplication": {"debounce": {"id": "d", "ttl": 1}},
}


@pytest.mark.parametrize(
    ("options", "node_too"),
    [*((one, True) for one in BOTH.values()), *((one, False) for one in OURS_ALONE.values())],
    ids=[*BOTH, *OURS_ALONE],
)
async def test_options_that_cannot_be_are_refused_before_anything_is_sent(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, options: dict[str, Any], node_too: bool
) -> None:
    refused = await node.refusals("theirs", [{"name": "any", "data": {}, "opts": options}])
    assert (refused[0] is not None) == node_too, refused
    async with Queue("ours", redis_settings) as queue:
        with pytest.raises(InvalidJobError):
            await queue.enqueue("any", {}, **options)
    assert await client.keys("bull:ours:*") == []


@pytest.mark.parametrize("name", ["", "a:b"])
async def test_queue_names_that_both_refuse(node: NodeSide, redis_settings: ConnectionSettings, name: str) -> None:
    with pytest.raises(NodeError, match="Queue name"):
        await node.queue(name, "getJobCounts")
    with pytest.raises(InvalidJobError, match="queue name"):
        Queue(name, redis_settings)


@pytest.mark.parametrize("name", ["a b", "žluť-队列", "{tag}", "a/b.c*[d]", "x" * 200])
async def test_queue_names_that_both_take(node: NodeSide, redis_settings: ConnectionSettings, name: str) -> None:
    recorder = Recorder()
    async with Queue(name, redis_settings) as queue, working(recorder, redis_settings, queue=name):
        await queue.enqueue("any", "ours")
        await node.add(name, "any", "theirs", priority=9)
        await eventually(lambda: len(recorder.ran) == 2)
    assert sorted(recorder.ran) == ["ours", "theirs"]


async def test_an_id_of_the_older_form_is_mapped_to_one_that_node_can_add(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    async with Queue("q", redis_settings) as queue:
        ours = await queue.enqueue("any", {"by": "us"}, job_id="character:90000001")
        assert ours.id == "character-90000001"
        assert await node.add("q", "any", {"by": "Node"}, jobId="character-90000001") == ours.id
        assert not (await queue.enqueue("any", {"by": "us again"}, job_id="character:90000001")).added
    assert (await node.job("q", ours.id))["data"] == {"by": "us"}
    assert (await node.queue("q", "getJobCounts", "waiting", "prioritized")) == {"waiting": 0, "prioritized": 1}


async def test_an_id_of_a_job_of_either_side_is_a_duplicate_on_the_other(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    await node.listen("q")
    async with Queue("q", redis_settings) as queue:
        await node.add("q", "any", {"by": "Node"}, jobId="one:of:theirs")
        assert not (await queue.enqueue("any", {"by": "us"}, job_id="one:of:theirs")).added
        assert (await queue.enqueue("any", {"by": "us"}, job_id="one-of-ours")).added
        await node.add("q", "any", {"by": "Node"}, jobId="one-of-ours")
        await eventually(lambda: len(node.events("q", "duplicated")) == 2)
    assert (await node.job("q", "one:of:theirs"))["data"] == {"by": "Node"}
    assert (await node.job("q", "one-of-ours"))["data"] == {"by": "us"}


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"pattern": "* * * * *", "every": 1000, "tz": "UTC"},
        {"pattern": "not a pattern", "tz": "UTC"},
        {"pattern": "61 * * * *", "tz": "UTC"},
        {"pattern": "* * * * *", "tz": "Mars/Olympus"},
    ],
    ids=str,
)
async def test_schedules_that_both_refuse(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, plan: dict[str, Any]
) -> None:
    with pytest.raises(NodeError):
        await node.queue("theirs", "upsertJobScheduler", "s", plan)
    async with Queue("ours", redis_settings) as queue:
        with pytest.raises(InvalidJobError):
            await queue.schedule("s", cron=plan.get("pattern"), every=plan.get("every"), tz=plan.get("tz"))
    assert await client.keys("bull:ours:*") == []
