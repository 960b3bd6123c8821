"""Courses over time, for charts: replicas and backlog at evenly spaced moments."""

from collections.abc import Sequence
from itertools import accumulate

from queueworker_operator.simulation.world import World


def moments(world: World, count: int) -> list[float]:
    """Return the ends of `count` equal parts of a run."""
    return [world.now * (i + 1) / count for i in range(count)]


def replicas(world: World, at: Sequence[float]) -> list[int]:
    """Return the highest number of replicas since the moment before, for each moment."""
    return _highest([(0.0, world.plant.initial), *((when, after) for when, _, after in world.scalings)], at)


def planned(steps: Sequence[tuple[float, int]], minimum: int, at: Sequence[float]) -> list[int]:
    """Return the same of a course that is given as steps."""
    return _highest([(0.0, minimum), *((when, max(minimum, pods)) for when, pods in steps)], at)


def backlog(world: World, at: Sequence[float]) -> list[int]:
    """Return the most jobs that were ready and not yet started since the moment before, for each moment."""
    changes = sorted(
        [(job.ready, 1) for job in world.jobs] + [(j.started, -1) for j in world.jobs if j.started is not None]
    )
    steps = [(0.0, 0), *zip((when for when, _ in changes), accumulate(change for _, change in changes), strict=True)]
    # Of several changes in one moment only the last says what then waited.
    return _highest([step for i, step in enumerate(steps) if i + 1 == len(steps) or steps[i + 1][0] != step[0]], at)


def _highest(steps: Sequence[tuple[float, int]], at: Sequence[float]) -> list[int]:
    found = []
    position, value = 0, steps[0][1]
    for when in at:
        highest = value
        while position < len(steps) and steps[position][0] <= when:
            value = steps[position][1]
            highest = max(highest, value)
            position += 1
        found.append(highest)
    return found
