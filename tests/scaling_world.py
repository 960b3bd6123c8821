"""Small worlds for the tests of the decision: queues, workers, specs, and a clock that tests turn by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from snapshots import empty_but_for

from queueworker.details import ActiveJob, QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import (
    Observation,
    Ownership,
    Pod,
    Problem,
    QueueObservation,
    WorkersObservation,
)
from queueworker_operator.scaling.overrides import Overrides

NOON = 1_767_268_800.0
"""2026-01-01 12:00:00 UTC."""


def snapshot(*, at: float = NOON, queue: str = "killmail", **counts: Any) -> QueueSnapshot:
    """Return a reading of a queue that exists and is empty but for `counts`."""
    counts = {"delayed_due_soon": counts.get("delayed_due", 0), **counts}
    return empty_but_for(queue=queue, now_ms=int(at * 1000), **counts)


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
    given: dict[str, Any] = {
        "ownership": Ownership.OURS,
        "ready": replicas,
        "present": replicas,
        "rollout_complete": True,
    }
    return WorkersObservation(replicas=replicas, **{**given, **more})


def pod(name: str, *, ready: bool = True, age: float = 3600.0, at: float = NOON, **more: Any) -> Pod:
    """Return a pod that was made `age` seconds ago and got its node and its readiness at once."""
    born = at - age
    given: dict[str, Any] = {"scheduled_at": born, "ready_at": born if ready else None, **more}
    return Pod(name=name, ready=ready, created_at=born, **given)


def details(*jobs: ActiveJob, at: float = NOON, queue: str = "killmail", **more: Any) -> QueueDetails:
    """Return details with these active jobs."""
    given: dict[str, Any] = {"next_names": {}, "last_names": {}, "active_total": len(jobs), **more}
    return QueueDetails(prefix="bull", queue=queue, now_ms=int(at * 1000), active=jobs, **given)


def job(owner: str | None, *, name: str = "mail", locked: bool = True, age: float = 1.0, at: float = NOON) -> ActiveJob:
    """Return an active job that began `age` seconds ago."""
    return ActiveJob(name=name, owner=owner, locked=locked, started_ms=int((at - age) * 1000), stalled_count=0)


def seen(*queues: QueueObservation, replicas: int = 0, workers_: WorkersObservation | None = None) -> Observation:
    """Return a look at some queues and at a Deployment of ours."""
    return Observation(queues=queues, workers=workers_ or workers(replicas))


def spec(
    *,
    queues: Mapping[str, int] | None = None,
    replicas: int | None = None,
    target: int | None = None,
    expected_ms: int | None = None,
    **autoscaling: Any,
) -> QueueWorkerSpec:
    """Return a spec that scales between 0 and 20, or that has a fixed number of replicas.

    With a `target`, the backlog per replica, jobs are expected to take a millisecond where nothing else is said: then
    the target alone asks for pods.
    """
    window = autoscaling.pop("window", 120)
    expected_ms = 1 if target is not None and expected_ms is None else expected_ms
    behavior = {"scale_down": {"stabilization_window_seconds": window, **autoscaling.pop("scale_down", {})}}
    behavior["scale_up"] = autoscaling.pop("scale_up", {})
    max_wait = autoscaling.pop("max_wait", 30)
    given: dict[str, Any] = {
        "queues": [{"name": n, "concurrency": c} for n, c in (queues or {"killmail": 10}).items()],
        "redis": {"host": "redis.killboard.svc"},
        "worker": {"image": "registry.example/worker:1"},
    }
    if replicas is not None:
        return QueueWorkerSpec.model_validate({**given, "replicas": replicas})
    scaling = {"min_replicas": 0, "max_replicas": 20, **autoscaling}
    scaling["behavior"] = behavior
    scaling["target"] = {
        "max_wait_seconds": max_wait,
        "backlog_per_replica": target,
        "expected_job_milliseconds": expected_ms,
    }
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

    def tick(
        self, *queues: QueueObservation, seconds: float = 1.0, workers_: WorkersObservation | None = None
    ) -> Decision:
        """Let time go by, then decide on what was read at that moment."""
        self.now += seconds
        read = tuple(
            replace(q, snapshot=replace(q.snapshot, now_ms=int(self.now * 1000))) if q.snapshot else q for q in queues
        )
        look = Observation(queues=read, workers=workers_ or workers(self.replicas))
        decision = decide(look, self.spec, self.history, self.now, overrides=Overrides(paused=self.paused))
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


@dataclass
class Plant:
    """A queue with workers in small: jobs come, wait for a free slot of a ready pod, run for a while and are counted.

    Looks once a second, as the loop does at a busy queue. Times are whole milliseconds, so that nothing drifts.
    """

    ticker: Ticker
    slots: int = 10
    job_ms: int = 100
    start_ms: int = 5000
    at_ms: int = 0
    waiting: int = 0
    completed: int = 0
    running: list[int] = field(default_factory=list)
    """When each of the running jobs ends."""
    pods: list[int] = field(default_factory=list)
    """When each of the pods is ready."""
    delayed: list[int] = field(default_factory=list)
    """When each of the delayed jobs falls due, ascending."""
    longest_wait_ms: int = 0
    since: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with the pods that the ticker has, all of them ready."""
        self.pods = [0] * self.ticker.replicas

    def run(self, seconds: int, *, per_second: float = 0.0, counters: bool = True, step_ms: int = 100) -> Self:
        """Let so many jobs come per second, spread evenly."""
        for _ in range(seconds * 1000 // step_ms):
            before = self.at_ms
            self.at_ms += step_ms
            come = int(self.at_ms * per_second / 1000) - int(before * per_second / 1000)
            while self.delayed and self.delayed[0] <= self.at_ms:
                self.delayed.pop(0)
                come += 1
            self.since += [self.at_ms] * come
            self._work()
            if self.at_ms % 1000 == 0:
                self._look(counters=counters)
        return self

    def _work(self) -> None:
        ended = [end for end in self.running if end <= self.at_ms]
        self.completed += len(ended)
        self.running = [end for end in self.running if end > self.at_ms]
        free = self.slots * sum(ready <= self.at_ms for ready in self.pods) - len(self.running)
        for began in self.since[: max(0, free)]:
            self.longest_wait_ms = max(self.longest_wait_ms, self.at_ms - began)
            self.running.append(self.at_ms + self.job_ms)
        self.since = self.since[max(0, free) :]

    def _look(self, *, counters: bool) -> None:
        now, zero = NOON * 1000 + self.at_ms, int(NOON * 1000)
        ahead = [due - self.at_ms for due in self.delayed]
        horizon = 32_000
        read = queue(
            concurrency=self.slots,
            waiting=len(self.since),
            active=len(self.running),
            oldest_ready_ms=zero + self.since[0] if self.since else None,
            completed_count=self.completed if counters else None,
            failed_count=0 if counters else None,
            delayed=len(ahead),
            horizon_ms=horizon,
            delayed_due_soon=sum(due <= horizon for due in ahead),
            delayed_due_half=sum(due <= horizon / 2 for due in ahead),
            delayed_due_quarter=sum(due <= horizon / 4 for due in ahead),
            next_delayed_ms=zero + self.delayed[0] if self.delayed else None,
        )
        ready = sum(at <= self.at_ms for at in self.pods)
        look = workers(self.ticker.replicas, ready=ready, present=len(self.pods))
        before = len(self.pods)
        self.ticker.tick(read, seconds=now / 1000 - self.ticker.now, workers_=look)
        after = self.ticker.replicas
        self.pods = self.pods[:after] + [self.at_ms + self.start_ms] * (after - before)
