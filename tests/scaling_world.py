"""Small worlds for the tests of the decision: queues, workers, specs, and a clock that tests turn by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import (
    Observation,
    Ownership,
    Problem,
    QueueObservation,
    WorkersObservation,
)

NOON = 1_767_268_800.0
"""2026-01-01 12:00:00 UTC."""


def snapshot(*, at: float = NOON, queue: str = "killmail", **counts: Any) -> QueueSnapshot:
    """Return a reading of a queue that exists and is empty but for `counts`."""
    empty: dict[str, Any] = {
        "prefix": "bull",
        "queue": queue,
        "now_ms": int(at * 1000),
        "exists": True,
        "waiting": 0,
        "prioritized": 0,
        "delayed": 0,
        "delayed_due": 0,
        "delayed_due_soon": counts.get("delayed_due", 0),
        "next_delayed_ms": None,
        "active": 0,
        "waiting_children": 0,
        "completed": 0,
        "failed": 0,
        "legacy_paused": 0,
        "paused": False,
        "oldest_ready_ms": None,
        "global_concurrency": None,
        "rate_limit_max": None,
        "rate_limit_duration_ms": None,
        "rate_limited_for_ms": 0,
        "added_count": 0,
        "completed_count": None,
        "failed_count": None,
        "next_scheduler_ms": None,
    }
    return QueueSnapshot(**{**empty, **counts})


def queue(*, name: str = "killmail", concurrency: int = 10, at: float = NOON, **counts: Any) -> QueueObservation:
    """Return a queue that was read."""
    return QueueObservation(name=name, concurrency=concurrency, snapshot=snapshot(at=at, queue=name, **counts))


def unreadable(*, name: str = "killmail", concurrency: int = 10, failures: int = 1, **more: Any) -> QueueObservation:
    """Return a queue that could not be read."""
    problem = Problem(
        reason=ConditionReason.REDIS_UNREACHABLE, message="redis.killboard.svc:6379 refused the connection"
    )
    return QueueObservation(name=name, concurrency=concurrency, problem=problem, failures=failures, **more)


def workers(replicas: int = 0, **more: Any) -> WorkersObservation:
    """Return a Deployment of ours, rolled out, all of it ready."""
    given: dict[str, Any] = {"ready": replicas, "present": replicas, "rollout_complete": True}
    return WorkersObservation(ownership=Ownership.OURS, replicas=replicas, **{**given, **more})


def seen(*queues: QueueObservation, replicas: int = 0, workers_: WorkersObservation | None = None) -> Observation:
    """Return a look at some queues and at a Deployment of ours."""
    return Observation(queues=queues, workers=workers_ or workers(replicas))


def spec(
    *,
    queues: Mapping[str, int] | None = None,
    replicas: int | None = None,
    target: int | None = None,
    **autoscaling: Any,
) -> QueueWorkerSpec:
    """Return a spec that scales between 0 and 20, or that has a fixed number of replicas."""
    window = autoscaling.pop("window", 120)
    given: dict[str, Any] = {
        "queues": [{"name": n, "concurrency": c} for n, c in (queues or {"killmail": 10}).items()],
        "redis": {"host": "redis.killboard.svc"},
        "worker": {"image": "registry.example/worker:1"},
    }
    if replicas is not None:
        return QueueWorkerSpec.model_validate({**given, "replicas": replicas})
    scaling = {"min_replicas": 0, "max_replicas": 20, **autoscaling}
    scaling["behavior"] = {"scale_down": {"stabilization_window_seconds": window}}
    scaling["target"] = {"backlog_per_replica": target}
    return QueueWorkerSpec.model_validate({**given, "autoscaling": scaling})


CONFIRMED = History(confirmed=True)
"""A history in which a lower number needs no second reading."""


@dataclass
class Ticker:
    """The loop in small: decides again and again, and carries out what is decided, at once."""

    spec: QueueWorkerSpec
    replicas: int = 0
    now: float = NOON
    history: History = field(default_factory=History)
    writes: list[tuple[float, int, int]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    paused: bool = False

    def tick(self, *queues: QueueObservation, seconds: float = 1.0) -> Decision:
        """Let time go by, then decide on what was read at that moment."""
        self.now += seconds
        read = tuple(
            replace(q, snapshot=replace(q.snapshot, now_ms=int(self.now * 1000))) if q.snapshot else q for q in queues
        )
        look = Observation(queues=read, workers=workers(self.replicas))
        decision = decide(look, self.spec, self.history, self.now, paused_by_annotation=self.paused)
        if decision.write and decision.desired != self.replicas:
            self.writes.append((self.now, self.replicas, decision.desired))
            self.replicas = decision.desired
        self.history = decision.history
        self.decisions.append(decision)
        return decision

    def run(self, *queues: QueueObservation, seconds: int) -> Decision:
        """Tick once a second for so long, always with the same queues."""
        for _ in range(seconds - 1):
            self.tick(*queues)
        return self.tick(*queues)
