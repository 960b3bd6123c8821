"""The operator is killed between decision and status: the next one ends up where it should, with no write too many."""

import pytest
from acceptance import OperatorProcess, ReplicaWatch, Story, eventually, running_operator
from autoscaling import IDLE, KEYS, add, holds, scaled_to, settled

from queueworker_operator.reconciler.failpoints import EXIT_CODE, VARIABLE, Failpoint

pytestmark = pytest.mark.long

SCALING = {
    "target": {"backlogPerReplica": 10, "expectedJobMilliseconds": 10},
    "maxReplicas": 20,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    # With a cooldown two good readings within it would rightly make two decisions of the way to zero.
    "cooldownSeconds": 0,
}


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "killed", redis_settings)
    yield told
    told.close()


@pytest.fixture
def mortal(control_plane, namespace):
    """An operator that can be told where to die."""
    operator = OperatorProcess(control_plane, namespace)
    yield operator
    print(f"--- operator\n{operator.log.read_text()[-8000:]}")
    operator.stop()
    operator.log.unlink()


def dies(operator, point):
    """Run it until it ends itself at the failpoint."""
    operator.environment = {VARIABLE: point}
    operator.start(ready=False)
    code = operator.ends()
    assert code == EXIT_CODE, f"not at {point}: {operator.log.read_text()[-4000:]}"
    operator.environment = {}


async def grow(story):
    await add(story, 50)


async def shrink(story):
    story.redis.delete(f"{KEYS}:prioritized", f"{KEYS}:wait", f"{KEYS}:marker")


async def kill_at_each(story, mortal, ways):
    """Let the operator die once in each way, then another one finish what it began."""
    with running_operator(mortal.plane, mortal.namespace):
        story.apply(worker=IDLE, autoscaling=SCALING)
        settled(story)
    expected = [0]
    with ReplicaWatch(story) as watch:
        eventually(lambda: watch.values == [0], what="the watch", state=lambda: watch.values)
        for change, number, point in ways:
            await change(story)
            dies(mortal, point)
            expected.append(number)
            mortal.start()
            scaled_to(story, number)
            eventually(
                lambda number=number: story.scaling()["desired"] == number and story.status()["replicas"] == number,
                what=f"a status of {number} after {point}",
                state=story.status,
            )
            await holds(lambda: watch.values == expected, seconds=0.6, state=lambda: (watch.values, expected))
            mortal.stop()


@pytest.mark.timeout(240)
async def test_killed_at_every_point_it_converges_without_a_write_too_many(story, mortal):
    ways = [
        (grow, 5, Failpoint.AFTER_DECIDE),
        (shrink, 0, Failpoint.BEFORE_SCALE),
        (grow, 5, Failpoint.AFTER_SCALE),
        (shrink, 0, Failpoint.BEFORE_STATUS),
        (grow, 5, Failpoint.AFTER_STATUS),
    ]
    assert {point for _, _, point in ways} == set(Failpoint)
    await kill_at_each(story, mortal, ways)


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_killed_at_every_point_in_the_other_direction(story, mortal):
    ways = [
        (grow, 5, Failpoint.BEFORE_SCALE),
        (shrink, 0, Failpoint.AFTER_DECIDE),
        (grow, 5, Failpoint.BEFORE_STATUS),
        (shrink, 0, Failpoint.AFTER_SCALE),
        (grow, 5, Failpoint.AFTER_DECIDE),
        (shrink, 0, Failpoint.AFTER_STATUS),
    ]
    await kill_at_each(story, mortal, ways)
