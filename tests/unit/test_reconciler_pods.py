"""When the reconciler lists the pods, and what it does where it may not."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from reconciler_cluster import KEY, Deployment, clock
from reconciler_load import SOON, five, held_by, kinds, one_is_busy, waiting
from reconciler_world import World, document, live

from queueworker.details import ActiveJob, QueueDetails
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterUnavailableError
from queueworker_operator.reconciler import listing
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import Ownership, Problem, QueueObservation, WorkersObservation

pytestmark = pytest.mark.usefixtures("no_logs")


def test_pods_are_listed_while_they_start_once_more_then_and_never_at_rest() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 12.0
        world.put(document(autoscaling=SOON))
        await asyncio.sleep(30)
        started = clock()
        world.redis.queues["mail"] = waiting(50)
        await asyncio.sleep(30)
        assert 6 <= len(kinds(world, started, "pods")) <= 14
        assert world.reconciler.decision(KEY).inputs.start_up.measured == 5
        assert world.reconciler.decision(KEY).inputs.start_up.seconds == pytest.approx(12, abs=1)
        assert 14_000 in world.redis.horizons, world.redis.horizons
        rest = clock()
        await asyncio.sleep(600)
        assert len(kinds(world, rest, "pods")) <= 1

    live(story)


def test_growths_close_together_rest_on_one_list_of_the_pods() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 12.0
        world.put(document(autoscaling=SOON))
        await asyncio.sleep(30)
        world.redis.queues["mail"] = waiting(10)
        await asyncio.sleep(0.1)
        started = clock()
        for backlog in (20, 30):
            world.redis.queues["mail"] = waiting(backlog)
            await asyncio.sleep(0.4)
        assert world.cluster.numbers(since=started) == [2, 3]
        assert len(kinds(world, started, "pods")) == 1

    live(story)


def test_a_job_of_no_known_pod_makes_the_pods_be_listed_once() -> None:
    async def story(world: World) -> None:
        await five(world)
        world.redis.queues["mail"] = waiting(50) | {"active": 1}
        await asyncio.sleep(30)
        started = clock()
        # A worker that is no pod of ours: its owner never becomes known.
        world.redis.details["mail"] = held_by("somebody")
        await asyncio.sleep(120)
        assert len(kinds(world, started, "pods")) == 1

    live(story)


def test_pods_of_others_that_take_turns_are_looked_for_ever_less() -> None:
    async def story(world: World) -> None:
        await five(world)
        others = Random(1)
        started = clock()
        for second in range(420):
            if second == 120:
                started = clock()
            world.redis.details["mail"] = held_by(*(f"other-{others.randrange(50)}" for _ in range(10)))
            world.redis.queues["mail"] = waiting(50, active=10)
            await asyncio.sleep(1)
        assert len(kinds(world, started, "pods")) <= 1, "all of them are known by then"

    live(story)


def test_a_crash_loop_that_nothing_probes_holds_the_number_and_is_told_once() -> None:
    crash = Problem(
        reason=ConditionReason.WORKERS_NOT_READY, message="pod pod-1: container worker was restarted 3 times"
    )

    async def story(world: World) -> None:
        world.redis.queues["mail"] = waiting(10)
        world.put(document(autoscaling=SOON))
        await asyncio.sleep(30)
        (pod,) = world.cluster.deployments[KEY].pods
        pod.failing = crash
        started = clock()
        for turn in range(12):
            pod.ready_at = clock() + 10
            world.cluster.touch()
            await asyncio.sleep(5)
            world.redis.queues["mail"] = waiting(50)
            # It is ready for a second now and then.
            for _ in range(12):
                assert world.condition("WorkersAvailable") == ("False", "WorkersNotReady"), f"turn {turn}"
                await asyncio.sleep(0.5)
        assert world.cluster.numbers(since=started) == []
        pod.ready_at = clock()
        world.cluster.touch()
        await asyncio.sleep(30)
        assert world.cluster.numbers(since=started) == [5]
        assert world.condition("WorkersAvailable") == ("True", "WorkersReady")
        pod.ready_at = clock() + 5
        world.cluster.touch()
        await asyncio.sleep(30)
        told = [kind for kind, reason, _ in world.cluster.events if reason in ("WorkersNotReady", "WorkersReady")]
        assert told == ["Warning"], "a warning that was away for a moment is the same one"

    live(story)


def test_of_a_fixed_number_too_a_pod_counts_as_recovered_in_time() -> None:
    crash = Problem(
        reason=ConditionReason.WORKERS_NOT_READY, message="pod pod-1: container worker was restarted 3 times"
    )

    async def story(world: World) -> None:
        made = document(replicas=1)
        made["spec"].pop("autoscaling", None)
        world.put(made)
        await asyncio.sleep(30)
        (pod,) = world.cluster.deployments[KEY].pods
        pod.failing, pod.ready_at = crash, clock() + 10
        world.cluster.touch()
        await asyncio.sleep(9)
        assert world.condition("WorkersAvailable") == ("False", "WorkersNotReady")
        await asyncio.sleep(25)
        assert world.condition("WorkersAvailable") == ("True", "WorkersReady")

    live(story)


def test_where_no_holder_is_ever_known_the_pods_are_listed_ever_more_seldom() -> None:
    async def story(world: World) -> None:
        await five(world)
        started = clock()
        for second in range(600):
            world.redis.details["mail"] = held_by(f"other-{second}")
            world.redis.queues["mail"] = waiting(50, active=1)
            await asyncio.sleep(1)
        assert len(kinds(world, started, "pods")) <= 15
        world.redis.details["mail"] = held_by("pod-1")
        found = clock()
        await asyncio.sleep(120)
        assert len(kinds(world, found, "pods")) <= 1

    live(story)


def test_of_holders_that_are_no_pods_the_last_thousand_are_remembered_for_ten_minutes() -> None:
    memory = Memory(uid="u", history=History(), status=None)
    workers = WorkersObservation(ownership=Ownership.OURS, replicas=1, pods=())

    def meet(names: range, at: float) -> None:
        jobs = (ActiveJob(name="n", owner=f"{n}", locked=True, started_ms=0, stalled_count=0) for n in names)
        details = QueueDetails(
            prefix="bull", queue="mail", now_ms=0, active=tuple(jobs), active_total=0, next_names={}, last_names={}
        )
        queues = (QueueObservation(name="mail", concurrency=1, details=details),)
        listing.remember(memory, queues, workers, at)
        listing.explain(memory, queues, workers, at)

    meet(range(3), 0.0)
    meet(range(2000), 1.0)
    assert len(memory.pods.strangers) == 1000
    meet(range(5), 601.5)
    assert sorted(memory.pods.strangers) == ["0", "1", "2", "3", "4"]
    assert memory.pods.unknown == set()


def test_why_pods_are_not_ready_is_told_once_though_only_a_list_of_them_says_it() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 1e6
        world.put(document(replicas=2))
        await asyncio.sleep(5)
        crash = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod mail-1: CrashLoopBackOff")
        world.cluster.touch(pod_problem=crash)
        await asyncio.sleep(20)
        started = clock()
        for _ in range(20):
            # The Deployment's status moves, and the watch says nothing of pods.
            world.cluster.touch()
            await asyncio.sleep(1.7)
        assert world.condition("WorkersAvailable") == ("False", "WorkersNotReady")
        assert "CrashLoopBackOff" in str(world.status().conditions)
        assert kinds(world, started, "status") == []
        assert len(kinds(world, started, "pods")) <= 25

    live(story)


def deny_pods(world: World) -> None:
    """Let the pods be hidden from now on, as by a role without them."""
    world.cluster.pods_denied = Problem(reason=ConditionReason.CLUSTER_DENIED, message="pods is forbidden")


def test_without_a_list_of_pods_the_counts_say_how_many_stay_and_it_is_told_once() -> None:
    async def story(world: World) -> None:
        await five(world)
        deny_pods(world)
        world.redis.details["mail"] = held_by("pod-4", "pod-5", "pod-5")
        world.redis.queues["mail"] = {"active": 3, "completed_count": 0, "failed_count": 0}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 3, "three jobs run on one slot each"
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 1
        told = [event for event in world.cluster.events if "victims" in event[2]]
        assert told == [
            ("Warning", "ClusterDenied", "the victims of a scale-in cannot be chosen: pods is forbidden"),
        ], world.cluster.events
        rest = clock()
        await asyncio.sleep(600)
        assert kinds(world, rest, "status", "scale", "costs", "event") == []

    live(story)


def test_a_target_that_tells_no_selector_is_scaled_in_by_the_counts() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET)
        world.cluster.pods_hidden = True
        body = document(targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}, autoscaling=SOON)
        del body["spec"]["worker"]
        world.redis.queues["mail"] = waiting(50)
        world.put(body)
        await asyncio.sleep(20)
        assert world.cluster.deployments[KEY].replicas == 5
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 1
        assert not [event for event in world.cluster.events if event[0] == "Warning"], world.cluster.events

    live(story)


@pytest.mark.parametrize("limit", ["pin", "maximum", "replicas"])
def test_what_the_user_says_is_written_without_a_list_of_pods(limit: str) -> None:
    async def story(world: World) -> None:
        await five(world)
        deny_pods(world)
        one_is_busy(world, waiting_=50)
        await asyncio.sleep(10)
        wishes = {
            "pin": document(autoscaling=SOON),
            "maximum": document(autoscaling=SOON | {"maxReplicas": 2}),
            "replicas": document(replicas=2),
        }
        wishes[limit]["metadata"]["generation"] = 2
        world.put(wishes[limit], annotations={"queueworker.dev/pinned-replicas": "2"} if limit == "pin" else {})
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == 2

    live(story)


def test_pods_that_cannot_be_listed_for_a_moment_are_listed_again_before_a_scale_in() -> None:
    async def story(world: World) -> None:
        await five(world)
        started = clock()
        world.cluster.fail["pods"] = lambda: ClusterUnavailableError("no answer")
        one_is_busy(world)
        await asyncio.sleep(20)
        assert kinds(world, started, "scale") == []
        world.cluster.fail.clear()
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas < 5
        assert {pod.name for pod in world.cluster.deployments[KEY].staying()} >= {"pod-1"}

    live(story)


def fail_to_list(world: World) -> None:
    """Let the API server be too busy for a list from now on, and for nothing else."""
    world.cluster.fail["pods"] = lambda: ClusterUnavailableError("too many requests", retry_after_seconds=1)


def test_where_pods_can_never_be_listed_idle_ones_go_at_once_and_others_after_ten_minutes() -> None:
    async def story(world: World) -> None:
        await five(world)
        fail_to_list(world)
        one_is_busy(world)
        started = clock()
        await asyncio.sleep(590)
        assert world.cluster.numbers(since=started) == []
        await asyncio.sleep(90)
        assert 1 <= world.cluster.deployments[KEY].replicas < 5
        world.redis.details.clear()
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 1

    live(story)


def test_a_growth_and_its_status_wait_for_no_list_of_pods_that_fails() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 20.0
        world.redis.queues["mail"] = waiting(15)
        world.put(document(autoscaling=SOON))
        await asyncio.sleep(3)
        fail_to_list(world)
        started = clock()
        world.redis.queues["mail"] = waiting(95)
        await asyncio.sleep(1)
        assert world.cluster.numbers(since=started) == [10]
        await asyncio.sleep(10)
        assert world.status().scaling.inputs.backlog == 95
        condition = next(one for one in world.status().conditions if one.type == "WorkersAvailable")
        assert condition.message == "0 of 10 workers ready; no pods: too many requests"
        world.redis.queues["mail"] = waiting(150)
        await asyncio.sleep(290)
        assert world.cluster.numbers(since=started) == [10, 15]
        assert world.errors == []
        # After 5, 10, 20 and 40 s, then once a minute.
        assert 6 <= len(kinds(world, started, "pods")) <= 10
        listed = clock()
        world.cluster.fail.clear()
        await asyncio.sleep(65)
        assert kinds(world, listed, "pods") == ["pods"]

    live(story)


def test_a_growth_of_a_target_waits_for_no_list_of_pods_that_fails() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET)
        body = document(targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}, autoscaling=SOON)
        del body["spec"]["worker"]
        fail_to_list(world)
        world.put(body)
        await asyncio.sleep(20)
        started = clock()
        world.redis.queues["mail"] = waiting(50)
        await asyncio.sleep(300)
        assert world.cluster.numbers(since=started) == [5]
        assert len(kinds(world, started, "pods")) <= 10

    live(story)


def test_a_scale_in_waits_for_a_list_of_pods_that_fails_and_says_so_once() -> None:
    async def story(world: World) -> None:
        await five(world)
        started = clock()
        fail_to_list(world)
        one_is_busy(world)
        await asyncio.sleep(300)
        assert kinds(world, started, "scale", "costs") == []
        assert len(kinds(world, started, "pods")) <= 10
        assert world.status().scaling.desired == 2
        told = "the scale-in to 2 waits for a list of the pods: no pods: too many requests"
        assert [event for event in world.cluster.events if "waits" in event[2]] == [("Warning", "Pending", told)]
        world.cluster.fail.clear()
        await asyncio.sleep(65)
        assert world.cluster.deployments[KEY].replicas == 2
        assert {pod.name for pod in world.cluster.deployments[KEY].staying()} >= {"pod-1"}

    live(story)


def test_the_last_pod_goes_without_a_list_of_pods_where_nothing_runs() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = waiting(10)
        world.put(document(autoscaling=SOON | {"minReplicas": 0}))
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == 1
        fail_to_list(world)
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 0

    live(story)


def test_what_the_user_says_waits_for_a_list_of_pods_but_for_a_moment() -> None:
    async def story(world: World) -> None:
        await five(world)
        fail_to_list(world)
        one_is_busy(world, waiting_=50)
        pinned = clock()
        world.put(document(autoscaling=SOON), annotations={"queueworker.dev/pinned-replicas": "2"})
        await asyncio.sleep(8)
        assert world.cluster.deployments[KEY].replicas == 5
        await asyncio.sleep(12)
        assert world.cluster.numbers(since=pinned) == [2]

    live(story)
