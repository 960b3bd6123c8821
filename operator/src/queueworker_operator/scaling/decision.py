"""What a decision is made of: the number, the reason, and the trace of every vote and limit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.observation import Problem
from queueworker_operator.scaling.rates.learning import Learning
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.starts import Starts, StartUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A number that was recommended; `at` is Unix seconds."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the number; `at` is Unix seconds."""

    at: float
    before: int
    after: int
    reason: ScalingReason
    backlog: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvent:
    """A change that was carried out; `at` is Unix seconds."""

    at: float
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was before and matters now; times are Unix seconds. Kept between decisions, saved in the status."""

    recommendations: tuple[Recommendation, ...] = ()
    """Peaks of the stabilization window, oldest first."""
    idle_since: float | None = None
    desired: int | None = None
    reason: ScalingReason | None = None
    seen_queues: frozenset[str] = frozenset()
    missing_queues: frozenset[str] = frozenset()
    """Queues that were once there and are gone; missing_since is when the last of them went."""
    missing_since: float | None = None
    unknown_since: float | None = None
    """Since when some queue cannot be read; idle time does not count meanwhile."""
    not_consuming_since: float | None = None
    """Since when a queue has jobs and the workers are ready, but none of its jobs is active."""
    confirmed: bool = False
    """Two good readings in a row called for fewer and no outage followed: a lower number may be written."""
    fewer_reading: tuple[int, ...] | None = None
    """Redis times (ms) of the good reading that called for fewer first and waits to be confirmed."""
    learned: Mapping[str, Learning] = field(default_factory=dict)
    """What the readings of each queue taught, by its name."""
    starts: Starts = field(default_factory=Starts)
    """How long pods took to start."""
    lows: tuple[Recommendation, ...] = ()
    """Lowest recommendations of the window of behavior.scaleUp, oldest first."""
    scale_events: tuple[ScaleEvent, ...] = ()
    """Changes within the longest period of a policy, oldest first."""
    lost_since: float | None = None
    """Since when no queue at all can be read."""
    storm_since: float | None = None
    """Since when most jobs fail."""
    last_growth_at: float | None = None
    """When the number last went up,"""
    last_growth_completions: float | None = None
    """and how many jobs completed per second then."""
    last_scale_at: float | None = None
    last_change_at: float | None = None
    changes: tuple[Change, ...] = ()
    """Newest first, ten at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """How many replicas one rule asks for, for one queue or for all."""

    rule: str
    replicas: int
    reason: ScalingReason
    queue: str | None = None
    unrounded: float | None = None
    """What `replicas` was rounded up from; None where the number is meant exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A rule that changed the number; `until` is Unix seconds."""

    by: ScalingReason
    before: int
    after: int
    until: float | None = None
    queue: str | None = None
    """The queue whose vote it changed; None for the whole QueueWorker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the decision rests on, summed over the queues that could be read; None where none could."""

    waiting: int | None = None
    prioritized: int | None = None
    delayed_due: int | None = None
    backlog: int | None = None
    active: int | None = None
    delayed: int | None = None
    failed: int | None = None
    oldest_age_seconds: float | None = None
    paused_queues: tuple[str, ...] = ()
    rates: Mapping[str, QueueRates] = field(default_factory=dict)
    """What was measured of each queue, by its name."""
    start_up: StartUp = field(default_factory=StartUp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The number of replicas, why, and what to remember."""

    desired: int
    current: int
    write: bool
    """Whether the cluster is to be changed: not when paused by the user, nor where the Deployment is not ours."""
    reason: ScalingReason
    message: str
    inputs: Inputs = field(default_factory=Inputs)
    votes: tuple[Vote, ...] = ()
    limits: tuple[Limit, ...] = ()
    history: History
    victims: tuple[str, ...] = ()
    """Pods that are to go, in a scale-in where that is known: they get a deletion cost before the number is lowered."""
    spared: tuple[str, ...] = ()
    """Pods that bear our deletion cost and stay: it is to be taken back."""
    wants_pods: bool = False
    """The pods must be listed before this is carried out: it rests on who they are."""
    wants_details: bool = False
    """The queues' details must be read anew before this is carried out: it rests on who is busy now."""
    warnings: tuple[Problem, ...] = ()
    """What is wrong with the wish itself: TargetInfeasible, DrainTooShort, PriorityStarved."""
    recheck_at: float | None = None
    """Unix seconds when a limit ends or a delayed job falls due; the loop looks again then at the latest."""
