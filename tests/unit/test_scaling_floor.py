"""Scale-in: how many pods stay because of their jobs, and which of them go."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from scaling_world import CONFIRMED, NOON, details, job, pod, queue, seen, spec, workers

from queueworker.details import ActiveJob
from queueworker.workers import JobStatistics, WorkerRecord
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, ServiceTime
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import Observation, Ownership, Pod, QueueObservation
from queueworker_operator.scaling.overrides import Overrides
from queueworker_operator.scaling.rates import restore_service
from queueworker_operator.scaling.rates.starts import Start, Starts

LONG = 600_000
"""Milliseconds, far above the drain time of a minute."""


def fleet(count: int, **more: Any) -> tuple[Pod, ...]:
    return tuple(pod(f"w-{n}", age=3600.0 - n, **more) for n in range(count))


def shrinking(
    pods: tuple[Pod, ...], jobs: tuple[ActiveJob, ...], *, wish: QueueWorkerSpec | None = None, **more: Any
) -> Decision:
    """A paused queue, so that nothing but the running jobs keeps pods."""
    read = replace(queue(active=len(jobs), paused=True), details=details(*jobs, **more.pop("details", {})))
    look = seen(read, workers_=workers(len(pods), pods=pods, **more))
    return decide(look, wish or spec(window=0, expected_ms=LONG), CONFIRMED, NOON)


def service(name: str, milliseconds: int) -> ServiceTime:
    return ServiceTime(queue=name, name=name, milliseconds=milliseconds, time=datetime.fromtimestamp(NOON - 60, UTC))


def test_pods_with_long_jobs_stay_and_the_idle_ones_go():
    jobs = (job("w-3"), job("w-7"), job("w-7"))
    decision = shrinking(fleet(10), jobs)
    assert (decision.desired, decision.reason) == (2, Reason.BUSY_FLOOR)
    assert set(decision.victims) == {f"w-{n}" for n in range(10)} - {"w-3", "w-7"}
    assert (decision.wants_pods, decision.wants_details) == (True, True)


def test_a_hundred_idle_pods_and_three_busy_ones_keep_the_busy_three():
    decision = shrinking(fleet(103), tuple(job(f"w-{n}") for n in (5, 50, 102)))
    assert decision.desired == 3
    assert not {"w-5", "w-50", "w-102"} & set(decision.victims)
    assert len(decision.victims) == 100


def test_short_jobs_end_within_the_drain_time_so_they_need_only_fit():
    jobs = tuple(job(f"w-{n}") for n in range(10))
    decision = shrinking(fleet(10), jobs, wish=spec(window=0, expected_ms=100))
    assert (decision.desired, len(decision.victims)) == (1, 9)


@pytest.mark.parametrize(("milliseconds", "expected"), [(15_900, 1), (16_100, 4)])
def test_what_takes_more_than_four_fifths_of_the_drain_time_is_long(milliseconds: int, expected: int):
    """The drain time is 60 s, and of a mean alone the 95th percentile is taken to be three times as long."""
    jobs = tuple(job(f"w-{n}") for n in range(4))
    assert shrinking(fleet(8), jobs, wish=spec(window=0, expected_ms=milliseconds)).desired == expected


@pytest.mark.parametrize(("since", "between", "expected"), [(5, 6, 6), (30, 6, 6), (5, 0, 1), (1, 6, 1)])
def test_a_long_job_that_was_seen_runs_on_while_nobody_can_look(since: int, between: int, expected: int):
    """It ran for 45 s, and 48 of 60 are long; only a reading without any job tells that it ended."""
    wish = spec(window=0, expected_ms=100)
    pods, jobs = fleet(8), (job("w-2", age=45.0), *(job(f"w-{n}") for n in range(3, 8)))
    first = replace(queue(active=6, paused=True, completed_count=0), details=details(*jobs))
    before = decide(seen(first, workers_=workers(8, pods=pods)), wish, History(), NOON).history
    for seconds, active in ((since / 2, between), (since, 6)):
        at = NOON + seconds
        lost = queue(active=active, paused=True, completed_count=0, at=at)
        look = seen(lost, workers_=workers(8, pods=pods))
        decision = decide(look, wish, replace(before, confirmed=seconds == since), at)
        before = decision.history
    assert decision.desired == expected


def test_one_long_job_among_many_short_ones_keeps_the_pods():
    """Of a thousand jobs a few are long: no percentile shows them, but the one that has been running does."""
    jobs = (job("w-2", age=300.0), *(job(f"w-{n}") for n in range(3, 6)))
    decision = shrinking(fleet(8), jobs, wish=spec(window=0, expected_ms=100))
    assert decision.desired == 4
    assert "w-2" not in decision.victims


def mixed(*, at: float, names: dict[str, str], videos: int = 50, **read: Any) -> QueueObservation:
    """50 ms mails and, rarely, videos of 600 s; `names` says which pod runs what, videos since 3 s."""
    ages = {"mail": 0.02, "video": 3.0}
    jobs = tuple(job(owner, name=name, age=ages[name], at=at) for owner, name in names.items())
    mail = JobStatistics(name="mail", jobs=100_000, milliseconds=5_000_000, histogram={6: 100_000})
    video = JobStatistics(name="video", jobs=videos, milliseconds=videos * LONG, histogram={20: videos})
    record = WorkerRecord("w-0", int(at * 1000), 0, 10, 1)
    counts = {"active": len(jobs), "paused": True, "at": at, **read}
    told = details(*jobs, at=at, statistics=(mail, video), workers=(record,), next_names={"mail": 20})
    return replace(queue(**counts), details=told)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"w-1": "video", "w-3": "video", "w-5": "mail"}, 3),
        ({"w-1": "mail", "w-3": "mail", "w-5": "mail"}, 1),
        ({"w-1": "video"}, 1),
    ],
    ids=["videos and a mail", "mails alone", "a video alone"],
)
def test_a_long_job_that_has_just_begun_among_short_ones_keeps_its_pod(names: dict[str, str], expected: int):
    look = seen(mixed(at=NOON, names=names), workers_=workers(8, pods=fleet(8)))
    decision = decide(look, spec(window=0), CONFIRMED, NOON)
    p95 = decision.inputs.rates["killmail"].service_p95_seconds
    assert p95 is not None
    assert p95 < 0.1
    assert decision.desired == expected
    assert not {owner for owner, name in names.items() if name == "video"} & set(decision.victims)


@pytest.mark.parametrize(("between", "expected"), [(1, 3), (0, 1)])
def test_a_long_job_that_was_seen_keeps_its_pod_until_nothing_is_active(between: int, expected: int):
    running = {"w-1": "video", "w-3": "mail", "w-5": "mail"}
    wish, stays = spec(window=0), workers(8, pods=fleet(8))
    before = decide(seen(mixed(at=NOON, names=running), workers_=stays), wish, History(), NOON).history
    for seconds, active in ((2.0, between), (4.0, 3)):
        lost = replace(mixed(at=NOON + seconds, names=running, active=active), details=None)
        decision = decide(seen(lost, workers_=stays), wish, replace(before, confirmed=seconds > 2), NOON + seconds)
        before = decision.history
    assert decision.desired == expected


def test_without_attribution_each_job_may_be_on_a_pod_of_its_own():
    jobs = tuple(job(None) for _ in range(3))
    assert shrinking(fleet(8), jobs).desired == 3
    assert shrinking(fleet(2), jobs).desired == 2
    strangers = (job("w-1"), job("9c1d"), job(None))
    assert shrinking(fleet(8), strangers).desired == 3
    look = seen(queue(active=5, paused=True), replicas=8)
    assert decide(look, spec(window=0, expected_ms=LONG), CONFIRMED, NOON).desired == 5


def test_jobs_that_nobody_looked_at_may_be_anywhere_too():
    assert shrinking(fleet(9), (job("w-1"),), details={"active_total": 4}).desired == 4


def test_a_targets_own_grace_period_is_its_drain_time():
    jobs = tuple(job(f"w-{n}") for n in range(4))
    given = spec(window=0, expected_ms=20_000).model_dump(by_alias=True, exclude={"worker"})
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}
    wish = QueueWorkerSpec.model_validate({**given, "targetRef": target})
    found = {
        grace: shrinking(fleet(8), jobs, wish=wish, grace_seconds=grace, ownership=Ownership.TARGET)
        for grace in (None, 30, 600)
    }
    assert {grace: decision.desired for grace, decision in found.items()} == {None: 4, 30: 4, 600: 1}
    assert all(decision.victims == decision.spared == () for decision in found.values())


def test_of_a_stateful_set_the_highest_busy_ordinal_stays_and_all_below_it():
    decision = shrinking(fleet(10), (job("w-2"), job("w-6")), ordinal=True)
    assert (decision.desired, decision.victims) == (7, ())


def test_the_maximum_of_the_user_beats_the_floor_and_takes_idle_pods_first():
    jobs = (job("w-0", age=500.0), job("w-1", age=5.0), job("w-2", age=50.0))
    decision = shrinking(fleet(5), jobs, wish=spec(window=0, expected_ms=LONG, max_replicas=2))
    assert (decision.desired, decision.reason) == (2, Reason.AT_MAXIMUM)
    assert decision.victims == ("w-4", "w-3", "w-1")


def test_a_pin_takes_exactly_as_many_pods_as_it_asks_for():
    read = replace(queue(active=1), details=details(job("w-3")))
    look = seen(read, workers_=workers(6, pods=fleet(6)))
    pinned = decide(look, spec(), CONFIRMED, NOON, overrides=Overrides(pinned_replicas=4))
    assert (pinned.desired, pinned.victims) == (4, ("w-5", "w-4"))


def test_pods_that_are_not_ready_go_before_idle_ones_and_terminating_ones_do_not_count():
    nowhere = pod("nowhere", ready=False, scheduled_at=None)
    pods = (*fleet(3), pod("new", ready=False), nowhere, pod("x", terminating=True))
    look = workers(5, ready=3, pods=pods)
    read = replace(queue(paused=True, active=1), details=details(job("w-2")))
    decision = decide(seen(read, workers_=look), spec(window=0, expected_ms=LONG), CONFIRMED, NOON)
    assert decision.victims == ("nowhere", "new", "w-1", "w-0")


def test_a_busy_pod_that_is_not_ready_holds_the_number_as_it_would_go_first():
    pods = (pod("w-0", age=3600.0, ready=False), pod("w-1", age=3600.0, ready=False), *fleet(5)[2:])
    decision = shrinking(pods, (job("w-0"),), ready=3)
    assert (decision.desired, decision.victims) == (4, ("w-1",))


def test_a_job_that_outlasts_the_drain_time_is_worth_more_than_one_that_has_run_longer():
    """One pod holds a video that has just begun, the other a mail that is nearly done."""
    pods = fleet(2)
    video = replace(
        queue(name="video", active=1, paused=True), details=details(job("w-0", name="video", age=1.0), queue="video")
    )
    mail = replace(queue(name="mail", active=1, paused=True), details=details(job("w-1", age=3.0), queue="mail"))
    took = History(
        confirmed=True,
        learned=restore_service(
            [service("video", 600_000), service("mail", 4_000)], now=NOON, queues=["video", "mail"]
        ),
    )
    wish = spec(queues={"video": 10, "mail": 10}, window=0)
    decision = decide(seen(video, mail, workers_=workers(2, pods=pods)), wish, took, NOON)
    assert (decision.desired, decision.victims) == (1, ("w-1",))


def test_a_pod_whose_job_is_at_its_stall_limit_goes_last():
    record = WorkerRecord("w-1", int(NOON * 1000), 0, 10, 1)
    limited = replace(job("w-1", age=1.0), stalled_count=1)
    jobs = (job("w-0", age=100.0), limited)
    decision = shrinking(
        fleet(2), jobs, wish=spec(window=0, expected_ms=LONG, max_replicas=1), details={"workers": (record,)}
    )
    assert (decision.desired, decision.victims) == (1, ("w-0",))


def test_costs_of_a_scale_in_that_is_off_are_taken_back():
    marked = (pod("w-0", deletion_cost=-100), pod("w-1", deletion_cost=7), pod("w-2", deletion_cost=-100))
    look = seen(queue(waiting=900), workers_=workers(3, pods=marked))
    decision = decide(look, spec(target=20), CONFIRMED, NOON)
    assert (decision.victims, decision.spared) == ((), ("w-0", "w-2"))
    going = shrinking(marked, (job("w-0"),))
    assert (going.victims, going.spared) == (("w-1", "w-2"), ("w-0",))
    dry = decide(look, spec(target=20, dry_run=True), CONFIRMED, NOON)
    assert (dry.victims, dry.spared) == ((), ())


def test_victims_of_a_scale_in_that_the_controller_has_yet_to_carry_out_stay_victims():
    pods = tuple(pod(f"w-{n}", deletion_cost=-100 if n >= 10 else None) for n in range(15))
    jobs = tuple(job(f"w-{n}", age=500.0) for n in range(7))
    look = workers(10, ready=15, pods=pods, present=15)
    read = replace(queue(active=7, paused=True), details=details(*jobs))
    decision = decide(seen(read, workers_=look), spec(window=0, expected_ms=LONG), CONFIRMED, NOON)
    assert decision.desired == 7
    assert sorted(decision.victims) == sorted(one.name for one in pods[7:])
    assert decision.spared == ()


def test_fewer_victims_than_asked_for_where_pods_are_missing_already():
    look = workers(10, ready=6, pods=fleet(6))
    read = replace(queue(paused=True, active=4), details=details(*(job(f"w-{n}") for n in range(4))))
    decision = decide(seen(read, workers_=look), spec(window=0, expected_ms=LONG), CONFIRMED, NOON)
    assert (decision.desired, decision.victims) == (4, ("w-5", "w-4"))


def test_the_wish_itself_may_be_wrong():
    slow = replace(CONFIRMED, starts=Starts(known=tuple(Start(at=NOON - n, seconds=45.0) for n in range(5))))
    told = decide(seen(queue(), replicas=1), spec(), slow, NOON).warnings
    assert [problem.reason for problem in told] == [ConditionReason.TARGET_INFEASIBLE]
    assert decide(seen(queue(), replicas=1), spec(min_replicas=1), slow, NOON).warnings == ()
    ages = {"oldest_prioritized_ms": int((NOON - 100) * 1000), "oldest_waiting_ms": int((NOON - 10) * 1000)}
    starved = decide(seen(queue(waiting=5, prioritized=5, **ages)), spec(), CONFIRMED, NOON).warnings
    assert [problem.reason for problem in starved] == [ConditionReason.PRIORITY_STARVED]
    young = {**ages, "oldest_prioritized_ms": int((NOON - 20) * 1000)}
    assert decide(seen(queue(waiting=5, prioritized=5, **young)), spec(), CONFIRMED, NOON).warnings == ()


def test_jobs_that_outlast_the_drain_time_are_warned_of():
    counted = JobStatistics("video", 1000, 1000 * 30_000, {14: 900, 17: 100})
    read = replace(queue(waiting=1), details=details(statistics=(counted,), next_names={"video": 1}))
    decision = decide(Observation(queues=(read,), workers=workers(1)), spec(), CONFIRMED, NOON)
    assert [problem.reason for problem in decision.warnings] == [ConditionReason.DRAIN_TOO_SHORT]


def test_jobs_that_began_after_the_details_were_read_may_be_anywhere():
    read = replace(queue(active=5, paused=True), details=details(job("w-0"), job("w-1")))
    look = seen(read, workers_=workers(8, pods=fleet(8)))
    assert decide(look, spec(window=0, expected_ms=LONG), CONFIRMED, NOON).desired == 5


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (3, 2), (4, 2)])
def test_a_part_of_a_job_of_a_shared_queue_is_a_whole_one(jobs: int, expected: int):
    given = spec(window=0, expected_ms=LONG).model_dump(by_alias=True)
    wish = QueueWorkerSpec.model_validate({**given, "queues": [{"name": "killmail", "sharePercent": 50}]})
    running = tuple(job(None) for _ in range(jobs))
    read = replace(queue(active=jobs, paused=True), details=details(*running), shared_with=("other",))
    look = seen(read, workers_=workers(8, pods=fleet(8)))
    assert decide(look, wish, CONFIRMED, NOON).desired == expected
