"""What the status keeps of the rates."""

import pytest
from rates_world import NOON, Course, details, finished, lasting, worker

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.rates import remember_service, restore_service
from queueworker_operator.scaling.rates.learning import Learning, NameTime
from queueworker_operator.scaling.rates.measured import ServiceSource as Source
from queueworker_operator.scaling.rates.names import shorten


def time_of(seconds, *, at=NOON, p95=None):
    return NameTime(at=at, seconds=seconds, p95_seconds=p95, source=Source.STATISTICS)


def round_trip(learned, *, now=NOON, queues=("killmail", "price")):
    saved = [api.ServiceTime.model_validate_json(one.model_dump_json()) for one in remember_service(learned)]
    return restore_service(saved, now=now, queues=queues)


def test_means_and_percentiles_come_back_to_the_millisecond():
    learned = {"killmail": Learning(names={"mail": time_of(0.0504, p95=1.5), "video": time_of(600)})}
    names = round_trip(learned)["killmail"].names
    assert names["mail"] == NameTime(at=NOON, seconds=0.05, p95_seconds=1.5, source=Source.REMEMBERED)
    assert names["video"].seconds == 600


def test_what_the_counters_told_of_all_names_comes_back():
    learned = {"killmail": Learning(overall=NameTime(at=NOON, seconds=0.5, source=Source.COUNTERS))}
    restored = round_trip(learned)["killmail"]
    assert (restored.overall.seconds, restored.names) == (0.5, {})


def test_a_job_named_by_nothing_is_not_taken_for_all_names():
    assert round_trip({"killmail": Learning(names={"": time_of(9)})}) == {}


@pytest.mark.parametrize("at", [NOON + 60, NOON - 86_400])
def test_the_future_and_another_day_are_dropped(at):
    assert round_trip({"killmail": Learning(names={"mail": time_of(1, at=at)})}) == {}


def test_a_queue_that_the_spec_no_longer_names_is_dropped():
    assert round_trip({"gone": Learning(names={"mail": time_of(1)})}) == {}


def test_there_is_room_for_128_shared_among_the_queues():
    many = {f"job-{number}": time_of(1) for number in range(128)}
    saved = remember_service({"killmail": Learning(names=many), "price": Learning(names={"mail": time_of(2)})})
    assert len(saved) == 128
    assert [one.queue for one in saved].count("price") == 1
    assert saved[0].name == "job-0", "the names with most jobs stand first"


def test_long_names_that_begin_alike_stay_apart():
    long, longer = "x" * 200, "x" * 201
    assert shorten(long) != shorten(longer)
    assert len(shorten(long)) == 128
    assert shorten("x" * 128) == "x" * 128


def test_half_a_surrogate_pair_is_no_name_for_the_status():
    assert shorten("\ud83d") != shorten("\ud83e")
    assert shorten("\ud83d").encode()
    assert shorten("killmäil 🚀") == "killmäil 🚀"


def test_long_names_are_known_again_after_a_restart():
    name = "video " * 40
    course = Course()
    course.look(details=details(next_names={name: 5}, finished=(finished(name, at=NOON, seconds=7),)))
    anew = Course(learning=round_trip({"killmail": course.learning})["killmail"])
    known = anew.look(waiting=5, details=details(next_names={name: 5}))
    assert (known.service_seconds, known.service_source) == (pytest.approx(7), Source.REMEMBERED)


def test_before_the_details_are_read_the_remembered_times_stand_in():
    anew = Course(learning=round_trip({"killmail": Learning(names={"mail": time_of(2)})})["killmail"])
    known = anew.look(waiting=5)
    assert (known.service_seconds, known.service_source) == (2, Source.REMEMBERED)


def test_what_was_lately_stands_above_the_life_of_the_queue_after_a_restart():
    """A hundred thousand jobs took 50 ms, the last days' take half a second."""
    anew = Course(learning=round_trip({"killmail": Learning(names={"mail": time_of(0.5, p95=4.0)})})["killmail"])
    seen = details(next_names={"mail": 5}, statistics=(lasting("mail", 100_000, 0.05),), workers=(worker(),))
    known = anew.look(waiting=5, details=seen)
    assert (known.service_seconds, known.service_source) == (pytest.approx(0.5), Source.STATISTICS)
    assert 2 <= known.service_p95_seconds <= 4.1, "and so do their longest"


def test_times_survive_a_restart_of_a_queue_that_only_counters_tell_of():
    course = Course()
    for passed in range(20):
        course.look(1, active=50, completed_count=100 * passed)
    learned = round_trip({"killmail": course.learning}, now=course.at)
    anew = Course(at=course.at, learning=learned["killmail"])
    known = anew.look(1, completed_count=2_000)
    assert (known.service_seconds, known.service_source) == (0.5, Source.COUNTERS)
