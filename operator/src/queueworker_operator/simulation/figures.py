"""What came of a run."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.simulation.jobs import SimulatedJob
from queueworker_operator.simulation.keda import KedaSettings
from queueworker_operator.simulation.pods import SimulatedPod
from queueworker_operator.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long jobs waited from ready to their first start; seconds."""

    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one scaler came to on one trace."""

    jobs: int
    never_started: int
    """Jobs that no pod took, not even in the hour after the trace: they count as waiting until then."""
    waits: Waits
    over_target: float
    """The share of jobs that waited longer than maxWaitSeconds."""
    pod_seconds: float
    """From the write that asked for a pod until it was gone, summed over the pods."""
    idle_share: float | None
    """The share of the slots of ready pods that ran no job, over time; None where no pod ever was ready."""
    most_pods: int
    scale_events: int
    direction_changes: int
    """Up after down, or down after up."""
    quick_direction_changes: int
    """Those within a stabilization window of the one before."""
    starts: int
    """Pods that were started, those at the beginning left out,"""
    idle_starts: int
    """and those of them that ran no job."""
    interrupted: int
    """Attempts that the end of a pod cut short."""

    @property
    def pod_seconds_per_1000_jobs(self) -> float | None:
        """What a thousand jobs cost."""
        done = self.jobs - self.never_started
        return self.pod_seconds / done * 1000 if done else None

    @property
    def idle_start_share(self) -> float:
        """The share of starts that ran no job."""
        return self.idle_starts / self.starts if self.starts else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One scaler on the trace."""

    figures: Figures
    world: World
    settings: KedaSettings | None = None
    """What was set, where it is KEDA."""


def figures_of(world: World, *, max_wait: float, window: float) -> Figures:
    """Return the figures of a run that is over; `window` is the stabilization window of scaleDown, in seconds."""
    pods = [*world.past_pods, *world.pods]
    waits = sorted(wait_of(job, world.now) for job in world.jobs)
    started = [pod for pod in pods if not pod.initial and (pod.gone is not None or pod.ready_at is not None)]
    changes = _direction_changes(world.scalings)
    return Figures(
        jobs=len(waits),
        never_started=sum(job.started is None for job in world.jobs),
        waits=waits_of(waits),
        over_target=sum(wait > max_wait for wait in waits) / max(1, len(waits)),
        pod_seconds=pod_seconds_of(world),
        idle_share=_idle_share(world, pods),
        most_pods=max((after for _, _, after in world.scalings), default=world.replicas),
        scale_events=len(world.scalings),
        direction_changes=len(changes),
        quick_direction_changes=sum(gap < window for gap in changes),
        starts=len(started),
        idle_starts=sum(pod.served == 0 for pod in started),
        interrupted=world.interrupted,
    )


def wait_of(job: SimulatedJob, end: float) -> float:
    """Return how long a job waited, until the end where nobody took it."""
    return max(0.0, (end if job.started is None else job.started) - job.ready)


def pod_seconds_of(world: World) -> float:
    """Return what the pods of a run that is over cost."""
    return sum(_lifetime(pod, world.now) for pod in (*world.past_pods, *world.pods))


def waits_of(waits: Sequence[float]) -> Waits:
    """Return the percentiles of waits that are sorted; all zero where there was no job."""
    return Waits(
        p50=quantile(waits, 0.5), p95=quantile(waits, 0.95), p99=quantile(waits, 0.99), longest=quantile(waits, 1.0)
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least of sorted values that at least `share` of them do not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def _lifetime(pod: SimulatedPod, end: float) -> float:
    return (end if pod.gone is None else pod.gone) - pod.created


def _idle_share(world: World, pods: Sequence[SimulatedPod]) -> float | None:
    slots = sum(queue.slots for queue in world.queues)
    ready = sum(
        (world.now if pod.gone is None else pod.gone) - pod.ready_at for pod in pods if pod.ready_at is not None
    )
    if ready <= 0:
        return None
    busy = sum(pod.busy_seconds for pod in pods)
    busy += sum(world.now - job.taken for job in world.jobs if job.pod is not None)
    return max(0.0, 1 - busy / (ready * slots))


def _direction_changes(scalings: Sequence[tuple[float, int, int]]) -> list[float]:
    """Return how long after the change before it each change went the other way."""
    gaps = []
    for (earlier, low, high), (at, before, after) in itertools.pairwise(scalings):
        if (high > low) != (after > before):
            gaps.append(at - earlier)
    return gaps
