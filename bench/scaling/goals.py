"""What the figures should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Figures = Mapping[str, Mapping[str, float | int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and the most that it may be."""

    row: str
    figure: str
    most: float


GOALS: Mapping[str, tuple[Goal, ...]] = {
    "burst": (
        Goal(row="first add → a replica", figure="p50", most=0.040),
        Goal(row="first add → a replica", figure="p99", most=0.250),
        Goal(row="last add → final number", figure="p50", most=0.100),
        Goal(row="last add → final number", figure="p99", most=0.250),
        Goal(row="writes", figure="max", most=2),
    ),
    "crowd": (
        Goal(row="first add → a replica", figure="p99", most=0.500),
        Goal(row="last add → final number", figure="p99", most=0.500),
    ),
    "fleet-1000": (
        Goal(row="1000 QueueWorkers", figure="created_decided_s", most=15),
        Goal(row="1000 QueueWorkers", figure="restart_decided_s", most=5),
        Goal(row="1000 QueueWorkers", figure="rest_cpu_s_per_min", most=1),
        Goal(row="1000 QueueWorkers", figure="rest_rss_mib", most=250),
        Goal(row="1000 QueueWorkers", figure="rest_api_writes", most=0),
        Goal(row="1000 QueueWorkers", figure="redis_connections", most=4),
    ),
    "fleet-5000": (
        Goal(row="5000 QueueWorkers", figure="created_decided_s", most=75),
        Goal(row="5000 QueueWorkers", figure="restart_decided_s", most=20),
        Goal(row="5000 QueueWorkers", figure="rest_cpu_s_per_min", most=4),
        Goal(row="5000 QueueWorkers", figure="rest_rss_mib", most=600),
        Goal(row="5000 QueueWorkers", figure="rest_api_writes", most=0),
        Goal(row="5000 QueueWorkers", figure="redis_connections", most=4),
    ),
    "busy": (
        Goal(row="1000 busy queues", figure="decision_lag_p99_s", most=1),
        Goal(row="1000 busy queues", figure="cpu_cores", most=0.6),
        Goal(row="1000 busy queues", figure="api_writes_per_s", most=20),
    ),
}


def verdicts(part: str, rows: Figures) -> Iterator[str]:
    """Yield a line for each goal of a part: met or missed, and by what."""
    for goal in GOALS.get(part, ()):
        value = rows[goal.row][goal.figure]
        word = "met   " if value <= goal.most else "MISSED"
        yield f"{word} {part}: {goal.row}: {goal.figure} {value:.3g}, at most {goal.most:g}"
