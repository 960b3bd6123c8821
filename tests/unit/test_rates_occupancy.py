"""Who runs what, how many slots a pod has, and since when all of them are taken."""

from dataclasses import replace

import pytest
from rates_world import NOON, Course, details, job, pod, worker


def look_for(course, seconds, **counts):
    for _ in range(seconds):
        known = course.look(1, **counts)
    return known


# Slots


def test_without_any_report_the_concurrency_of_the_spec_holds():
    assert Course(concurrency=7).look(active=3).slots == 7


def test_workers_say_how_many_slots_they_have():
    course = Course(concurrency=1)
    assert course.look(details=details(workers=(worker(slots=20),))).slots == 20
    assert course.look(1).slots == 20, "also while the details are not read again"


def test_the_dead_and_those_that_say_nothing_do_not_count():
    mixed = (worker("pod-0", slots=8), worker("pod-1", slots=None), worker("pod-2", slots=90, age_ms=20_000))
    assert Course(concurrency=1).look(details=details(workers=mixed)).slots == 8


def test_pods_of_ours_speak_before_other_workers_of_the_queue():
    course = Course(concurrency=1)
    course.scaled(2, pods=(pod("pod-0"), pod("pod-1")))
    mixed = (worker("pod-0", slots=8), worker("pod-1", slots=12), worker("a-laptop", slots=90))
    assert course.look(details=details(workers=mixed)).slots == 10


def test_workers_of_another_queueworker_say_nothing_of_ours():
    course = Course(concurrency=3, more={"shared_with": ("other",)})
    assert course.look(details=details(workers=(worker("other-0", slots=90),))).slots == 3


def test_what_workers_said_holds_at_zero_pods_until_the_spec_says_something_new():
    course = Course(concurrency=1)
    course.look(details=details(workers=(worker(slots=20),)))
    course.scaled(0)
    assert course.look(1, details=details(at=NOON + 1, workers=(worker(slots=20, age_ms=60_000),))).slots == 20
    course.concurrency = 5
    assert course.look(1).slots == 5


def test_jobs_that_run_for_a_minute_beyond_the_slots_of_the_spec_raise_them():
    course = Course(concurrency=1)
    course.scaled(2)
    assert look_for(course, 30, active=15).slots == 1, "a lock outlives a pod that crashed"
    assert look_for(course, 40, active=15).slots == 8
    assert look_for(course, 90, active=2).slots == 8, "the highest that was seen"


def test_jobs_of_pods_that_are_going_raise_nothing():
    course = Course(concurrency=10)
    course.scaled(4)
    look_for(course, 90, active=40)
    course.scaled(1)
    assert look_for(course, 300, active=40).slots == 10


def test_jobs_of_terminating_pods_raise_nothing():
    course = Course(concurrency=10)
    course.scaled(1, pods=(pod("pod-0"), pod("pod-1", terminating=True)))
    assert look_for(course, 90, active=20).slots == 10


def test_jobs_while_pods_are_not_ready_raise_nothing():
    course = Course(concurrency=10)
    course.scaled(3, ready=1)
    assert look_for(course, 90, active=30).slots == 10


def test_jobs_that_others_may_run_raise_nothing():
    course = Course(concurrency=10, more={"shared_with": ("other",)})
    assert look_for(course, 90, active=30).slots == 10


def test_orphans_raise_nothing():
    course = Course(concurrency=10)
    crashed = tuple(job(owner="gone", locked=False) for _ in range(10))
    course.look(1, active=20, details=details(at=NOON + 1, active=crashed))
    assert look_for(course, 90, active=20).slots == 10


# Who is busy


def test_pods_are_busy_that_hold_a_live_lock():
    course = Course()
    course.scaled(3, pods=(pod("pod-0"), pod("pod-1"), pod("pod-2", terminating=True)))
    active = (
        job(owner="pod-0"),
        job(owner="pod-0"),
        job(owner="pod-1", locked=False),
        job(owner="pod-2"),
        job(owner="0b5e-uuid"),
        job(owner=None),
    )
    known = course.look(active=6, details=details(active=active))
    assert known.busy_pods == {"pod-0"}
    assert known.unattributed == 2
    assert known.orphans == 1
    assert known.active == 5, "the job of the terminating pod is left out"


def test_owners_stand_as_they_are_where_pods_were_not_listed():
    active = (job(owner="pod-0"), job(owner="0b5e-uuid"), job(owner=None))
    known = Course().look(active=3, details=details(active=active))
    assert known.busy_pods == {"pod-0", "0b5e-uuid"}
    assert known.unattributed == 1


def test_jobs_that_were_not_looked_at_are_attributed_to_nobody():
    known = Course().look(active=500, details=details(active=(job(),), active_total=500))
    assert known.unattributed == 499


def test_nobody_is_busy_once_no_job_is_active():
    course = Course()
    course.look(active=1, details=details(active=(job(),)))
    known = course.look(1, active=0, details=details(active=(job(),)))
    assert (known.active, known.busy_pods, known.orphans, known.unattributed) == (0, frozenset(), 0, 0)


@pytest.mark.parametrize(("service", "left"), [(None, 0), (60.0, 3)], ids=["unknown", "60 s"])
def test_older_details_leave_out_fewer_jobs_of_terminating_pods(service, left):
    course = Course(expected=service)
    course.scaled(2, pods=(pod("pod-0"), pod("pod-1", terminating=True)))
    seen = details(active=tuple(job(owner="pod-1") for _ in range(10)))
    assert course.look(active=20, details=seen).active == 10
    assert course.look(60, active=20, details=seen).active == 20 - left


def test_more_jobs_of_terminating_pods_than_run_are_none_left():
    course = Course()
    course.scaled(1, pods=(pod("pod-1", terminating=True),))
    seen = details(active=tuple(job(owner="pod-1") for _ in range(10)))
    assert course.look(active=3, details=seen).active == 0


def test_a_pod_whose_job_may_not_stall_once_more_is_told():
    course = Course()
    course.scaled(3, pods=(pod("pod-0"), pod("pod-1"), pod("pod-2")))
    active = (job(owner="pod-0", stalled=1), job(owner="pod-1", stalled=1), job(owner="pod-2", stalled=9))
    on_record = (worker("pod-0", stalled=1), worker("pod-1", stalled=2), worker("pod-2", stalled=None))
    known = course.look(active=3, details=details(active=active, workers=on_record))
    assert known.stall_limited_pods == {"pod-0"}


def test_an_unreadable_queue_has_no_active_jobs_to_speak_of_and_keeps_its_slots():
    course = Course()
    course.look(active=5, details=details(active=(job(),), workers=(worker(slots=4),)))
    known = course.lost(5)
    assert known.slots == 4


# Saturation


def test_slots_are_full_since_the_backlog_stopped_to_fall():
    course = Course()
    assert course.look(1, active=9, waiting=100).saturated_since == NOON + 1
    assert course.look(1, active=10, waiting=150).saturated_since == NOON + 1
    assert course.look(1, active=10, waiting=100).saturated_since == NOON + 1
    assert course.look(1, active=10, waiting=99).saturated_since == NOON + 4
    assert course.look(1, active=10, waiting=100).saturated_since == NOON + 4


@pytest.mark.parametrize("counts", [{"active": 8, "waiting": 9}, {"active": 10}], ids=["a free slot", "no backlog"])
def test_saturation_ends(counts):
    course = Course()
    course.look(1, active=10, waiting=9)
    assert course.look(1, **counts).saturated_since is None


def test_without_ready_pods_nothing_is_saturated():
    course = Course()
    course.scaled(2, ready=0)
    assert course.look(active=10, waiting=9).saturated_since is None


def test_slots_of_all_ready_pods_count():
    course = Course()
    course.workers = replace(course.workers, replicas=2, ready=2, present=2)
    assert course.look(active=10, waiting=9).saturated_since is None
    assert course.look(1, active=18, waiting=9).saturated_since == NOON + 1
