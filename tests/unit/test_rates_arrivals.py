"""How fast jobs come and go, from the counters of successive readings."""

import pytest
from rates_world import Course, details, lasting


def steady(course: Course, *, seconds: int, per_second: float, active: int = 0, since: int = 0) -> None:
    for passed in range(since + 1, since + seconds + 1):
        course.look(1, completed_count=int(per_second * passed), failed_count=0, active=active)


def test_a_steady_flow_is_what_arrives_ends_and_none_fails():
    course = Course()
    course.look(completed_count=0, active=50)
    steady(course, seconds=60, per_second=100, active=50)
    known = course.look(1, completed_count=6_100, failed_count=0, active=50)
    assert known.arrivals_per_second == pytest.approx(100)
    assert known.completions_per_second == pytest.approx(100)
    assert known.failures_per_second == 0


def test_without_counters_arrivals_are_unknown_and_not_zero():
    course = Course()
    course.look(waiting=0)
    known = course.look(60, waiting=600)
    assert known.arrivals_per_second is None
    assert known.completions_per_second is None


def test_the_first_two_seconds_tell_nothing():
    course = Course()
    course.look(completed_count=0)
    assert course.look(0.05, completed_count=0, waiting=1_000).arrivals_per_second is None
    assert course.look(1.9, completed_count=0, waiting=1_000).arrivals_per_second is None


def test_a_burst_right_after_the_start_is_spread_over_the_window():
    course = Course()
    course.look(completed_count=0)
    course.look(0.05, completed_count=0, waiting=1_000)
    assert course.look(2, completed_count=0, waiting=1_000).arrivals_per_second == pytest.approx(1_000 / 60)


def test_a_flow_that_the_workers_keep_up_with_is_known_after_two_seconds():
    course = Course()
    course.look(completed_count=500, active=5)
    assert course.look(3, completed_count=800, active=5).arrivals_per_second == pytest.approx(100)


def test_arrivals_of_a_burst_fade_to_exactly_zero():
    course = Course()
    course.look(completed_count=0)
    course.look(0.05, completed_count=0, waiting=1_000)
    seen = []
    for passed in range(1, 80):
        known = course.look(1, completed_count=min(1_000, 100 * passed), waiting=max(0, 1_000 - 100 * passed))
        seen.append(known.arrivals_per_second)
    assert all(rate > 0 for rate in seen[2:55])
    assert seen[-1] == 0.0


def test_more_taken_away_than_came_is_no_negative_rate():
    course = Course()
    course.look(completed_count=0, waiting=1_000)
    assert course.look(10, completed_count=0, waiting=0).arrivals_per_second == 0


def test_jobs_falling_due_arrive():
    course = Course()
    course.look(completed_count=0, delayed=3_000)
    known = course.look(60, completed_count=2_900, delayed_due=100)
    assert known.arrivals_per_second == pytest.approx(50)


def test_failures_are_told_apart_from_completions():
    course = Course()
    course.look(completed_count=0, failed_count=0)
    known = course.look(60, completed_count=60, failed_count=540)
    assert known.completions_per_second == pytest.approx(1)
    assert known.failures_per_second == pytest.approx(9)
    assert known.arrivals_per_second == pytest.approx(10)


def test_a_counter_that_was_not_there_yet_stood_at_zero():
    course = Course()
    course.look(waiting=60)
    known = course.look(60, completed_count=60)
    assert (known.arrivals_per_second, known.completions_per_second, known.failures_per_second) == (0, 1, 0)


def test_the_window_is_twice_as_long_as_a_job_of_many_minutes():
    course = Course(expected=None)
    for passed in range(0, 3_600, 10):
        seen = details(at=course.at + 10, next_names={"film": 9}, statistics=(lasting("film", 50, 600),))
        known = course.look(10, details=seen, active=10, completed_count=passed // 60)
    span = course.learning.samples[-1].at_ms - course.learning.samples[0].at_ms
    assert 1_200_000 <= span <= 1_300_000
    assert known.arrivals_per_second == pytest.approx(1 / 60, rel=0.06)


def test_after_a_minute_of_growth_arrivals_count_in_full_also_where_the_window_is_longer():
    course = Course()
    for passed in range(62):
        seen = details(at=course.at + 1, next_names={"film": 9}, statistics=(lasting("film", 50, 600),))
        known = course.look(1, details=seen, waiting=10 * passed, completed_count=0)
    assert known.arrivals_per_second == pytest.approx(10)


@pytest.mark.parametrize("back", [{"completed_count": 5}, {"completed_count": None}, {"failed_count": 0}])
def test_counters_that_go_back_begin_anew(back):
    course = Course()
    course.look(completed_count=1_000, failed_count=9)
    course.look(10, completed_count=2_000, failed_count=9)
    gone = {"completed_count": 2_000, "failed_count": 9, **back}
    assert course.look(10, **gone).arrivals_per_second is None
    then = {name: (count or 0) + 30 for name, count in gone.items()}
    assert course.look(3, **then).completions_per_second == pytest.approx(10)


@pytest.mark.parametrize("jump", [-3_600, -0.5, 3_600])
def test_a_clock_that_jumps_begins_the_window_anew(jump):
    """Redis' clock leaves ours: another server answers, or somebody set it."""
    course = Course()
    course.look(completed_count=0)
    course.look(10, completed_count=1_000)
    course.skew = jump
    assert course.look(0.2, completed_count=1_020).arrivals_per_second is None
    assert course.look(10, completed_count=2_020).arrivals_per_second == pytest.approx(100)


def test_a_queue_that_was_unreadable_for_longer_than_the_window_has_no_known_rate():
    course = Course()
    course.look(completed_count=0)
    course.look(60, completed_count=600)
    assert course.lost(30).arrivals_per_second == pytest.approx(10)
    assert course.lost(31).arrivals_per_second is None
    assert course.look(1, completed_count=1_220).arrivals_per_second == pytest.approx(10, rel=0.1)


def test_the_window_holds_a_bounded_number_of_readings_however_many_there_are():
    course = Course()
    course.look(completed_count=0)
    for passed in range(2_000):
        course.look(0.1, completed_count=passed)
        assert len(course.learning.samples) <= 32
    span = course.learning.samples[-1].at_ms - course.learning.samples[0].at_ms
    assert 60_000 <= span <= 63_000


# Without counters, but with statistics


def attempts(course, passed, jobs):
    return {"details": details(at=course.at + passed, statistics=(lasting("mail", jobs, 0.05),))}


def test_attempts_stand_in_for_jobs_that_ended_where_no_counter_tells():
    course = Course()
    course.look(waiting=10, **attempts(course, 0, 1_000))
    for passed in range(1, 7):
        known = course.look(10, waiting=10, **attempts(course, 10, 1_000 + 100 * passed))
    assert known.arrivals_per_second == pytest.approx(10)
    assert known.completions_per_second is None, "an attempt may have failed"


def test_attempts_that_were_read_long_before_the_counts_are_not_set_against_them():
    course = Course()
    seen = attempts(course, 0, 1_000)
    course.look(waiting=600, **seen)
    for _ in range(60):
        known = course.look(1, waiting=0, **seen)
    assert known.arrivals_per_second is None


def test_attempts_of_before_the_first_reading_did_not_end_since():
    course = Course()
    course.look(waiting=10)
    assert course.look(10, waiting=10, **attempts(course, 10, 5_000)).arrivals_per_second is None
    assert course.look(10, waiting=10, **attempts(course, 10, 5_050)).arrivals_per_second == pytest.approx(5)
