"""What a course of jobs costs at the least, where pods may be started ahead of need.

A pod of level k is there while more than k-1 pods are needed. Each start costs its start-up time; a pod that is needed
again within a start-up time stays. For given starts of jobs no other choice costs less.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence

Interval = tuple[float, float]
Step = tuple[float, int]
"""From this moment so many pods are needed."""


def needed(jobs: Sequence[Iterable[Interval]], slots: Sequence[int]) -> list[Step]:
    """Return how many pods jobs occupy over time: per queue the intervals in which its jobs run, and the slots."""
    running = [0] * len(slots)
    steps: list[Step] = []
    for at, queue, change in heapq.merge(*(_edges(intervals, i) for i, intervals in enumerate(jobs))):
        running[queue] += change
        pods = max(-(-busy // c) for busy, c in zip(running, slots, strict=True))
        if steps and steps[-1][0] == at:
            steps[-1] = (at, pods)
        elif not steps or steps[-1][1] != pods:
            steps.append((at, pods))
    return steps


def cost(steps: Iterable[Step], *, start_up: float, minimum: int, end: float) -> float:
    """Return the pod-seconds of the cheapest pods that are there when needed; `minimum` of them stay all the time."""
    total, pods, since = minimum * end, 0, 0.0
    gone_at: list[float | None] = []
    for at, wanted in steps:
        total += max(0, pods - minimum) * (at - since)
        for level in range(max(pods, minimum), wanted):
            if level - minimum >= len(gone_at):
                gone_at.append(None)
            gone = gone_at[level - minimum]
            total += start_up if gone is None else min(start_up, at - gone)
        for level in range(max(wanted, minimum), pods):
            gone_at[level - minimum] = at
        pods, since = wanted, at
    return total


def _edges(intervals: Iterable[Interval], queue: int) -> Iterator[tuple[float, int, int]]:
    edges = []
    for begin, end in intervals:
        edges.append((begin, queue, 1))
        edges.append((end, queue, -1))
    # What ends comes before what begins in the same moment: its slot is free again.
    edges.sort(key=lambda edge: (edge[0], edge[2]))
    return iter(edges)
