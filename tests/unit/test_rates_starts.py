"""How long pods take to start."""

from dataclasses import replace
from itertools import count

import pytest
from rates_world import NOON, pod

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import Problem
from queueworker_operator.scaling.rates import learn_starts, remember_starts, restore_starts, start_up
from queueworker_operator.scaling.rates.starts import Start, Starts

_numbers = count()


def started(seconds, *, at=NOON, name=None, waited=0.0):
    """Return a pod that was ready at some second, so long after it got its node."""
    scheduled = at - seconds
    return pod(name or f"pod-{next(_numbers)}", created_at=scheduled - waited, scheduled_at=scheduled, ready_at=at)


def starting(seconds, **more):
    """Return a pod that got its node so many seconds before noon."""
    given = {"ready": False, "created_at": NOON - seconds, "scheduled_at": NOON - seconds, **more}
    return pod(**{"name": f"pod-{next(_numbers)}", **given})


def learned(*seconds):
    return learned_of([started(one) for one in seconds])


def learned_of(pods):
    return learn_starts(Starts(), pods, NOON)


def test_until_three_starts_are_measured_thirty_seconds_are_assumed():
    known = start_up(learned(4, 5), [], NOON)
    assert (known.seconds, known.longest_seconds, known.measured) == (30, 30, 2)
    assert known.horizon_seconds == 32


def test_nine_of_ten_starts_do_not_exceed_it_and_the_horizon_covers_the_longest():
    known = start_up(learned(*range(1, 21)), [], NOON)
    assert (known.seconds, known.longest_seconds, known.measured) == (18, 20, 20)
    assert known.horizon_seconds == 22


def test_time_without_a_node_is_not_a_start():
    starts = learn_starts(Starts(), [started(5, waited=600) for _ in range(3)], NOON)
    assert start_up(starts, [], NOON).seconds == 5


def test_each_pod_counts_once():
    pods = [started(5, name=f"pod-{number}") for number in range(3)]
    once = learn_starts(Starts(), pods, NOON)
    assert learn_starts(once, pods, NOON + 10) == once
    unready_meanwhile = [replace(pods[0], ready=False, ready_at=None), *pods[1:]]
    again = [replace(pods[0], ready_at=NOON + 60), *pods[1:]]
    assert learn_starts(learn_starts(once, unready_meanwhile, NOON + 30), again, NOON + 60).known == once.known


def test_a_pod_that_comes_back_under_its_name_is_another_start():
    """As a StatefulSet's do; nobody looked in between."""
    starts = learned_of([started(5, at=NOON - 600, name=f"web-{number}") for number in range(3)])
    begun = [starting(40, name=f"web-{number}") for number in range(3)]
    assert start_up(starts, begun, NOON).seconds == 40
    again = [replace(one, ready=True, ready_at=NOON + 10) for one in begun]
    after = learn_starts(starts, again, NOON + 10)
    assert [one.seconds for one in after.known] == [5, 5, 5, 50, 50, 50]
    assert len(after.counted) == 3


def test_pods_that_are_gone_are_not_kept():
    starts = learned(5, 6, 7)
    assert learn_starts(starts, [], NOON).counted == frozenset()
    assert learn_starts(starts, None, NOON) is starts, "not listed is not gone"


def test_the_last_twenty_starts_count():
    starts = Starts()
    for number in range(50):
        pods = [started(100 if number < 30 else 2, at=NOON + number, name=f"pod-{number}")]
        starts = learn_starts(starts, pods, NOON + number)
    assert len(starts.known) == 20
    assert start_up(starts, [], NOON + 50).longest_seconds == 2


@pytest.mark.parametrize(("took", "told"), [(0.2, 1), (900, 300)])
def test_it_stays_within_a_second_and_five_minutes(took, told):
    known = start_up(learned(took, took, took), [], NOON)
    assert (known.seconds, known.longest_seconds) == (told, told)


def test_an_unfinished_start_counts_once_it_took_longer_than_most():
    starts = learned(*[4] * 10)
    assert start_up(starts, [starting(3)], NOON).seconds == 4
    known = start_up(starts, [starting(50), starting(60)], NOON)
    assert (known.seconds, known.longest_seconds) == (50, 60)


def test_many_that_have_just_begun_do_not_make_starts_look_short():
    starts = learned(*[1] * 8, 50, 50)
    assert start_up(starts, [starting(3) for _ in range(10)], NOON).seconds == 50


def test_a_pod_that_was_ready_before_is_not_starting():
    well = started(5, at=NOON - 195, name="pod-x")
    known = learn_starts(Starts(), [well], NOON)
    fell_ill = replace(well, ready=False, ready_at=None)
    assert start_up(known, [fell_ill], NOON).seconds == 30


def test_an_unfinished_start_above_the_assumption_raises_it():
    assert start_up(Starts(), [starting(20)], NOON).seconds == 30
    known = start_up(Starts(), [starting(45)], NOON)
    assert (known.seconds, known.longest_seconds, known.measured) == (45, 45, 0)


CRASHING = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="CrashLoopBackOff")


@pytest.mark.parametrize(
    "more",
    [{"scheduled_at": None}, {"terminating": True}, {"problem": CRASHING}, {"scheduled_at": NOON - 2 * 86_400}],
    ids=["no node", "going", "crashing", "of another day"],
)
def test_what_cannot_start_is_not_starting(more):
    assert start_up(Starts(), [starting(200, **more)], NOON).seconds == 30


def test_pods_older_than_a_day_say_nothing():
    assert learn_starts(Starts(), [started(5, at=NOON - 86_401)], NOON).known == ()


def test_a_pod_that_came_back_after_hours_did_not_start_for_hours():
    assert learn_starts(Starts(), [started(9_000)], NOON).known == ()


def test_after_a_restart_pods_of_before_are_not_counted_again():
    pods = [started(5 + number, at=NOON + number + 0.5, name=f"pod-{number}") for number in range(3)]
    before = learn_starts(Starts(), pods, NOON + 3)
    after = restore_starts(remember_starts(before), NOON + 10)
    pods.append(started(9, at=NOON + 8, name="pod-9"))
    after = learn_starts(after, pods, NOON + 10)
    assert [start.seconds for start in after.known] == [5, 6, 7, 9]
    assert after.counted == {(one.name, one.created_at) for one in pods}
    assert {name for name, _ in after.counted} == {"pod-0", "pod-1", "pod-2", "pod-9"}


def test_starts_of_the_future_and_of_another_day_are_not_restored():
    kept = [Start(at=NOON - 86_000, seconds=5), Start(at=NOON, seconds=6)]
    dropped = [Start(at=NOON - 86_401, seconds=50), Start(at=NOON + 60, seconds=60)]
    saved = remember_starts(Starts(known=(*kept, *dropped)))
    assert restore_starts(saved, NOON).known == tuple(kept)
    assert restore_starts(None, NOON) == Starts()
