"""How long a job takes, from the first source that has it."""

import pytest
from rates_world import NOON, Course, counted, details, finished, job, lasting, worker

from queueworker_operator.scaling.rates.measured import ServiceSource as Source

HOUR = 3_600.0
OURS = (worker(),)


def test_nothing_that_tells_leaves_the_service_time_unknown():
    known = Course().look(waiting=100, active=10)
    assert (known.service_seconds, known.service_p95_seconds, known.service_source) == (None, None, None)


def test_what_the_user_expects_stands_in():
    known = Course(expected=2.0).look(waiting=100, active=10)
    assert (known.service_seconds, known.service_source) == (2.0, Source.EXPECTED)
    assert known.service_p95_seconds == pytest.approx(6)


def test_seven_of_ten_slots_busy_with_nothing_that_tells_stays_unknown():
    course = Course()
    for _ in range(120):
        known = course.look(1, active=77)
        assert known.service_seconds is None


# Little's law


def test_mean_active_over_ended_per_second_is_the_service_time():
    course = Course()
    course.look(active=50, completed_count=0)
    for passed in range(1, 11):
        known = course.look(1, active=50, completed_count=80 * passed, failed_count=20 * passed)
    assert known.service_seconds == pytest.approx(0.5)
    assert known.service_source is Source.COUNTERS
    assert known.service_p95_seconds == pytest.approx(1.5)
    assert known.service_p99_seconds is None


def test_a_few_ended_short_jobs_are_not_enough():
    course = Course()
    course.look(completed_count=0)
    for passed in range(1, 10):
        known = course.look(1, active=passed % 2, completed_count=passed)
    assert known.service_seconds is None


def test_fewer_ended_than_run_is_not_enough():
    course = Course()
    course.look(active=100, completed_count=0)
    for passed in range(1, 30):
        known = course.look(1, active=100, completed_count=passed)
    assert known.service_seconds is None


def test_readings_that_the_very_jobs_woke_do_not_make_them_long():
    """Every 30 s a job of 100 ms comes, and each time a reading sees it run."""
    course = Course()
    course.look(completed_count=0)
    for passed in range(40):
        course.look(29, completed_count=passed, active=1)
        known = course.look(1, completed_count=passed + 1)
    assert known.service_seconds is None or known.service_seconds <= 1


def test_one_slot_and_jobs_of_ten_minutes_are_told_by_the_counters_in_the_end():
    course = Course()
    for passed in range(0, 7_200, 10):
        running = details(at=course.at + 10, active=(job(started=NOON + 10 + passed // 600 * 600),))
        known = course.look(10, details=running, active=1, completed_count=passed // 600)
    assert known.service_source is Source.COUNTERS
    assert known.service_seconds == pytest.approx(600, rel=0.6)


def test_what_the_counters_told_is_kept_while_the_queue_rests():
    course = Course()
    for passed in range(20):
        course.look(1, active=50, completed_count=100 * passed)
    known = course.look(HOUR, completed_count=2_000)
    assert (known.service_seconds, known.service_source) == (pytest.approx(0.5), Source.COUNTERS)


def test_jobs_that_run_all_the_time_while_none_ends_disprove_the_counters():
    course = Course()
    for passed in range(20):
        course.look(1, active=50, completed_count=100 * passed)
    for _ in range(600):
        known = course.look(1, active=50, completed_count=1_900)
    assert known.service_seconds is None


# Statistics


def test_before_there_is_anything_recent_the_mean_over_the_life_of_the_queue_counts():
    known = Course().look(waiting=5, details=details(next_names={"mail": 5}, statistics=(lasting("mail", 900, 0.05),)))
    assert known.service_seconds == pytest.approx(0.05)
    assert known.service_source is Source.STATISTICS


def test_a_change_of_the_work_shows_within_minutes():
    course = Course()
    course.look(details=details(next_names={"mail": 5}, statistics=(lasting("mail", 100_000, 0.05),)))
    for passed in range(1, 19):
        now = counted_more(100_000, 0.05, passed * 100, 0.5)
        known = course.look(
            10, details=details(at=course.at + 10, next_names={"mail": 5}, statistics=(now,), workers=OURS)
        )
        if passed == 1:
            assert 0.4 < known.service_seconds < 0.5
    assert known.service_seconds == pytest.approx(0.5, rel=0.01)


def test_one_odd_job_after_a_quiet_hour_does_not_turn_the_mean_over():
    course = Course()
    course.look(details=details(next_names={"mail": 5}, statistics=(lasting("mail", 100_000, 0.05),)))
    odd = counted_more(100_000, 0.05, 1, 60.0)
    known = course.look(HOUR, details=details(at=course.at + HOUR, next_names={"mail": 5}, statistics=(odd,)))
    assert 1 < known.service_seconds < 10


def test_deleted_statistics_begin_anew_and_forget_no_time():
    course = Course()
    course.look(details=details(next_names={"mail": 5}, statistics=(lasting("mail", 1_000, 0.05),)))
    anew = details(at=NOON + 10, next_names={"mail": 5}, statistics=(lasting("mail", 2, 0.05),))
    assert course.look(10, details=anew).service_seconds == pytest.approx(0.05)
    gone = details(at=NOON + 20, next_names={"mail": 5})
    known = course.look(10, details=gone)
    assert (known.service_seconds, known.service_source) == (pytest.approx(0.05), Source.REMEMBERED)


def test_deleted_statistics_are_noticed_by_their_jobs_also_where_those_since_took_longer():
    course = Course()
    course.look(details=details(next_names={"mail": 5}, statistics=(lasting("mail", 1_000, 0.05),)))
    anew = details(at=NOON + 1, next_names={"mail": 5}, statistics=(lasting("mail", 2, 600),))
    assert course.look(1, details=anew).service_seconds == pytest.approx(1_200 / 12, rel=0.01)


def test_the_histogram_tells_the_percentiles():
    told = counted("mail", h6=940, h10=50, h12=10)
    known = Course().look(details=details(next_names={"mail": 5}, statistics=(told,)))
    assert 0.512 <= known.service_p95_seconds <= 1.024
    assert 1.024 <= known.service_p99_seconds <= 4.096


def test_percentiles_are_those_of_the_mixture():
    statistics = (lasting("mail", 9_000, 0.05), lasting("video", 10, 600))
    half = details(next_names={"mail": 10, "video": 10}, last_names={"mail": 10, "video": 10}, statistics=statistics)
    known = Course().look(details=half)
    assert 524 <= known.service_p95_seconds <= 1_049


def test_statistics_that_nobody_keeps_any_more_do_not_stand_above_the_counters():
    """Workers of another make took over: the counters go on, the statistics stay where they are."""
    course = Course()
    stale = (lasting("mail", 1_000, 60),)
    for passed in range(30):
        seen = details(
            at=course.at + 1, active=(job(owner="another"),), next_names={"mail": 5}, statistics=stale, workers=()
        )
        known = course.look(1, details=seen, active=50, completed_count=100 * passed)
    assert (known.service_source, known.service_seconds) == (Source.COUNTERS, pytest.approx(0.5, rel=0.1))


# The mix of names

MAILS_AND_VIDEOS = (lasting("mail", 50_000, 0.05), lasting("video", 50, 600))


@pytest.mark.parametrize(
    ("next_names", "last_names"),
    [({"mail": 50}, {"video": 50}), ({"video": 50}, {"mail": 50})],
    ids=["mails first", "videos first"],
)
def test_short_mails_and_long_videos_count_as_they_wait_in_either_order(next_names, last_names):
    seen = details(next_names=next_names, last_names=last_names, statistics=MAILS_AND_VIDEOS)
    known = Course().look(waiting=10_000, details=seen)
    assert known.service_seconds == pytest.approx(300, rel=0.15)


def test_only_mails_waiting_is_a_queue_of_mails_though_videos_run():
    running = tuple(job("video", started=NOON - 300) for _ in range(10))
    seen = details(
        active=running, next_names={"mail": 50}, last_names={"mail": 50}, statistics=MAILS_AND_VIDEOS, workers=OURS
    )
    known = Course().look(waiting=10_000, active=10, details=seen)
    assert known.service_seconds < 1


def test_a_running_video_does_not_speak_for_mails_of_which_nothing_is_known():
    running = tuple(job("video", started=NOON - 300) for _ in range(10))
    seen = details(active=running, next_names={"mail": 50}, last_names={"mail": 50})
    assert Course().look(waiting=10_000, active=10, details=seen).service_seconds is None


def test_an_empty_queue_weighs_names_by_how_often_they_end_not_by_what_runs():
    """One job of a thousand is a video: nearly all that run are videos, the mean is 0.65 s."""
    running = tuple(job("video", started=NOON - 300) for _ in range(10))
    known = Course().look(active=10, details=details(active=running, statistics=MAILS_AND_VIDEOS, workers=OURS))
    assert known.service_seconds == pytest.approx(0.05 + 600 / 1_001, rel=0.02)


def test_long_jobs_of_which_none_has_ended_yet_count_as_they_run():
    """Five mails a second; of ten videos that began since, none is in the statistics."""
    course = Course()
    for passed in range(0, 600, 10):
        videos = tuple(job("video", started=NOON + 60 * number) for number in range(passed // 60))
        mails = (lasting("mail", 50 * passed // 10 + 50, 0.05),)
        seen = details(at=course.at + 10, active=videos, statistics=mails, workers=OURS)
        known = course.look(10, active=10, details=seen)
    assert known.service_seconds * 5 == pytest.approx(10, rel=0.4), "S times the pace is what runs"
    assert known.oldest_running_seconds == 600
    assert known.service_p95_seconds < 1


def test_a_job_that_was_seen_runs_on_until_none_is_active():
    course = Course()
    course.look(active=1, details=details(active=(job("video", started=NOON - 600),)))
    assert course.look(10, active=1).oldest_running_seconds == 610
    course.look(1, active=0)
    for passed in (29, 1, 60, 600):
        assert course.look(passed, active=1).oldest_running_seconds is None, "another job, of which nobody knows"


def test_a_reading_older_than_the_details_ends_no_job():
    course = Course()
    course.look(active=0, details=details(at=NOON + 1, active=(job("video", started=NOON - 600),)))
    assert course.look(10, active=1).oldest_running_seconds == 610


def test_details_that_come_late_bring_no_job_back_that_has_ended():
    course = Course()
    course.look(active=0)
    course.look(0, active=0, details=details(at=NOON - 1, active=(job("video", started=NOON - 600),)))
    assert course.look(10, active=1).oldest_running_seconds is None


def test_a_lone_video_in_a_short_queue_is_no_trend():
    seen = details(next_names={"video": 1}, statistics=MAILS_AND_VIDEOS)
    assert Course().look(waiting=1, details=seen).service_seconds < 60


def test_a_name_not_seen_before_takes_as_long_as_expected():
    seen = details(next_names={"film": 90}, statistics=(lasting("mail", 1_000, 0.05),))
    known = Course(expected=10.0).look(waiting=90, details=seen)
    assert known.service_seconds == pytest.approx(9, rel=0.01)


def test_names_beyond_those_that_workers_tell_apart_take_as_long_as_the_others():
    seen = details(next_names={"one of many": 50}, statistics=(lasting("(other)", 1_000, 3),))
    assert Course().look(waiting=50, details=seen).service_seconds == pytest.approx(3)


# Kept jobs and jobs that run


def test_kept_jobs_tell_their_time_by_name():
    mails = [finished("mail", at=NOON - n, seconds=2) for n in range(10)]
    old = finished("video", at=NOON - 2 * 86_400, seconds=9_000)
    kept = (*mails, finished("video", at=NOON, seconds=100), old)
    seen = details(next_names={"mail": 5}, last_names={"video": 5}, finished=kept)
    known = Course().look(waiting=10, details=seen)
    assert (known.service_seconds, known.service_source) == (pytest.approx(51), Source.FINISHED)
    assert known.service_p95_seconds == pytest.approx(153)


def test_a_clock_that_went_back_between_start_and_end_tells_nothing():
    seen = details(next_names={"mail": 5}, finished=(finished("mail", at=NOON, seconds=-5),))
    assert Course().look(waiting=5, details=seen).service_seconds is None


def test_jobs_of_an_hour_make_the_service_time_grow_with_their_age():
    course = Course()
    times = []
    for age in (1, 60, 600, 1_800, 3_500):
        running = tuple(job("film", started=NOON) for _ in range(10))
        seen = details(at=NOON + age, active=running, next_names={"film": 50})
        known = course.look(NOON + age - course.at, waiting=50, active=10, details=seen)
        times.append(known.service_seconds)
    assert times[0] is None, "all have just begun: that they are young tells nothing"
    assert times[1:] == sorted(times[1:])
    for age, seconds in zip((60, 600, 1_800, 3_500), times[1:], strict=True):
        assert age <= seconds <= 2 * age
    assert known.service_source is Source.ACTIVE


def test_jobs_that_are_young_for_minutes_on_end_are_short():
    course = Course()
    for _ in range(30):
        seen = details(at=course.at + 1, active=(job(started=course.at + 0.99),), next_names={"mail": 5})
        known = course.look(1, waiting=50, active=10, details=seen)
    assert (known.service_seconds, known.service_source) == (pytest.approx(0.02), Source.ACTIVE)


def test_no_name_takes_less_than_its_running_jobs_have_run_already():
    running = (job("mail", started=NOON - 90), job("mail", started=NOON - 30), job("mail", started=0, locked=False))
    seen = details(active=running, next_names={"mail": 50}, statistics=(lasting("mail", 1_000, 0.05),), workers=OURS)
    known = Course().look(waiting=50, active=3, details=seen)
    assert known.service_seconds == pytest.approx(60)
    assert known.service_p95_seconds >= 60
    assert known.service_p99_seconds < 1, "no job was measured that took longer"


def test_jobs_that_a_hanging_server_kept_from_ending_are_not_long():
    course, mails = Course(), {"statistics": (lasting("mail", 1_000, 0.1),), "workers": OURS}
    course.look(active=10, details=details(next_names={"mail": 50}, **mails))
    for _ in range(6):
        course.lost(2)
    held = tuple(job("mail", started=NOON + 0.5) for _ in range(10))
    for expected in (0.1, 0.5):
        seen = details(at=course.at + 0.5, active=held, next_names={"mail": 50}, **mails)
        known = course.look(0.5, active=10, waiting=50, details=seen)
        assert known.service_seconds == pytest.approx(expected)
        assert known.service_p99_seconds < 5
    seen = details(at=course.at + 600, active=held, next_names={"mail": 50}, **mails)
    assert course.look(600, active=10, waiting=50, details=seen).service_seconds >= 600


def test_a_queue_that_was_never_read_before_tells_all_of_its_ages():
    course = Course()
    course.lost(2)
    seen = details(at=course.at, active=(job("film", started=NOON - 600),), next_names={"film": 5})
    assert course.look(active=1, waiting=5, details=seen).service_seconds > 600


def test_nor_do_the_counters_tell_less_of_the_names_that_wait():
    course = Course()
    for passed in range(20):
        course.look(1, active=50, completed_count=100 * passed)
    running = tuple(job("film", started=NOON - 600) for _ in range(50))
    seen = details(at=course.at + 1, active=running, next_names={"film": 90}, last_names={"film": 90})
    known = course.look(1, active=50, waiting=5_000, completed_count=1_900, details=seen)
    assert known.service_source is Source.COUNTERS
    assert known.service_seconds > 500


def test_a_service_time_is_a_millisecond_at_least():
    seen = details(next_names={"mail": 5}, statistics=(lasting("mail", 1_000, 0.0),))
    assert Course().look(details=seen).service_seconds == 0.001


def counted_more(jobs, seconds, more, more_seconds):
    """Return statistics of jobs of one length and then of another."""
    first, then = lasting("mail", jobs, seconds), lasting("mail", more, more_seconds)
    return type(first)(
        "mail", jobs + more, first.milliseconds + then.milliseconds, {**first.histogram, **then.histogram}
    )
