"""How long pods take to start."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.scaling.observation import Pod

UNMEASURED_SECONDS = 30.0
"""How long a start is taken to last until three were measured."""
MOST_STARTS = 20
SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 300.0
FORGOTTEN_AFTER_SECONDS = 86_400.0
_MEASURED_FROM = 3
_NO_START_SECONDS = 3_600.0
"""A pod that is not ready, or got ready, later than this after it got its node was ready before, and failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """What the decision uses; seconds."""

    seconds: float = UNMEASURED_SECONDS
    """U: nine of ten pods are ready after this long."""
    longest_seconds: float = UNMEASURED_SECONDS
    measured: int = 0
    """How many starts this rests on; below three it is the assumption."""

    @property
    def horizon_seconds(self) -> float:
        """H: how far ahead delayed jobs are looked at."""
        return self.longest_seconds + 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a pod: `at` (Unix seconds) it was ready, after so many seconds."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """The last starts, oldest first, and the pods that have been counted."""

    known: tuple[Start, ...] = ()
    counted: frozenset[tuple[str, float]] = frozenset()
    """Name and time of creation of each: a pod of a StatefulSet comes back under the name of the one before."""


def learn_starts(starts: Starts, pods: Sequence[Pod] | None, now: float) -> Starts:
    """Return the last starts with those of pods that became ready since; None leaves them as they are.

    `now` is in Unix seconds. After a restart of the operator nobody is counted, while `known` came from the status:
    pods that were ready before the newest of it are in it.
    """
    if pods is None:
        return starts
    newest = max((start.at for start in starts.known), default=None) if not starts.counted else None
    ready = [pod for pod in pods if pod.ready and pod.ready_at is not None]
    measured = (_start(pod, now) for pod in ready if _identity(pod) not in starts.counted)
    new = [start for start in measured if start is not None and (newest is None or start.at > newest)]
    known = sorted([*starts.known, *new], key=lambda start: start.at)[-MOST_STARTS:] if new else starts.known
    still = starts.counted.intersection(_identity(pod) for pod in pods)
    return Starts(known=tuple(known), counted=still.union(_identity(pod) for pod in ready))


def start_up(starts: Starts, pods: Sequence[Pod] | None, now: float) -> StartUp:
    """Return how long pods take to start: the 90th percentile of the last starts, in 1 to 300 s.

    Pods that are still starting count with the time that they took so far, where that is more than most of the finished
    starts took: shorter ones tell nothing yet. What waits for a node, or cannot start, is not starting.
    """
    finished = sorted(start.seconds for start in starts.known)
    usual = _p90(finished) if len(finished) >= _MEASURED_FROM else UNMEASURED_SECONDS
    late = [elapsed for pod in pods or () if (elapsed := _elapsed(pod, starts, now)) > usual]
    if len(finished) < _MEASURED_FROM:
        seconds = max([UNMEASURED_SECONDS, *late])
        longest = max([seconds, *finished])
    else:
        seconds = _p90(sorted([*finished, *late])) if late else usual
        longest = max([*finished, *late])
    return StartUp(seconds=_within(seconds), longest_seconds=_within(longest), measured=len(finished))


def _identity(pod: Pod) -> tuple[str, float]:
    return pod.name, pod.created_at


def _start(pod: Pod, now: float) -> Start | None:
    if pod.ready_at is None or pod.scheduled_at is None or abs(now - pod.ready_at) > FORGOTTEN_AFTER_SECONDS:
        return None
    seconds = pod.ready_at - pod.scheduled_at
    return Start(at=pod.ready_at, seconds=seconds) if 0 <= seconds <= _NO_START_SECONDS else None


def _elapsed(pod: Pod, starts: Starts, now: float) -> float:
    """Return for how long a pod has been starting; 0 for one that is not."""
    if pod.ready or pod.terminating or pod.problem is not None or _identity(pod) in starts.counted:
        return 0.0
    if pod.scheduled_at is None or now - pod.scheduled_at > _NO_START_SECONDS:
        return 0.0
    return max(0.0, now - pod.scheduled_at)


def _p90(ordered: Sequence[float]) -> float:
    """Return the smallest that nine of ten do not exceed."""
    return ordered[math.ceil(0.9 * len(ordered)) - 1]


def _within(seconds: float) -> float:
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, seconds))
