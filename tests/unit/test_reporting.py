"""The status that is built of a look: what stands in it, and that looks which say nothing new write nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
import virtual_time
from reconciler_cluster import FakeCluster, clock
from reconciler_world import document
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec, workers

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionType, ScalingReason
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.conditions import Facts
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.reporting import (
    NUMBER_WRITES_PER_SECOND,
    STATUS_SECONDS,
    Reporter,
    build_status,
)
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.record import Difference, difference

FINE = Facts(generation=1, applied=True)
RESOURCE = resource_of(document())
LOOK = seen(queue(waiting=300, active=20), workers_=workers(15, selector="queueworker.dev/queueworker=mail"))


def remembered(status: api.QueueWorkerStatus | None = None) -> Memory:
    return Memory(uid="u", history=History(), status=status)


def decided(look: Observation = LOOK) -> Decision:
    return decide(look, spec(target=20), CONFIRMED, NOON)


def test_the_status_tells_what_was_seen_decided_and_measured() -> None:
    status = build_status(LOOK, decided(), FINE, remembered(), now=NOON)
    assert (status.observed_generation, status.replicas, status.ready_replicas) == (1, 15, 15)
    assert status.selector == "queueworker.dev/queueworker=mail"
    assert status.scaling is not None
    assert [(one.name, one.backlog, one.slots) for one in status.scaling.inputs.queues or ()] == [("killmail", 300, 10)]
    assert {one.type for one in status.conditions or ()} == set(ConditionType)


def test_what_was_done_to_the_template_is_kept() -> None:
    memory = replace(remembered(), applied_fields="digest", drift_corrected_at=NOON - 60)
    status = build_status(LOOK, decided(), FINE, memory, now=NOON)
    assert status.scaling is not None
    assert status.scaling.memory is not None
    assert status.scaling.memory.applied_fields == "digest"
    assert status.scaling.memory.drift_corrected_at is not None


def test_conditions_that_say_the_same_are_the_same_objects() -> None:
    first = build_status(LOOK, decided(), FINE, remembered(), now=NOON)
    again = build_status(LOOK, decided(), FINE, remembered(first), now=NOON + 60)
    assert difference(first, again) is Difference.NONE
    assert all(one is other for one, other in zip(first.conditions or (), again.conditions or (), strict=True))


@pytest.mark.parametrize("active", [0, 12])
def test_twenty_minutes_at_rest_write_nothing(active: int) -> None:
    ticker = Ticker(spec(min_replicas=1, window=10, cooldown_seconds=10), replicas=1, history=CONFIRMED)
    look = queue(active=active, completed_count=7, failed_count=0)
    ticker.run(look, seconds=120)
    status: api.QueueWorkerStatus | None = None
    written = 0
    for _ in range(200):
        decision = ticker.tick(look, seconds=6.0)
        seen_now = seen(look, replicas=ticker.replicas)
        built = build_status(seen_now, decision, FINE, remembered(status), now=ticker.now)
        if difference(status, built) is not Difference.NONE:
            written += 1
            status = built
    assert written == 1, status


def test_slots_that_were_not_needed_put_nobody_off() -> None:
    """Numbers wait for their slot, and are told with a decision before it comes: over and over, by all of them."""
    crowd = [remembered() for _ in range(100)]
    numbers, rounds = iter(range(10**6)), 20

    async def told(reporter: Reporter, memory: Memory, *, desired: int) -> float | None:
        scaling = api.Scaling(desired=desired, reason=ScalingReason.KEEP_UP, message=str(next(numbers)))
        return await reporter.report(RESOURCE, memory, api.QueueWorkerStatus(scaling=scaling))

    async def story() -> list[float]:
        waits, reporter = [0.0], Reporter(FakeCluster(), clock=clock)
        for desired in range(rounds):
            for memory in crowd:
                while (pause := await told(reporter, memory, desired=desired)) is not None:
                    waits.append(pause)
                    await asyncio.sleep(pause)
            await asyncio.sleep(STATUS_SECONDS)
            waits += [await told(reporter, memory, desired=desired) or 0.0 for memory in crowd]
        return waits

    assert max(virtual_time.run(story())) <= len(crowd) / NUMBER_WRITES_PER_SECOND


def test_a_look_without_news_is_cheap_to_compare() -> None:
    decision = decided()
    memory = remembered(build_status(LOOK, decision, FINE, remembered(), now=NOON))

    def compared() -> Difference:
        return difference(memory.status, build_status(LOOK, decision, FINE, memory, now=NOON))

    assert compared() is Difference.NONE
    best = min(_seconds_of(compared, 20) for _ in range(30))
    # 100 us on an idle core; one whose sibling is busy takes three times as long.
    assert best < 600e-6, f"{best * 1e6:.0f} us"


def _seconds_of(call: object, times: int) -> float:
    assert callable(call)
    began = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - began) / times
