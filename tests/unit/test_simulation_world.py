"""The simulated queues and pods: every job once, in BullMQ's order, and pods that end as Kubernetes ends them."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_world import Steps, job, plant, trace

from queueworker_operator.simulation.figures import figures_of
from queueworker_operator.simulation.patterns import Pattern, Shape, make
from queueworker_operator.simulation.plant import PlantQueue
from queueworker_operator.simulation.randomness import exponential, lognormal
from queueworker_operator.simulation.world import World

moments = st.floats(min_value=0, max_value=100)
jobs = st.builds(
    job,
    moments,
    service=st.floats(min_value=0.01, max_value=20),
    queue=st.sampled_from(["q", "other"]),
    due=st.none() | moments,
    priority=st.integers(min_value=0, max_value=3),
)
steps = st.tuples(moments, st.integers(min_value=0, max_value=6))
QUEUES = (PlantQueue(name="q", slots=2), PlantQueue(name="other", slots=1, limit=(2, 5.0)))


@settings(max_examples=60)
@given(st.lists(jobs, max_size=30), st.lists(steps, max_size=8), st.floats(min_value=0, max_value=10))
def test_every_job_ends_once_and_no_pod_runs_more_than_its_slots(jobs, steps, drain):
    world = World(trace(*jobs, seconds=100), plant(queues=QUEUES, drain=drain), Steps(*steps, (101, 2)))
    world.run()
    assert [one.job for one in world.jobs] == list(world.trace.jobs)
    for one in world.jobs:
        assert one.started is not None
        assert one.ended is not None
        assert one.job.ready <= one.started
        assert one.ended == pytest.approx(one.taken + one.service)
    assert sum(queue.completed for queue in world.queues) == len(jobs)
    pods = [*world.pods, *world.past_pods]
    assert sum(pod.served for pod in pods) == sum(one.attempts for one in world.jobs)
    assert sum(one.attempts for one in world.jobs) == len(jobs) + world.interrupted
    # With fewer than all its time to spare no pod can have been busy longer than its slots allow.
    for pod in pods:
        end = world.now if pod.gone is None else pod.gone
        assert pod.busy_seconds <= 3 * (end - pod.created) + 1e-6
    assert all(pod.running == [0, 0] for pod in pods if pod.gone is None)


@settings(max_examples=30)
@given(st.lists(jobs, min_size=1, max_size=20), st.lists(steps, max_size=6))
def test_the_same_trace_and_scaler_give_the_same_run(jobs, steps):
    runs = [World(trace(*jobs), plant(queues=QUEUES), Steps(*steps, (101, 1))).run() for _ in range(2)]
    first, second = ([(one.started, one.ended, one.attempts) for one in run.jobs] for run in runs)
    assert first == second
    assert runs[0].scalings == runs[1].scalings


@pytest.mark.parametrize("pattern", list(Pattern))
def test_a_seed_settles_a_pattern_and_another_gives_another(pattern):
    shape = Shape(queues=("q", "r"), seconds=600, jobs_per_second=0.5)
    one, same, other = (make(pattern, shape, random.Random(seed).random) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert set(one.queues) == {"q", "r"}
    assert all(0 <= one.added < 600 for one in one.jobs)


def test_waits_are_those_of_the_queue_with_ten_servers():
    # M/M/c: the mean wait is C(c, λ/μ) / (cμ - λ), C the formula of Erlang.
    arrivals, servers, count = 8.0, 10, 20_000
    draw = random.Random(5).random
    at, found = 0.0, []
    for _ in range(count):
        at += exponential(draw, 1 / arrivals)
        found.append(job(at, service=exponential(draw, 1.0)))
    world = World(trace(*found, seconds=at), plant(slots=2, initial=5), Steps()).run()
    top = arrivals**servers / math.factorial(servers) * servers / (servers - arrivals)
    erlang_c = top / (sum(arrivals**k / math.factorial(k) for k in range(servers)) + top)
    waits = [one.started - one.ready for one in world.jobs]
    assert sum(waits) / count == pytest.approx(erlang_c / (servers - arrivals), rel=0.15)
    assert sum(wait > 0 for wait in waits) / count == pytest.approx(erlang_c, rel=0.1)
    figures = figures_of(world, max_wait=30, window=120)
    assert figures.idle_share == pytest.approx(1 - arrivals / servers, abs=0.02)


def test_a_log_normal_duration_has_its_mean():
    draw = random.Random(3).random
    times = [lognormal(draw, 4.0, spread=0.5) for _ in range(20_000)]
    assert sum(times) / len(times) == pytest.approx(4.0, rel=0.03)
    assert lognormal(draw, 4.0, spread=0) == 4.0


def test_jobs_without_a_priority_go_first_then_the_lowest_number():
    given = [job(0, priority=5), job(1, priority=1), job(2), job(3, priority=1), job(4)]
    world = World(trace(*given), plant(start_up=10), Steps((0, 1))).run()
    order = sorted(world.jobs, key=lambda one: one.started)
    assert [one.number for one in order] == [2, 4, 1, 3, 0]
    assert [one.started for one in order] == [10, 11, 12, 13, 14]


def test_a_delayed_job_starts_when_it_is_due_and_waits_in_delayed_while_there_is_no_worker():
    world = World(trace(job(0, due=30), job(0, due=5)), plant(start_up=0), Steps((20, 1)))
    seen = []
    world.at(19, lambda _: seen.append((len(world.queues[0].wait), len(world.queues[0].delayed))))
    world.run()
    assert seen == [(0, 2)]
    assert [one.started for one in world.jobs] == [30, 20]


def test_a_pod_that_ends_finishes_its_job_and_takes_no_other():
    world = World(trace(job(0, service=30), job(5)), plant(initial=1, start_up=10), Steps((10, 0), (20, 1))).run()
    assert world.jobs[0].ended == 30
    assert world.jobs[1].started == 30
    assert world.interrupted == 0
    ended = next(pod for pod in world.past_pods if pod.initial)
    assert (ended.terminating, ended.gone) == (10, 30)


def test_what_outlasts_the_drain_time_goes_back_and_runs_again():
    world = World(trace(job(0, service=30)), plant(initial=2, drain=5), Steps((10, 0), (40, 1))).run()
    assert world.interrupted == 1
    assert world.jobs[0].attempts == 2
    assert (world.jobs[0].started, world.jobs[0].ended) == (0, 80)


def test_victims_and_pods_that_are_not_ready_go_first():
    world = World(trace(job(0, service=100), seconds=30), plant(initial=3, start_up=10), Steps())
    world.at(1, lambda _: world.scale(4))
    world.at(2, lambda _: world.scale(2, victims=["worker-1"]))
    world.run()
    gone = {pod.name for pod in world.past_pods} | {pod.name for pod in world.pods if pod.terminating is not None}
    assert gone == {"worker-1", "worker-4"}


def test_a_rate_limit_holds_over_all_pods():
    limited = plant(initial=3, queues=[PlantQueue(name="q", slots=2, limit=(2, 10.0))])
    world = World(trace(*(job(0, service=0.1) for _ in range(6))), limited, Steps()).run()
    assert sorted(one.started for one in world.jobs) == [0, 0, 10, 10, 20, 20]


def test_figures_count_what_was_paid_and_what_it_was_paid_for():
    world = World(trace(job(0, service=5), seconds=100), plant(start_up=10), Steps((0, 2), (50, 1), (60, 2), (90, 0)))
    figures = figures_of(world.run(), max_wait=5, window=30)
    assert figures.pod_seconds == 90 + 50 + 30
    assert (figures.starts, figures.idle_starts) == (3, 2)
    assert figures.idle_start_share == pytest.approx(2 / 3)
    assert (figures.scale_events, figures.direction_changes, figures.quick_direction_changes) == (4, 3, 1)
    assert figures.waits.p50 == figures.waits.longest == 10
    assert figures.over_target == 1.0
    assert figures.pod_seconds_per_1000_jobs == 170_000
    assert figures.idle_share == pytest.approx(1 - 5 / (80 + 40 + 20))


def test_a_job_that_nobody_takes_counts_as_waiting_to_the_end():
    figures = figures_of(World(trace(job(0), seconds=100), plant(), Steps()).run(), max_wait=30, window=120)
    assert figures.never_started == 1
    assert figures.waits.longest >= 100
    assert figures.pod_seconds == 0
    assert figures.pod_seconds_per_1000_jobs is None
