"""The model of KEDA and its HPA does what was measured of them."""

import itertools

import pytest
from simulation_world import job, plant, trace

from queueworker_operator.simulation.keda import Keda, KedaSettings, Metric, defaults, with_formula
from queueworker_operator.simulation.tuning import grid
from queueworker_operator.simulation.world import World


def run(settings, *jobs, seconds=600.0, **pods):
    return World(trace(*jobs, seconds=seconds), plant(**pods), Keda(settings)).run()


def test_from_zero_it_doubles_every_fifteen_seconds_as_measured():
    # A start-up longer than the run: pods that do not pop the list, as in the measurement.
    settings = KedaSettings(list_length=10, max_replicas=100)
    world = run(settings, *(job(0) for _ in range(1000)), seconds=130, start_up=10_000)
    assert [after for _, _, after in world.scalings] == [1, 4, 8, 16, 32, 64, 100]
    first, *later = [at for at, _, _ in world.scalings]
    assert first == 15
    assert [round(b - a, 6) for a, b in itertools.pairwise(later)] == [15] * 5


def test_with_behavior_the_first_step_is_four_pods_more():
    settings = KedaSettings(list_length=10, max_replicas=100, behavior=True)
    world = run(settings, *(job(0) for _ in range(1000)), seconds=130, start_up=10_000)
    assert [after for _, _, after in world.scalings] == [1, 5, 10, 20, 40, 80, 100]


def test_from_a_hundred_to_one_in_one_step_after_the_window_and_to_zero_after_the_cooldown():
    settings = KedaSettings(list_length=10, polling_interval=1, max_replicas=100)
    # The first pod empties the list at once when it is ready, after 1 + 200 seconds.
    jobs = [job(0, service=0.5) for _ in range(1000)]
    world = run(settings, *jobs, seconds=900, start_up=200, slots=1000)
    assert max(after for _, _, after in world.scalings) == 100
    emptied = 1 + 200
    (down, _, low), (zero, _, none) = [one for one in world.scalings if one[2] < one[1]]
    assert (low, none) == (1, 0)
    assert 285 <= down - emptied <= 315
    assert 270 <= zero - emptied <= 330


def test_the_length_of_wait_tells_nothing_of_priorities_delays_and_running_jobs():
    settings = defaults(min_replicas=0, max_replicas=10)
    world = run(settings, job(0, priority=1), job(0, due=10), job(0, due=20), seconds=300)
    assert world.scalings == []


def test_the_formula_sees_priorities_and_running_jobs():
    settings = with_formula(defaults(min_replicas=0, max_replicas=10), slots=2)
    assert (settings.metric, settings.list_length) == (Metric.WAIT_AND_ACTIVE, 2.0)
    world = run(settings, *(job(0, priority=1, service=100) for _ in range(8)), seconds=300, slots=2)
    assert max(after for _, _, after in world.scalings) == 4
    assert all(one.ended is not None for one in world.jobs)


def test_a_difference_within_the_tolerance_changes_nothing():
    settings = KedaSettings(list_length=10, max_replicas=100, min_replicas=1)
    world = run(settings, *(job(0) for _ in range(11)), seconds=100, initial=1, start_up=0, slots=1)
    assert world.scalings == []


@pytest.mark.parametrize("minimum", [0, 2])
def test_the_grid_is_within_the_limits_and_tries_a_minimum_of_one_where_zero_is_allowed(minimum):
    tried = list(grid(slots=4, min_replicas=minimum, max_replicas=30))
    assert {one.min_replicas for one in tried} == ({0, 1} if minimum == 0 else {2})
    assert {one.max_replicas for one in tried} == {30}
    assert {one.metric for one in tried} == set(Metric)
    assert len(set(tried)) == len(tried)
