"""What the reconciler does to the Deployment but for its number: create, adopt, apply, correct; in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from reconciler_cluster import KEY, Deployment, clock
from reconciler_load import BUSY, with_password
from reconciler_world import World, document, live

from queueworker.errors import RedisReadError
from queueworker_operator.cluster.port import (
    Key,
    Secret,
)
from queueworker_operator.scaling.observation import Ownership

pytestmark = pytest.mark.usefixtures("no_logs")


def test_the_number_of_somebody_else_is_put_right() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(10)
        started = clock()
        world.cluster.touch(replicas=1)
        await asyncio.sleep(1)
        assert world.cluster.deployments[KEY].replicas == 5
        assert clock() - started < 2

    live(story)


def test_a_deleted_deployment_comes_back_with_the_last_number() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(10)
        world.redis.error = RedisReadError("refused")
        await asyncio.sleep(5)
        started = clock()
        del world.cluster.deployments[KEY]
        world.cluster.changed(KEY)
        await asyncio.sleep(1)
        assert ("create", 5) in world.cluster.writes(since=started)

    live(story)


def test_a_new_template_is_applied_once_and_never_touches_the_number() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(30)
        started = clock()
        body = document(worker={"image": "mail:2"})
        body["metadata"]["generation"] = 2
        world.put(body)
        await asyncio.sleep(30)
        assert [one for one in world.cluster.writes(since=started) if one[0] not in ("status", "event")] == [
            ("apply", 2)
        ]
        assert world.status().observed_generation == 2

    live(story)


def test_drift_is_corrected_once_a_minute_and_then_called_a_fight() -> None:
    async def story(world: World) -> None:
        world.put(document(replicas=2))
        await asyncio.sleep(30)
        started = clock()
        world.cluster.touch(applied="theirs")
        await asyncio.sleep(2)
        assert world.cluster.count(since=started)["apply"] == 1
        assert "DriftCorrected" in [event[1] for event in world.cluster.events]
        for _ in range(170):
            if world.cluster.deployments[KEY].applied != "theirs":
                world.cluster.touch(applied="theirs")
            await asyncio.sleep(1)
        assert world.cluster.count(since=started)["apply"] == 3
        assert world.condition("Ready") == ("False", "DriftFight")
        await asyncio.sleep(600)
        assert world.condition("Ready") == ("True", "RolledOut")

    live(story)


def test_an_orphan_is_adopted_and_a_foreign_deployment_left_alone() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(3, None, ownership=Ownership.ADOPTABLE)
        other = Key("default", "other")
        world.cluster.deployments[other] = Deployment(3, "x", ownership=Ownership.FOREIGN)
        world.put(document(replicas=3))
        world.put(document("other", replicas=1))
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].ownership is Ownership.OURS
        assert "WorkersAdopted" in [event[1] for event in world.cluster.events]
        assert world.cluster.deployments[other].replicas == 3
        assert world.condition("Ready", other) == ("False", "NameConflict")
        assert world.cluster.count()["apply"] == 1

    live(story)


def test_a_terminating_deployment_is_waited_for() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(3, "x", ownership=Ownership.TERMINATING)
        world.put(document(replicas=2))
        await asyncio.sleep(30)
        assert not {what for what, _ in world.cluster.writes()} & {"create", "apply", "scale"}
        del world.cluster.deployments[KEY]
        world.cluster.changed(KEY)
        await asyncio.sleep(1)
        assert ("create", 2) in world.cluster.writes()

    live(story)


def secret(password: str) -> Secret:
    return Secret(name="redis", uid="1", data={"password": password.encode()})


def test_a_rotated_password_is_read_soon_after_the_login_is_refused_and_rolls_the_workers() -> None:
    async def story(world: World) -> None:
        world.cluster.secrets["redis"] = secret("old")
        world.redis.password = "old"
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document(**with_password()))
        await asyncio.sleep(60)
        assert world.cluster.count()["secret"] <= 3
        started = clock()
        world.redis.password = "new"
        await asyncio.sleep(12)
        assert world.condition("QueueReachable") == ("False", "RedisAuthFailed")
        assert world.cluster.count(since=started)["secret"] <= 4
        world.cluster.secrets["redis"] = secret("new")
        await asyncio.sleep(15)
        assert world.condition("QueueReachable") == ("True", "QueueRead")
        assert world.cluster.deployments[KEY].fingerprint == "mail:1|new"
        assert world.cluster.count(since=started)["apply"] == 1

    live(story)


def test_a_template_is_made_of_secrets_that_were_read_just_now_and_only_once() -> None:
    async def story(world: World) -> None:
        world.cluster.secrets["redis"] = secret("old")
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document(**with_password()))
        await asyncio.sleep(30)
        assert world.cluster.count()["create"] == 1
        assert world.cluster.count()["secret"] == 1, "the creation came with the first look"
        world.cluster.secrets["redis"] = secret("new")
        del world.cluster.deployments[KEY]
        world.cluster.changed(KEY)
        await asyncio.sleep(1)
        assert world.cluster.deployments[KEY].fingerprint == "mail:1|new"

    live(story)


def test_a_missing_secret_is_named_and_found_when_it_comes() -> None:
    async def story(world: World) -> None:
        world.put(document(**with_password()))
        await asyncio.sleep(60)
        assert world.condition("Ready") == ("False", "SecretNotFound")
        assert world.condition("QueueReachable") == ("False", "SecretNotFound")
        assert KEY not in world.cluster.deployments
        assert world.cluster.count()["secret"] <= 8
        world.cluster.secrets["redis"] = secret("pw")
        world.redis.password = "pw"
        await asyncio.sleep(20)
        assert world.condition("Ready") == ("True", "RolledOut")
        assert world.condition("QueueReachable") == ("True", "QueueRead")

    live(story)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"replicas": 1, "autoscaling": {"maxReplicas": 1}}, "replicas"),
        ({"redis": {"host": "127.0.0.1"}}, "loopback"),
        ({"redis": {"host": "169.254.169.254"}}, "metadata"),
    ],
)
def test_a_spec_that_cannot_be_carried_out_keeps_the_workers_and_says_why(spec: dict[str, object], words: str) -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(30)
        started = clock()
        bad = document(**spec)
        bad["spec"].update(spec)
        bad["metadata"]["generation"] = 2
        world.put(bad)
        await asyncio.sleep(60)
        assert world.condition("Ready") == ("False", "SpecInvalid")
        assert words in next(one.message for one in world.status().conditions if one.type == "Ready")
        assert not {what for what, _ in world.cluster.writes(since=started)} & {"scale", "apply", "create"}
        assert world.cluster.deployments[KEY].replicas == 5
        good = document()
        good["metadata"]["generation"] = 3
        world.put(good)
        await asyncio.sleep(8)
        assert world.condition("Ready") == ("True", "RolledOut")

    live(story)
