"""What BullMQ documents of flows, as our client and worker do it.

How flows are stored and read: `test_client_flows`; over both sides: `test_interop_flows`.
"""

from __future__ import annotations

from typing import Any

from worker_support import eventually, working

from queueworker import FlowJob, Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job


class Family:
    """Runs all jobs of a flow, in one queue: those whose data say so fail; remembers the order."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.values: dict[str, Any] = {}
        self.ignored: dict[str, str] = {}
        self.counts: dict[str, int] = {}

    async def __call__(self, job: Job) -> str:
        self.ran.append(job.name)
        if job.data.get("fails"):
            raise ValueError(f"{job.name} failed")
        if job.name == "root":
            self.values, self.ignored = await job.children_values(), await job.failed_children()
            self.counts = await job.dependency_counts()
        return f"of {job.name}"


def child(name: str, *children: FlowJob, fails: bool = False, **options: Any) -> FlowJob:
    data = {"fails": fails}
    return FlowJob(name, "q", data, children=children, job_id=f"j-{name}", attempts=1, **options)


async def state(queue: Queue, name: str, expected: str) -> bool:
    job = await queue.job(f"j-{name}")
    return job is not None and job.state == expected


async def test_a_tree_runs_from_its_leaves_to_its_root(redis_settings: ConnectionSettings, queue: Queue) -> None:
    tree = child("root", child("left", child("left-leaf")), child("right", child("right-leaf")))
    family = Family()
    await queue.enqueue_flow(tree)
    assert await queue.counts("waiting-children", "prioritized") == {"waiting-children": 3, "prioritized": 2}
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "completed"))
    assert family.ran[-1] == "root"
    for parent, leaf in (("left", "left-leaf"), ("right", "right-leaf")):
        assert family.ran.index(leaf) < family.ran.index(parent)
    assert len(family.ran) == 5


async def test_children_values_are_those_of_the_direct_children_by_their_keys(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    await queue.enqueue_flow(child("root", child("a", child("grandchild")), child("b")))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "completed"))
    assert family.values == {"bull:q:j-a": "of a", "bull:q:j-b": "of b"}
    assert family.counts == {"unprocessed": 0, "processed": 2, "ignored": 0, "failed": 0}


async def test_fail_parent_fails_the_parent_with_the_first_failing_child_and_its_parents_in_turn(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    leaf = child("leaf", fails=True, fail_parent_on_failure=True)
    sibling = child("sibling", delay=60_000)
    await queue.enqueue_flow(child("root", child("middle", leaf, sibling, fail_parent_on_failure=True)))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "failed"))
    middle, root = await queue.job("j-middle"), await queue.job("j-root")
    assert middle is not None
    assert root is not None
    assert middle.failed_reason == "child bull:q:j-leaf failed"
    assert root.failed_reason == "child bull:q:j-middle failed"
    assert family.ran == ["leaf"], "neither parent ran, and nobody waited for the sibling"


async def test_fail_parent_stops_where_a_parent_does_not_say_it(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    leaf = child("leaf", fails=True, fail_parent_on_failure=True)
    await queue.enqueue_flow(child("root", child("middle", leaf)))
    async with working(Family(), redis_settings):
        await eventually(lambda: state(queue, "middle", "failed"))
    assert await state(queue, "root", "waiting-children")


async def test_continue_parent_runs_the_parent_at_once_though_children_are_pending(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    failing = child("failing", fails=True, continue_parent_on_failure=True)
    await queue.enqueue_flow(child("root", failing, child("pending", delay=60_000)))
    async with working(family, redis_settings):
        await eventually(lambda: family.ran == ["failing", "root"])
        await eventually(lambda: _root_has_ended(queue))
    assert family.ignored == {"bull:q:j-failing": "failing failed"}
    assert family.counts["unprocessed"] == 1


async def test_ignore_dependency_lets_the_parent_run_when_the_others_have_ended(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    failing = child("failing", fails=True, ignore_dependency_on_failure=True)
    await queue.enqueue_flow(child("root", failing, child("works", delay=300)))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "completed"))
    assert family.ran == ["failing", "works", "root"]
    assert family.ignored == {"bull:q:j-failing": "failing failed"}
    assert family.values == {"bull:q:j-works": "of works"}
    assert family.counts == {"unprocessed": 0, "processed": 1, "ignored": 1, "failed": 0}


async def test_remove_dependency_forgets_the_child(redis_settings: ConnectionSettings, queue: Queue) -> None:
    family = Family()
    failing = child("failing", fails=True, remove_dependency_on_failure=True)
    await queue.enqueue_flow(child("root", failing, child("works")))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "completed"))
    assert (family.ignored, family.values) == ({}, {"bull:q:j-works": "of works"})
    assert family.counts == {"unprocessed": 0, "processed": 1, "ignored": 0, "failed": 0}


async def test_a_parent_waits_for_a_failed_child_that_says_nothing_until_it_is_retried(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    runs: list[str] = []

    async def work(job: Job) -> None:
        runs.append(job.name)
        if runs == ["child"]:
            raise ValueError("once")

    await queue.enqueue_flow(child("root", child("child")))
    async with working(work, redis_settings):
        await eventually(lambda: state(queue, "child", "failed"))
        assert await state(queue, "root", "waiting-children")
        await queue.retry_job("j-child")
        await eventually(lambda: state(queue, "root", "completed"))
    assert runs == ["child", "child", "root"]


async def test_a_child_that_is_retried_by_its_attempts_does_not_fail_its_parent(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    async def work(job: Job) -> None:
        if job.name == "child" and job.attempts_made == 0:
            raise ValueError("once")

    patient = FlowJob("child", "q", {}, job_id="j-child", attempts=2, backoff=0, fail_parent_on_failure=True)
    await queue.enqueue_flow(child("root", patient))
    async with working(work, redis_settings):
        await eventually(lambda: state(queue, "root", "completed"))


async def test_a_parent_is_delayed_only_when_its_children_have_ended(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    await queue.enqueue_flow(child("root", child("child"), delay=600_000))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "root", "delayed"))
        assert family.ran == ["child"]
        await queue.change_delay("j-root", 200)
        await eventually(lambda: state(queue, "root", "completed"))


async def test_a_parent_takes_its_priority_when_its_children_have_ended(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    await queue.enqueue_flow(child("root", child("child", priority=1), priority=2))
    await queue.enqueue("other", {}, priority=3)
    async with working(family, redis_settings):
        await eventually(lambda: len(family.ran) == 3)
    assert family.ran == ["child", "root", "other"]


async def test_removing_the_last_pending_child_lets_the_parent_run(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    family = Family()
    await queue.enqueue_flow(child("root", child("done"), child("never", delay=60_000)))
    async with working(family, redis_settings):
        await eventually(lambda: state(queue, "done", "completed"))
        await queue.remove("j-never")
        await eventually(lambda: state(queue, "root", "completed"))
    assert family.values == {"bull:q:j-done": "of done"}


async def test_removing_a_parent_with_its_children_leaves_none_of_them(queue: Queue) -> None:
    await queue.enqueue_flow(child("root", child("a", child("leaf")), child("b", delay=60_000)))
    await queue.remove("j-root", children=True)
    assert {name: await queue.job(f"j-{name}") for name in ("root", "a", "leaf", "b")} == dict.fromkeys(
        ("root", "a", "leaf", "b")
    )
    assert sum((await queue.counts()).values()) == 0


async def test_children_in_other_queues_are_run_by_their_own_workers(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    renders, root = Family(), Family()
    frames = [FlowJob("frame", "renders", {"n": n}) for n in range(4)]
    await queue.enqueue_flow(FlowJob("root", "q", {}, job_id="j-root", children=frames))
    async with working(root, redis_settings), working(renders, redis_settings, queue="renders", concurrency=4):
        await eventually(lambda: state(queue, "root", "completed"))
    assert (renders.ran, root.ran) == (["frame"] * 4, ["root"])
    assert sorted(root.values.values()) == ["of frame"] * 4


async def _root_has_ended(queue: Queue) -> bool:
    job = await queue.job("j-root")
    return job is not None and job.finished_on is not None
