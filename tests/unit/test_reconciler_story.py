"""The reconciler with loop and readers in virtual time: what it writes, what it does not, and what it survives."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from reconciler_world import KEY, Deployment, World, clock, document, live

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.cluster.port import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    GoneError,
    Key,
    Secret,
)
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Ownership

BUSY = {"waiting": 45, "oldest_ready_ms": 1}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_from_zero_to_five_in_one_write_and_back_to_zero() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == 0
        assert world.status().scaling.reason is ScalingReason.QUEUE_UNUSED
        world.redis.queues["mail"] = dict(BUSY)
        started = clock()
        await asyncio.sleep(8)
        assert [one for one in world.cluster.writes(since=started) if one[0] == "scale"] == [("scale", 5)]
        assert world.status().scaling.desired == 5
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        numbers = [detail for what, detail in world.cluster.writes(since=started) if what == "scale"]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[-1] == 0
        assert world.status().scaling.reason is ScalingReason.SCALED_TO_ZERO

    live(story)


def test_the_number_is_written_before_the_status() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(5)
        assert world.cluster.writes()[0] == ("create", 5)
        assert "status" in world.cluster.count()

    live(story)


@pytest.mark.parametrize("queue", [{}, {"active": 3}, {"waiting": 3, "paused": True}])
def test_when_nothing_changes_nothing_is_written_and_hardly_anything_read(queue: dict[str, object]) -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(queue)
        world.put(document())
        await asyncio.sleep(120)
        started = clock()
        await asyncio.sleep(3600)
        assert world.cluster.writes(since=started) == []
        assert world.cluster.count(since=started)["observe"] <= 13
        assert not world.errors

    live(story)


def test_slots_count_the_jobs_that_fall_due_while_a_pod_starts() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(5)
        assert world.redis.horizons == {round(HORIZON_SECONDS * 1000)}

    live(story)


@pytest.mark.parametrize("write", ["create", "status"])
def test_a_queueworker_whose_deletion_no_watch_told_is_let_go(write: str) -> None:
    async def story(world: World) -> None:
        world.cluster.fail[write] = lambda: GoneError("gone")
        world.put(document())
        await asyncio.sleep(600)
        assert world.cluster.count()[write] == 1
        assert world.store == {}
        assert len(world.redis.reads) == 1
        assert not world.errors

    live(story)


def test_a_status_that_is_refused_is_not_tried_with_every_reading() -> None:
    async def story(world: World) -> None:
        world.cluster.fail["status"] = lambda: ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)
        world.put(document())
        for waiting in range(120):
            world.redis.queues["mail"] = {"waiting": waiting + 1, "oldest_ready_ms": 1}
            await asyncio.sleep(1)
        assert world.cluster.deployments[KEY].replicas == 10, "what is decided does not wait for the report"
        assert 3 <= world.cluster.count()["status"] <= 6
        del world.cluster.fail["status"]
        await asyncio.sleep(35)
        assert world.status().scaling.desired == 10

    live(story)


@pytest.mark.parametrize(("value", "held"), [("true", True), ("Yes", True), ("", True), ("false", False), ("0", False)])
def test_any_value_of_the_annotation_but_a_plain_no_pauses(value: str, held: bool) -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.put(
            {**document(), "metadata": document()["metadata"] | {"annotations": {"queueworker.dev/paused": value}}}
        )
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == (0 if held else 5)

    live(story)


def test_a_restart_writes_nothing() -> None:
    first: list[World] = []

    async def before(world: World) -> None:
        first.append(world)
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(200)

    async def after(world: World) -> None:
        world.put(document())
        await asyncio.sleep(60)
        assert world.cluster.writes() == [], world.status()
        assert len(world.redis.reads) > 50

    live(before)
    first[0].cluster.calls.clear()
    live(after, cluster=first[0].cluster, redis=first[0].redis, start=1300)


def test_after_a_restart_two_readings_must_call_for_fewer() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(8, "mail:1")
        world.redis.queues["mail"] = {"active": 2}
        world.put(document(autoscaling={"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}))
        await asyncio.sleep(0.5)
        assert world.redis.reads
        assert "scale" not in world.cluster.count()
        await asyncio.sleep(3)
        assert [one for one in world.cluster.writes() if one[0] == "scale"] == [("scale", 2)]
        assert len(world.redis.reads) >= 2

    live(story)


def test_an_outage_of_redis_writes_no_number_and_is_told_once() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(30)
        started = clock()
        world.redis.error = RedisReadError("Redis redis:6379/0: refused")
        await asyncio.sleep(1.5)
        assert world.condition("QueueReachable")[0] == "True", "one or two failed reads are a hiccup"
        await asyncio.sleep(600)
        assert world.condition("QueueReachable") == ("False", "RedisUnreachable")
        assert world.status().scaling.reason is ScalingReason.HOLDING_METRICS_UNKNOWN
        writes = Counter(what for what, _ in world.cluster.writes(since=started))
        assert not writes.keys() & {"scale", "apply", "create"}
        assert writes["status"] <= 3, world.cluster.writes(since=started)
        assert [event[:2] for event in world.cluster.events if event[1] == "RedisUnreachable"] == [
            ("Warning", "RedisUnreachable")
        ]
        world.redis.error = None
        reads = len(world.redis.reads)
        while world.condition("QueueReachable")[0] != "True":
            await asyncio.sleep(0.05)
            assert len(world.redis.reads) - reads <= 2, "recovery within two reads"

    live(story)


def test_a_short_outage_after_which_fewer_are_needed_shrinks_only_at_the_second_reading() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document(autoscaling={"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}))
        await asyncio.sleep(30)
        world.redis.error = RedisReadError("refused")
        await asyncio.sleep(20)
        world.redis.queues["mail"] = {"active": 1}
        world.redis.error = None
        recovered = clock()
        await asyncio.sleep(10)
        scaled = [at for at, what, _ in world.cluster.calls if what == "scale" and at >= recovered]
        good = [at for at in world.redis.reads if at >= recovered]
        assert scaled
        assert scaled[0] > good[1]

    live(story)


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


def test_a_conflict_is_looked_at_again_at_once() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        failures = iter([ConflictError("no"), ConflictError("no")])

        def fail() -> Exception:
            error = next(failures, None)
            if error is None:
                world.cluster.fail.pop("scale")
                return ConflictError("last")
            return error

        world.cluster.fail["scale"] = fail
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(6)
        assert world.cluster.deployments[KEY].replicas == 5
        assert not world.errors
        tries = [at for at, what, _ in world.cluster.calls if what == "scale"]
        assert tries[-1] - tries[0] < 1

    live(story)


def test_conflicts_without_end_are_no_hot_loop() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.cluster.fail["scale"] = lambda: ConflictError("no")
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(600)
        assert world.errors
        assert world.cluster.count()["scale"] < 40

    live(story)


def test_a_refused_write_is_tried_seldom_told_and_forgotten_when_it_succeeds() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.cluster.fail["scale"] = lambda: ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(600)
        assert world.condition("Ready") == ("False", "ClusterDenied")
        assert world.condition("Stalled") == ("True", "ClusterDenied")
        assert world.cluster.count()["scale"] < 12
        assert world.status().scaling.history is None, "what was not written is no change"
        world.cluster.fail.clear()
        await asyncio.sleep(300)
        assert world.cluster.deployments[KEY].replicas == 5
        assert world.condition("Ready") == ("True", "RolledOut")
        assert not world.errors

    live(story)


def test_an_api_server_that_is_down_stops_no_reading_and_is_asked_ever_more_seldom() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        for what in ("observe", "scale", "status", "event"):
            world.cluster.fail[what] = lambda: ClusterUnavailableError("no answer")
        world.redis.queues["mail"] = dict(BUSY)
        started, reads = clock(), len(world.redis.reads)
        await asyncio.sleep(60)
        assert len(world.redis.reads) - reads > 50
        assert sum(world.cluster.count(since=started).values()) < 12
        world.cluster.fail.clear()
        back = clock()
        await asyncio.sleep(61)
        assert [one for one in world.cluster.writes(since=back) if one[0] == "scale"] == [("scale", 5)]

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


def _secret(password: str) -> Secret:
    return Secret(name="redis", uid="1", data={"password": password.encode()})


def _with_password() -> dict[str, object]:
    reference = {"passwordSecretRef": {"name": "redis", "key": "password"}}
    return document(redis={"host": "redis", "auth": reference})


def test_a_rotated_password_is_read_soon_after_the_login_is_refused_and_rolls_the_workers() -> None:
    async def story(world: World) -> None:
        world.cluster.secrets["redis"] = _secret("old")
        world.redis.password = "old"
        world.redis.queues["mail"] = dict(BUSY)
        world.put(_with_password())
        await asyncio.sleep(60)
        assert world.cluster.count()["secret"] <= 3
        started = clock()
        world.redis.password = "new"
        await asyncio.sleep(12)
        assert world.condition("QueueReachable") == ("False", "RedisAuthFailed")
        assert world.cluster.count(since=started)["secret"] <= 4
        world.cluster.secrets["redis"] = _secret("new")
        await asyncio.sleep(15)
        assert world.condition("QueueReachable") == ("True", "QueueRead")
        assert world.cluster.deployments[KEY].fingerprint == "mail:1|new"
        assert world.cluster.count(since=started)["apply"] == 1

    live(story)


def test_a_missing_secret_is_named_and_found_when_it_comes() -> None:
    async def story(world: World) -> None:
        world.put(_with_password())
        await asyncio.sleep(60)
        assert world.condition("Ready") == ("False", "SecretNotFound")
        assert world.condition("QueueReachable") == ("False", "SecretNotFound")
        assert KEY not in world.cluster.deployments
        assert world.cluster.count()["secret"] <= 8
        world.cluster.secrets["redis"] = _secret("pw")
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


def test_paused_by_annotation_decides_but_writes_no_number() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.put(document(), annotations={"queueworker.dev/paused": "true"})
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(30)
        assert world.cluster.deployments[KEY].replicas == 0
        assert world.condition("Paused") == ("True", "PausedByUser")
        world.put(document())
        await asyncio.sleep(5)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_a_broken_queueworker_delays_no_other() -> None:
    async def story(world: World) -> None:
        observe = world.cluster.observe

        async def hang(resource: object) -> object:
            if resource.key.name == "stuck":  # type: ignore[attr-defined]
                await asyncio.sleep(1e6)
            return await observe(resource)  # type: ignore[arg-type]

        world.cluster.observe = hang  # type: ignore[method-assign, assignment]
        world.put(document("stuck"))
        world.put(document())
        await asyncio.sleep(10)
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(7)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_status_writes_stay_within_the_budget_and_numbers_alone_within_ten_seconds() -> None:
    async def story(world: World) -> None:
        names = [f"mail-{number}" for number in range(80)]
        for name in names:
            world.put(document(name))
        await asyncio.sleep(30)
        assert len(world.cluster.statuses) == 80
        at = sorted(at for at, what, _ in world.cluster.calls if what == "status")
        most = max(sum(start <= one < start + 1 for one in at) for start in at)
        assert 20 <= most <= 41, "20 a second, and 20 saved up"
        started = clock()
        for second in range(30):
            world.redis.queues["mail-0"] = {"active": 1, "completed": second}
            world.redis.queues["mail-1"] = {"active": 1, "failed": second}
            await asyncio.sleep(1)
        keys = Counter(str(key) for at, what, key in world.cluster.calls if what == "status" and at >= started)
        assert keys["default/mail-1"] <= 5, keys
        assert keys["default/mail-5"] == 0

    live(story)


def test_the_first_status_waits_a_moment_for_the_rollout_of_no_workers() -> None:
    async def story(world: World) -> None:
        world.cluster.rolled_out_at_once = False
        world.put(document())
        await asyncio.sleep(1)
        assert "status" not in world.cluster.count()
        world.cluster.touch(rolled_out=True)
        await asyncio.sleep(30)
        assert world.condition("Ready") == ("True", "RolledOut")
        assert world.cluster.count()["status"] == 1

    live(story)


@pytest.mark.parametrize(("queue", "seconds"), [({}, 3), (dict(BUSY), 1)])
def test_the_first_status_waits_no_longer_and_not_for_pods(queue: dict[str, object], seconds: float) -> None:
    async def story(world: World) -> None:
        world.cluster.rolled_out_at_once = False
        world.redis.queues["mail"] = queue
        world.put(document())
        await asyncio.sleep(seconds)
        assert world.condition("Ready") == ("False", "RollingOut")

    live(story)


def test_the_first_status_of_what_is_wrong_does_not_wait() -> None:
    async def story(world: World) -> None:
        world.put(document(redis={"host": "localhost"}))
        await asyncio.sleep(0.5)
        assert world.condition("Ready") == ("False", "SpecInvalid")

    live(story)


def test_a_deleted_queueworker_is_forgotten() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        assert b'queueworker_desired_replicas{name="mail"' in world.metrics.text()
        world.delete(KEY)
        await asyncio.sleep(1)
        reads, calls = len(world.redis.reads), len(world.cluster.calls)
        await asyncio.sleep(600)
        assert (len(world.redis.reads), len(world.cluster.calls)) == (reads, calls)
        assert b'name="mail"' not in world.metrics.text()

    live(story)


def test_metrics_count_what_is_known_and_leave_out_what_is_not() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(10)
        text = world.metrics.text().decode()
        assert 'queueworker_backlog_jobs{name="mail",namespace="default",queue="mail"} 45.0' in text
        assert 'queueworker_desired_replicas{name="mail",namespace="default"} 5.0' in text
        assert 'direction="up"' in text
        assert 'queueworker_condition{name="mail",namespace="default",status="True",type="Ready"} 1.0' in text
        world.redis.error = RedisReadError("refused")
        await asyncio.sleep(5)
        assert "queueworker_backlog_jobs{" not in world.metrics.text().decode()

    live(story)
