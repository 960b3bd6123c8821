"""The optimum is below everybody, keeps the wait, and its parts compute what they say."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_world import Steps, job, plant, spec, trace

from queueworker_operator.simulation.compare import compare
from queueworker_operator.simulation.figures import figures_of
from queueworker_operator.simulation.keda import Keda, defaults
from queueworker_operator.simulation.levels import cost, needed
from queueworker_operator.simulation.optimum import floor, optimum
from queueworker_operator.simulation.patterns import Pattern, Shape, make
from queueworker_operator.simulation.plant import PlantQueue, plant_of
from queueworker_operator.simulation.taut import taut_string
from queueworker_operator.simulation.world import World


def test_pods_are_needed_while_their_slots_are_and_the_queue_that_needs_most_counts():
    first, second = [(0, 10), (0, 10), (5, 10), (10, 12)], [(8, 20)]
    assert needed([first], [2]) == [(0, 1), (5, 2), (10, 1), (12, 0)]
    assert needed([first, second], [2, 1]) == [(0, 1), (5, 2), (10, 1), (20, 0)]


@pytest.mark.parametrize(
    ("steps", "minimum", "expected"),
    [
        ([(100, 1), (110, 0)], 0, 10 + 10),  # one start
        ([(100, 1), (110, 0), (114, 1), (120, 0)], 0, 10 + 10 + 4 + 6),  # stays over a short gap
        ([(100, 1), (110, 0), (150, 1), (160, 0)], 0, 10 + 10 + 10 + 10),  # starts again after a long one
        ([(100, 3), (110, 1), (120, 0)], 0, 30 + 30 + 10),
        ([(100, 3), (110, 1), (120, 0)], 1, 600 + 20 + 20),  # one is there all the time
        ([], 2, 1200),
    ],
)
def test_the_cost_of_a_course_is_its_pod_seconds_and_its_starts(steps, minimum, expected):
    assert cost(steps, start_up=10, minimum=minimum, end=600) == expected


rises = st.lists(st.floats(min_value=0, max_value=50), min_size=2, max_size=40)


@settings(max_examples=150)
@given(rises, st.integers(min_value=0, max_value=6))
def test_the_taut_string_stays_between_the_curves_and_turns_least(increments, lag):
    upper = [0.0]
    for one in increments:
        upper.append(upper[-1] + one)
    upper += [upper[-1]] * lag
    lower = [upper[max(0, i - lag)] for i in range(len(upper))]
    line = taut_string(lower, upper)
    assert line[0] == 0
    assert line[-1] == pytest.approx(upper[-1])
    for low, at, high in zip(lower, line, upper, strict=True):
        assert low - 1e-6 <= at <= high + 1e-6
    assert _turning(line) <= min(_turning(lower), _turning(upper)) + 1e-6


def _turning(line):
    slopes = [b - a for a, b in itertools.pairwise(line)]
    return sum(abs(b - a) for a, b in itertools.pairwise(slopes))


def test_without_an_allowed_wait_the_line_is_the_arrivals_themselves():
    assert taut_string([0, 5, 5, 9], [0, 5, 5, 9]) == [0, 5, 5, 9]


def test_a_burst_costs_the_work_and_one_start_where_it_may_wait_for_one_pod():
    load = trace(*(job(0, service=1) for _ in range(100)))
    pods = plant(slots=1, start_up=10)
    slow = World(load, pods, Steps((0, 1), (200, 0))).run()
    found = optimum(load, pods, p95=100.0, beside=[slow])
    assert found.pod_seconds == pytest.approx(110)
    assert found.floor == 110
    assert found.p95 <= 100


@pytest.mark.parametrize("pattern", [Pattern.BURST, Pattern.SPIKY, Pattern.DELAYED])
def test_the_optimum_costs_less_than_every_scaler_that_waits_as_little_and_no_less_than_the_floor(pattern):
    load = make(pattern, Shape(queues=("q",), seconds=400, jobs_per_second=0.3, service=2), random.Random(4).random)
    pods = plant(slots=1, start_up=8)
    runs = [
        World(load, pods, Keda(defaults(min_replicas=0, max_replicas=30))).run(),
        World(load, pods, Steps((10, 12), (380, 0))).run(),
        World(load, pods, Steps((10, 2), (200, 4))).run(),
    ]
    figures = [figures_of(run, max_wait=30, window=120) for run in runs]
    found = {one.waits.p95: optimum(load, pods, p95=one.waits.p95, beside=runs) for one in figures}
    for p95, best in found.items():
        assert best.p95 <= p95
        assert best.floor <= best.pod_seconds + 1e-6
        assert all(best.pod_seconds <= one.pod_seconds for one in figures if one.waits.p95 <= p95)
    # Who may wait longer never pays more.
    costs = [found[p95].pod_seconds for p95 in sorted(found)]
    assert costs == sorted(costs, reverse=True)


def test_the_floor_takes_the_queue_with_most_work_and_the_minimum():
    queues = [PlantQueue(name="q", slots=2), PlantQueue(name="other", slots=1)]
    load = trace(job(0, service=10), job(0, service=8, queue="other"))
    assert floor(load, plant(queues=queues), start_up=5) == 8 + 5
    assert floor(load, plant(queues=queues, initial=1), start_up=5) == 600
    assert floor(trace(), plant(), start_up=5) == 0


def test_luck_with_a_start_makes_nobody_cheaper_than_the_optimum():
    load = trace(job(0.002, service=0.004), seconds=0.005)
    lucky = replace(plant(), start_up=lambda _: 2.0)
    run = World(load, lucky, Steps((0, 1), (2.01, 0))).run()
    cost = figures_of(run, max_wait=30, window=120).pod_seconds
    assert cost < lucky.mean_start_up
    found = optimum(load, lucky, p95=10.0, beside=[run])
    assert found.floor <= found.pod_seconds <= cost


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    jobs=st.lists(st.tuples(st.floats(0, 60), st.floats(0.001, 20)), min_size=1, max_size=12),
    start_up=st.sampled_from((0.0, 0.5, 10.0, 60.0)),
    minimum=st.sampled_from((0, 1, 2)),
)
def test_ours_never_costs_less_than_the_optimum_or_the_floor(seed, jobs, start_up, minimum):
    wish = spec(queues=["q"], minReplicas=minimum, maxReplicas=5)
    load = trace(*(job(at, service=service) for at, service in jobs), seconds=max(at for at, _ in jobs))
    found = compare(load, wish, plant_of(wish, random.Random(seed).random, start_up=start_up), tune=False)
    assert found.times_optimum >= 1
    assert found.optimum.floor <= found.ours.figures.pod_seconds + 1e-6
