"""Our operator in the simulation sees what it would see, and acts as soon as it would."""

import pytest
from simulation_world import Steps, job, plant, spec, trace

from queueworker_operator.simulation.figures import figures_of
from queueworker_operator.simulation.operator import NEW_YEAR, Operator
from queueworker_operator.simulation.plant import plant_of
from queueworker_operator.simulation.readings import details_of, snapshot_of, workers_of
from queueworker_operator.simulation.world import World


def run(spec_, *jobs, seconds=600.0, **pods):
    operator = Operator(spec_)
    return World(trace(*jobs, seconds=seconds), plant(**pods), operator).run(), operator


def test_the_first_job_of_a_quiet_queue_wakes_it_within_milliseconds():
    world, _ = run(spec(), job(100), slots=4)
    at, before, after = world.scalings[0]
    assert (before, after) == (0, 1)
    assert at == pytest.approx(100.007, abs=0.001)
    assert world.jobs[0].started == pytest.approx(110, abs=0.1)


def test_it_goes_to_zero_after_the_window_and_no_job_is_interrupted():
    world, _ = run(spec(), *(job(10 + i / 100, service=3) for i in range(100)), slots=4, drain=1)
    assert world.replicas == 0
    assert all(one.ended is not None for one in world.jobs)
    assert world.interrupted == 0
    assert len(world.pods) == 0


def test_a_delayed_job_finds_a_ready_worker_when_it_is_due():
    world, _ = run(spec(), job(0, due=300), slots=4)
    assert world.jobs[0].started == pytest.approx(300, abs=0.3)


def test_the_queues_of_one_spec_are_served_by_the_same_pods():
    chosen = spec(queues=("q", "other"), concurrency=2)
    pods = plant_of(chosen, lambda: 0.5, start_up=5)
    world = World(trace(job(10), job(20, queue="other")), pods, Operator(chosen)).run()
    assert [one.started is not None for one in world.jobs] == [True, True]
    assert figures_of(world, max_wait=30, window=120).starts == 1


def test_what_a_dry_run_or_a_pause_would_not_write_is_simulated_all_the_same():
    world, _ = run(spec(dryRun=True, paused=True), job(10), slots=4)
    assert world.jobs[0].started is not None


def test_the_limits_of_the_spec_hold():
    world, _ = run(spec(minReplicas=2, maxReplicas=3), *(job(10, service=20) for _ in range(100)), slots=1, initial=2)
    assert {after for _, _, after in world.scalings} <= {2, 3}


def test_a_burst_is_written_for_its_first_job_and_for_all_when_it_ends():
    burst = [job(10 + number * 0.002, service=30) for number in range(100)]
    world, _ = run(spec(maxReplicas=50, target={"backlogPerReplica": 4}), *burst, slots=4)
    ended = burst[-1].added
    first, last, *_ = [(at, after) for at, _, after in world.scalings]
    assert first == (pytest.approx(10.007, abs=0.001), 1)
    assert last == (pytest.approx(ended + 0.055, abs=0.02), 25)


def test_a_reading_tells_what_the_queue_holds():
    given = [job(0, service=50, name="slow"), job(1), job(2, priority=4), job(2, due=20), job(2, due=100)]
    world = World(trace(*given, seconds=90), plant(initial=1), Steps())
    found = []

    def look(_):
        queue = world.queues[0]
        found.append(snapshot_of(queue, world.now, epoch=NEW_YEAR, horizon=32.0, prefix="bull", last_event_at=29.5))
        found.append(details_of(queue, world.pods, world.now, epoch=NEW_YEAR, prefix="bull"))
        found.append(workers_of(world.pods, world.replicas, epoch=NEW_YEAR, listed=True, generation="1"))

    world.at(30, look)
    world.run()
    snapshot, details, workers = found
    assert (snapshot.waiting, snapshot.prioritized, snapshot.active) == (1, 1, 1)
    assert (snapshot.delayed, snapshot.delayed_due, snapshot.delayed_due_soon, snapshot.backlog) == (2, 1, 1, 3)
    assert snapshot.oldest_age_seconds == 29
    assert snapshot.now_ms == int((NEW_YEAR + 30) * 1000)
    assert snapshot.last_event_id == f"{int((NEW_YEAR + 29.5) * 1000)}-0"
    assert (snapshot.completed_count, snapshot.added_count) == (0, 5)
    [active] = details.active
    assert (active.name, active.owner, active.locked) == ("slow", "worker-1", True)
    assert details.next_names == {"send": 2}
    assert [one.slots for one in details.workers] == [1]
    assert (workers.replicas, workers.ready, workers.present) == (1, 1, 1)
    assert [one.name for one in workers.pods or ()] == ["worker-1"]


def test_statistics_are_those_that_the_workers_wrote_at_their_last_heartbeat():
    world = World(trace(job(0, service=1.0), job(1, service=4.0), seconds=30), plant(initial=2), Steps())
    world.keep_statistics()
    seen = {}
    for at in (2, 4, 7):
        world.at(at, lambda at: seen.update({at: world.queues[0].statistics}), at)
    world.run()
    assert seen[2] == ()
    assert [(one.jobs, one.milliseconds) for one in seen[4]] == [(1, 1000)]
    assert [(one.jobs, one.milliseconds) for one in seen[7]] == [(2, 5000)]
    assert seen[7][0].histogram == {10: 1, 12: 1}


def test_names_beyond_a_hundred_are_counted_together_as_the_workers_do():
    world = World(trace(*(job(0, name=f"job-{n}") for n in range(150))), plant(slots=150, initial=1), Steps()).run()
    world.queues[0].write_statistics()
    tallies = {one.name: one.jobs for one in world.queues[0].statistics}
    assert (len(tallies), tallies["(other)"], sum(tallies.values())) == (101, 50, 150)
