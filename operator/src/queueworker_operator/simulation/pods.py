"""Simulated pods: they start, take jobs, and end when their last job has ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class SimulatedPod:
    """One pod; times are seconds since the run began."""

    name: str
    created: float
    running: list[int]
    """Jobs that run, by queue."""
    ready_at: float | None = None
    terminating: float | None = None
    gone: float | None = None
    initial: bool = False
    """It was there when the run began."""
    served: int = 0
    """Jobs that it took."""
    busy_seconds: float = 0.0
    """Time that its slots spent on jobs, summed over the slots."""

    @property
    def live(self) -> bool:
        """Whether the Deployment counts it."""
        return self.terminating is None and self.gone is None

    @property
    def takes_jobs(self) -> bool:
        """Whether its worker fetches."""
        return self.ready_at is not None and self.terminating is None


def leave_first(pods: Iterable[SimulatedPod], victims: Sequence[str]) -> list[SimulatedPod]:
    """Return pods in the order in which a ReplicaSet deletes them.

    Not ready before ready, then the lower deletion cost, then the one that became ready last (KEP-2255).
    """
    chosen = frozenset(victims)

    def rank(pod: SimulatedPod) -> tuple[bool, bool, float]:
        since = pod.created if pod.ready_at is None else pod.ready_at
        return pod.ready_at is not None, pod.name not in chosen, -since

    return sorted(pods, key=rank)
