"""That what is at rest is left at rest: no state in which nothing changes is looked at over and over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from reconciler_cluster import KEY, Deployment, clock
from reconciler_load import AT_ONCE, BUSY, held_by, waiting, with_password
from reconciler_world import World, document, live

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError, Secret
from queueworker_operator.scaling.observation import Ownership, Problem

pytestmark = pytest.mark.usefixtures("no_logs")

Story = Callable[[World], Awaitable[None]]
STATES: list[Story] = []
SETTLED_SECONDS = 90.0
LOOKS_PER_MINUTE = 60
"""A queue with jobs is read once a second at most; where nothing changes all else is more seldom."""
REQUESTS_PER_MINUTE = 45
"""Pods that are not ready are listed every 10 s, those of a target that has jobs every 5 s."""


def at_rest(story: Story) -> Story:
    """Keep a story that ends in a state in which nothing changes."""
    STATES.append(story)
    return story


def stays_at_rest(state: Story) -> None:
    """Assert that next to nothing is done in a minute that begins a while after the story."""

    async def story(world: World) -> None:
        await state(world)
        await asyncio.sleep(SETTLED_SECONDS)
        started = clock()
        await asyncio.sleep(60)
        looks = [at for at in world.looks if at >= started]
        tellings = [at for at in world.tellings if at >= started]
        asked = world.cluster.count(since=started)
        seen = (len(looks), len(tellings), asked, world.status() if KEY in world.cluster.statuses else None)
        assert len(looks) <= LOOKS_PER_MINUTE, seen
        assert len(tellings) <= LOOKS_PER_MINUTE, seen
        assert asked.total() - asked["glance"] <= REQUESTS_PER_MINUTE, seen

    live(story)


def refuses(message: str = "forbidden") -> Callable[[], Exception]:
    return lambda: ClusterError(message, reason=ConditionReason.CLUSTER_DENIED)


def secret() -> Secret:
    return Secret(name="redis", uid="1", data={"password": b"x"})


def later(body: dict[str, Any], generation: int = 2) -> dict[str, Any]:
    """Return a QueueWorker as its spec was changed."""
    body["metadata"]["generation"] = generation
    return body


def of_target(**spec: Any) -> dict[str, Any]:
    body = document(targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}, **spec)
    del body["spec"]["worker"]
    return body


async def runs(world: World, **spec: Any) -> None:
    """Let a QueueWorker be there with jobs."""
    world.redis.queues["mail"] = dict(BUSY)
    assert world.put(document(**spec)).spec is not None
    await asyncio.sleep(20)


@at_rest
async def of_a_queue_without_jobs(world: World) -> None:
    world.put(document())


@at_rest
async def of_a_queue_with_jobs(world: World) -> None:
    await runs(world)


@at_rest
async def with_a_fixed_number(world: World) -> None:
    world.put(document(replicas=3))


@at_rest
async def of_a_local_redis(world: World) -> None:
    world.put(document(redis={"host": "127.0.0.1"}))


@at_rest
async def that_cannot_be_read(world: World) -> None:
    world.put(document(replicas=1, autoscaling={"maxReplicas": 1}))


@at_rest
async def whose_spec_became_invalid(world: World) -> None:
    await runs(world)
    world.put(later(document(redis={"host": "127.0.0.1"})))


@at_rest
async def whose_spec_became_invalid_while_its_pods_started(world: World) -> None:
    world.cluster.start_seconds = 1e6
    await runs(world)
    world.put(later(document(redis={"host": "127.0.0.1"})))


@at_rest
async def whose_spec_became_invalid_without_its_secret(world: World) -> None:
    await runs(world, **with_password())
    world.put(later(document(redis={"host": "127.0.0.1"})))


@at_rest
async def whose_spec_became_invalid_while_its_write_was_refused(world: World) -> None:
    world.cluster.fail["create"] = refuses()
    await runs(world)
    world.put(later(document(redis={"host": "127.0.0.1"})))


@at_rest
async def whose_spec_became_invalid_while_somebody_changed_its_template(world: World) -> None:
    await runs(world)
    world.cluster.touch(applied="theirs")
    await asyncio.sleep(5)
    world.put(later(document(redis={"host": "127.0.0.1"})))
    await asyncio.sleep(5)
    world.cluster.touch(applied="theirs again")


@at_rest
async def whose_creation_is_refused_and_whose_secret_is_gone(world: World) -> None:
    world.cluster.secrets["redis"] = secret()
    world.cluster.fail["create"] = refuses()
    await runs(world, **with_password())
    del world.cluster.secrets["redis"]
    await asyncio.sleep(700)


@at_rest
async def whose_template_is_refused_and_whose_secret_is_gone(world: World) -> None:
    world.cluster.secrets["redis"] = secret()
    await runs(world, **with_password())
    world.cluster.fail["apply"] = refuses()
    world.put(later(document(worker={"image": "mail:2"}, **with_password())))
    await asyncio.sleep(5)
    del world.cluster.secrets["redis"]
    await asyncio.sleep(700)


@at_rest
async def whose_number_is_refused_and_no_longer_wanted(world: World) -> None:
    world.cluster.fail["scale"] = refuses()
    await runs(world, autoscaling={"minReplicas": 1})
    world.redis.queues["mail"] = waiting(5)


@at_rest
async def whose_drift_is_refused(world: World) -> None:
    await runs(world)
    world.cluster.touch(applied="theirs")
    await asyncio.sleep(5)
    world.cluster.fail["apply"] = refuses()
    world.cluster.touch(applied="theirs again")


@at_rest
async def without_its_secret(world: World) -> None:
    await runs(world, **with_password())


@at_rest
async def without_its_secret_any_more(world: World) -> None:
    world.cluster.secrets["redis"] = secret()
    await runs(world, **with_password())
    del world.cluster.secrets["redis"]
    world.put(later(document(worker={"image": "mail:2"}, **with_password())))


@at_rest
async def whose_secret_is_denied(world: World) -> None:
    world.cluster.fail["secret"] = refuses()
    await runs(world, **with_password())


@at_rest
async def whose_password_is_wrong(world: World) -> None:
    world.redis.password = "another"
    world.cluster.secrets["redis"] = secret()
    await runs(world, **with_password())


@at_rest
async def whose_redis_is_down(world: World) -> None:
    await runs(world)
    world.redis.error = RedisReadError("refused")


@at_rest
async def whose_redis_was_never_there(world: World) -> None:
    world.redis.error = RedisReadError("refused")
    await runs(world)


@at_rest
async def whose_redis_cannot_wait(world: World) -> None:
    world.redis.can_wait = False
    await runs(world)


@at_rest
async def whose_details_cannot_be_read(world: World) -> None:
    await runs(world, autoscaling={"behavior": AT_ONCE})
    world.redis.details_error = RedisReadError("refused")
    world.redis.queues["mail"] = waiting(1, active=2)


@at_rest
async def of_a_queue_that_is_gone(world: World) -> None:
    await runs(world)
    world.redis.queues.remove("mail")


@at_rest
async def of_a_queue_that_is_paused(world: World) -> None:
    await runs(world)
    world.redis.queues["mail"] = waiting(45, paused=True)


@at_rest
async def whose_deployment_is_of_somebody_else(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(3, "x", ownership=Ownership.FOREIGN)
    await runs(world)


@at_rest
async def whose_former_deployment_does_not_end(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(3, "x", ownership=Ownership.TERMINATING)
    await runs(world)


@at_rest
async def that_may_not_adopt(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(3, None, ownership=Ownership.ADOPTABLE)
    world.cluster.fail["apply"] = refuses()
    await runs(world)


@at_rest
async def that_is_paused(world: World) -> None:
    await runs(world, autoscaling={"paused": True})


@at_rest
async def that_is_paused_by_an_annotation(world: World) -> None:
    await runs(world)
    body = document()
    body["metadata"]["annotations"] = {"queueworker.dev/paused": "true"}
    world.put(body)
    world.redis.queues["mail"] = waiting(95)


@at_rest
async def that_was_pinned(world: World) -> None:
    await runs(world)
    body = document()
    pin = {"queueworker.dev/pinned-replicas": "7", "queueworker.dev/pinned-until": "2027-01-15T08:17:05Z"}
    body["metadata"]["annotations"] = pin
    world.put(body)


@at_rest
async def that_only_decides_and_has_no_deployment(world: World) -> None:
    await runs(world, autoscaling={"dryRun": True})


@at_rest
async def that_only_decides_from_now_on(world: World) -> None:
    await runs(world)
    world.put(later(document(worker={"image": "mail:2"}, autoscaling={"dryRun": True, "behavior": AT_ONCE})))
    world.redis.queues["mail"] = waiting(5)


@at_rest
async def that_only_decides_while_somebody_changed_its_template(world: World) -> None:
    await runs(world)
    world.cluster.touch(applied="theirs")
    await asyncio.sleep(5)
    world.put(later(document(autoscaling={"dryRun": True})))
    world.cluster.touch(applied="theirs again")


@at_rest
async def that_only_decides_before_its_creation_was_finished(world: World) -> None:
    await runs(world)
    world.put(later(document(autoscaling={"dryRun": True})))
    world.cluster.touch(applied=None, fingerprint=None)


@at_rest
async def whose_target_is_not_there(world: World) -> None:
    missing = Problem(reason=ConditionReason.TARGET_NOT_FOUND, message="Deployment theirs is not there")
    world.cluster.deployments[KEY] = Deployment(0, None, ownership=Ownership.TARGET, target_problem=missing)
    world.redis.queues["mail"] = dict(BUSY)
    world.put(of_target())


@at_rest
async def of_a_target_with_jobs(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET)
    world.redis.queues["mail"] = dict(BUSY)
    world.put(of_target())


@at_rest
async def of_a_target_without_pods_to_be_seen(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET)
    world.cluster.pods_hidden = True
    world.redis.queues["mail"] = waiting(10, active=2)
    world.put(of_target(autoscaling={"behavior": AT_ONCE}))


@at_rest
async def of_another_autoscaler(world: World) -> None:
    await runs(world)
    world.cluster.touch(conflict="HorizontalPodAutoscaler theirs")
    world.redis.queues["mail"] = waiting(95)


@at_rest
async def whose_pods_do_not_start(world: World) -> None:
    world.cluster.start_seconds = 1e6
    await runs(world)


@at_rest
async def whose_pods_crash(world: World) -> None:
    await runs(world)
    world.cluster.start_seconds = 1e6
    crash = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod mail-1: CrashLoopBackOff")
    world.cluster.touch(replicas=6, pod_problem=crash)
    world.redis.queues["mail"] = waiting(95)


@at_rest
async def whose_pods_may_not_be_listed(world: World) -> None:
    world.cluster.pods_denied = Problem(reason=ConditionReason.CLUSTER_DENIED, message="forbidden: pods")
    world.cluster.start_seconds = 1e6
    await runs(world, autoscaling={"behavior": AT_ONCE})
    world.redis.queues["mail"] = waiting(5, active=2)


@at_rest
async def whose_rollout_does_not_end(world: World) -> None:
    await runs(world)
    world.cluster.touch(rolled_out=False)
    world.redis.queues["mail"] = waiting(5)


@at_rest
async def whose_jobs_are_held_by_strangers(world: World) -> None:
    world.redis.details["mail"] = held_by("stranger-1", "stranger-2")
    world.redis.queues["mail"] = waiting(10, active=2)
    world.put(document())


@at_rest
async def whose_orphans_nobody_rescues(world: World) -> None:
    job = held_by("nobody")["active"][0]
    world.redis.details["mail"] = {"active": (replace(job, locked=False),), "active_total": 1}
    world.redis.queues["mail"] = {"active": 1}
    world.cluster.fail["create"] = refuses()
    world.put(document())


@at_rest
async def that_shares_its_queue(world: World) -> None:
    halves = {"queues": [{"name": "mail", "sharePercent": 50}]}
    await runs(world, **halves)


@at_rest
async def with_a_schedule(world: World) -> None:
    window = {"cron": "*/2 * * * *", "timeZone": "UTC", "durationSeconds": 60, "minReplicas": 2}
    await runs(world, autoscaling={"schedules": [window]})


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_what_is_at_rest_is_looked_at_once_a_second_at_most(state: Story) -> None:
    stays_at_rest(state)


@pytest.mark.parametrize("write", ["create", "scale", "apply", "status", "event", "costs", "observe", "glance"])
@pytest.mark.parametrize(
    "error", [refuses(), lambda: ClusterUnavailableError("no answer"), lambda: ConflictError("no")]
)
def test_what_the_cluster_does_not_do_is_not_asked_for_over_and_over(
    write: str, error: Callable[[], Exception]
) -> None:
    async def state(world: World) -> None:
        if write != "create":
            await runs(world)
        world.cluster.fail[write] = error
        if write == "create":
            await runs(world)
        body = later(document(worker={"image": "mail:2"}))
        world.put(body)
        world.redis.queues["mail"] = waiting(25, active=2)
        world.redis.details["mail"] = held_by("pod-1", "pod-2")

    stays_at_rest(state)
