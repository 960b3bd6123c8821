"""Secrets that are known and cannot be read again for a while, and when they are read at all."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from reconciler_cluster import KEY, FakeCluster, clock
from reconciler_load import SOON, kinds, waiting, with_password
from reconciler_world import World, document, live

from queueworker_operator.cluster.port import ClusterUnavailableError, Secret

pytestmark = pytest.mark.usefixtures("no_logs")


def with_secret(password: bytes = b"hush") -> FakeCluster:
    cluster = FakeCluster()
    cluster.secrets["redis"] = Secret(name="redis", uid="1", data={"password": password})
    return cluster


def fail_to_read(world: World) -> None:
    world.cluster.fail["secret"] = lambda: ClusterUnavailableError("cannot read the Secret: too many requests")


async def one_runs(world: World) -> None:
    world.redis.password = "hush"
    world.redis.queues["mail"] = waiting(5)
    world.put(document(autoscaling=SOON, **with_password()))
    await asyncio.sleep(10)
    assert world.cluster.deployments[KEY].replicas == 1


def test_growth_and_status_go_on_where_a_known_secret_cannot_be_read_again() -> None:
    async def story(world: World) -> None:
        await one_runs(world)
        fail_to_read(world)
        await asyncio.sleep(400)
        started = clock()
        assert kinds(world, started - 400, "secret"), "the time to read it again has come"
        world.redis.queues["mail"] = waiting(95)
        await asyncio.sleep(1)
        assert world.cluster.numbers(since=started) == [10]
        await asyncio.sleep(15)
        assert world.status().scaling.inputs.backlog == 95
        assert world.condition("Ready") == ("True", "RolledOut")
        await asyncio.sleep(600)
        assert world.errors == []
        assert len(kinds(world, started, "secret")) <= 10

    live(story, cluster=with_secret())


def test_a_password_that_changed_is_found_when_the_secret_can_be_read_again() -> None:
    async def story(world: World) -> None:
        await one_runs(world)
        fail_to_read(world)
        world.redis.password = "changed"
        world.cluster.secrets |= with_secret(b"changed").secrets
        await asyncio.sleep(60)
        assert world.condition("QueueReachable") == ("False", "RedisAuthFailed")
        world.cluster.fail.clear()
        await asyncio.sleep(120)
        assert world.condition("QueueReachable") == ("True", "QueueRead")
        assert world.errors == []

    live(story, cluster=with_secret())


def test_a_change_of_the_numbers_is_followed_while_no_secret_can_be_read() -> None:
    async def story(world: World) -> None:
        await one_runs(world)
        fail_to_read(world)
        body = document(autoscaling=SOON | {"minReplicas": 3}, worker={"image": "mail:2"}, **with_password())
        body["metadata"]["generation"] = 2
        world.put(body)
        changed = clock()
        await asyncio.sleep(30)
        assert world.cluster.deployments[KEY].replicas == 3
        assert kinds(world, changed, "apply") == []
        assert world.condition("Ready") == ("False", "Pending")
        assert "too many requests" in str(world.status().conditions)
        world.cluster.fail.clear()
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].fingerprint == "mail:2|hush"
        assert world.condition("Ready") == ("True", "RolledOut")
        assert world.errors == []

    live(story, cluster=with_secret())


def test_a_template_that_waits_for_a_secret_is_applied_soon_after_it_can_be_read() -> None:
    async def story(world: World) -> None:
        await one_runs(world)
        fail_to_read(world)
        changed = document(autoscaling=SOON, **with_password())
        changed["spec"]["worker"]["image"] = "mail:2"
        changed["metadata"]["generation"] = 2
        world.put(changed)
        await asyncio.sleep(330)
        assert world.condition("Ready")[0] == "False"
        world.cluster.fail.clear()
        again = clock()
        await asyncio.sleep(25)
        assert kinds(world, again, "apply"), "the template waits on"
        assert world.condition("Ready") == ("True", "RolledOut")

    live(story, cluster=with_secret())


def test_without_a_secret_that_was_ever_read_nothing_is_made() -> None:
    async def story(world: World) -> None:
        fail_to_read(world)
        world.redis.queues["mail"] = waiting(50)
        world.put(document(autoscaling=SOON, **with_password()))
        await asyncio.sleep(60)
        assert world.cluster.writes() == []
        assert world.errors
        world.cluster.fail.clear()
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story, cluster=with_secret())


def test_what_many_began_together_does_not_fall_together_for_ever() -> None:
    async def story(world: World) -> None:
        for number in range(40):
            world.put(document(f"mail-{number}", **with_password()))
        await asyncio.sleep(30)
        begun = clock()
        await asyncio.sleep(300)
        for kind in ("observe", "secret"):
            read = [at for at, what, _ in world.cluster.calls if what == kind and at >= begun]
            assert 40 <= len(read) <= 42, "each of them once, none later than without"
            seconds = Counter(int(at) for at in read)
            assert max(seconds.values()) <= 5, seconds

    live(story, cluster=with_secret())
