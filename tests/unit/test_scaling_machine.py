"""The decision in a world that goes wrong: whatever happens in whatever order, the invariants hold at every step."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scaling_world import NOON, pod, queue, seen, spec, unreadable, workers

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.history import restore
from queueworker_operator.scaling.observation import Problem, QueueObservation, WorkersObservation
from queueworker_operator.scaling.overrides import Overrides
from queueworker_operator.scaling.record import scaling_status

CRASH = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod w-0: CrashLoopBackOff")
LOST = [ConditionReason.REDIS_UNREACHABLE, ConditionReason.REDIS_AUTH_FAILED, ConditionReason.ROLE_NOT_MASTER]
WINDOW = 120
FALL_BY, FALL_SECONDS = 6, 30
small = st.one_of(st.just(0), st.integers(0, 30), st.integers(0, 2000))


class World(RuleBasedStateMachine):
    """One QueueWorker, its pods and its queue; each rule is one thing that happens, and then one look."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.replicas = 0
        self.broken = 0
        self.history = History()
        self.overrides = Overrides()
        self.counted = 0
        self.writes: list[tuple[float, int, int]] = []
        self.last: QueueObservation = queue()
        self.raised: tuple[float, int] | None = None
        """When the queues last raised the number, and to what; None where something else has happened since."""
        self.counted_from = NOON
        """From when on the writes that are known here are those that the policy counts."""

    @initialize(low=st.integers(0, 3), high=st.integers(4, 30), job_ms=st.sampled_from([None, 20, 1000, 600_000]))
    def begin(self, low: int, high: int, job_ms: int | None) -> None:
        self.low, self.high, self.job_ms = low, high, job_ms

    def wish(self) -> api.QueueWorkerSpec:
        policy = {"type": "Pods", "value": FALL_BY, "period_seconds": FALL_SECONDS}
        given: dict[str, Any] = {"min_replicas": self.low, "max_replicas": self.high, "expected_ms": self.job_ms}
        loss = {"after_seconds": 60, "replicas": min(5, self.high)}
        return spec(window=WINDOW, scale_down={"policies": [policy]}, on_metrics_loss=loss, **given)

    def pods(self) -> WorkersObservation:
        broken = min(self.broken, self.replicas)
        here = tuple(
            pod(f"w-{number}", ready=number >= broken, problem=CRASH if number < broken else None, at=self.now)
            for number in range(self.replicas)
        )
        return workers(self.replicas, ready=self.replicas - broken, pods=here, pod_problem=CRASH if broken else None)

    def look(self, read: QueueObservation) -> Decision:
        if read.snapshot is not None:
            read = replace(read, snapshot=replace(read.snapshot, now_ms=int(self.now * 1000)))
        self.last = read
        observation, wish = seen(read, workers_=self.pods()), self.wish()
        decision = decide(observation, wish, self.history, self.now, overrides=self.overrides)
        again = decide(observation, wish, self.history, self.now, overrides=self.overrides)
        assert decision == again, "I7: the same inputs, another output"
        self.check(decision, read)
        self.history = decision.history
        if decision.write and decision.desired != self.replicas:
            self.writes.append((self.now, self.replicas, decision.desired))
            if decision.desired > self.replicas and decision.reason is not Reason.PINNED:
                self.raised = (self.now, decision.desired)
            self.replicas = decision.desired
        return decision

    def check(self, decision: Decision, read: QueueObservation) -> None:
        pin, current = self.overrides.pin(self.now), self.replicas
        assert decision.current == current
        if pin is not None:
            assert decision.desired == pin, "I1: a pin beats all"
        else:
            assert decision.desired <= self.high, "I1: more than the maximum"
            if read.snapshot is not None:
                assert decision.desired >= self.low, "I1: fewer than the minimum"
            else:
                assert decision.desired >= min(current, self.high), "I2: unknown lowers nothing"
            if current <= self.high and self.now >= self.counted_from:
                recent = sum(a - b for at, b, a in self.writes if at <= self.now < at + FALL_SECONDS)
                assert decision.desired >= min(current, current - recent - FALL_BY), "I6: faster than the policy"
            if self.raised is not None and self.now < self.raised[0] + WINDOW:
                assert decision.desired >= min(self.raised[1], self.high), "I8: a fall within the window of a rise"
        assert decision.write is not self.overrides.paused, "I4: paused, and written"
        assert isinstance(decision.reason, Reason)
        moved = [limit for limit in decision.limits if limit.queue is None]
        assert not moved or moved[-1].after == decision.desired, "I5: the trace does not lead to the number"
        assert decision.recheck_at is None or decision.recheck_at >= self.now + 0.05, "I8: a hot loop"
        changed = decision.write and decision.desired != current
        newest = decision.history.changes[:1]
        told = [(change.at, change.before, change.after) for change in newest]
        assert told == (
            [(self.now, current, decision.desired)]
            if changed
            else [(change.at, change.before, change.after) for change in self.history.changes[:1]]
        ), "I12: the history is not what was written"

    def live(self, waiting: int, active: int, *, due: int = 0) -> QueueObservation:
        self.counted += active
        soon = {"delayed": due, "delayed_due_soon": due, "horizon_ms": 32_000}
        next_due = int((self.now + 20) * 1000) if due else None
        return queue(
            waiting=waiting,
            active=active,
            completed_count=self.counted,
            failed_count=0,
            next_delayed_ms=next_due,
            **soon,
        )

    @rule(waiting=small, active=small, due=small, seconds=st.sampled_from([0.1, 1.0, 30.0]))
    def jobs(self, waiting: int, active: int, due: int, seconds: float) -> None:
        self.now += seconds
        self.look(self.live(waiting, active, due=due))

    @rule(seconds=st.sampled_from([1.0, 40.0, 150.0]))
    def idle(self, seconds: float) -> None:
        self.now += seconds
        self.look(self.live(0, 0))

    @rule(reason=st.sampled_from(LOST), times=st.integers(1, 3))
    def unreadable(self, reason: ConditionReason, times: int) -> None:
        for _ in range(times):
            self.now += 25
            self.look(replace(unreadable(), problem=Problem(reason=reason, message="no")))

    @rule()
    def missing(self) -> None:
        self.now += 1
        self.look(queue(exists=False))

    @rule(waiting=small)
    def paused_queue(self, waiting: int) -> None:
        self.now += 1
        self.look(queue(waiting=waiting, paused=True))

    @rule(seconds=st.sampled_from([-600.0, -3.0, 600.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.now += seconds
        self.raised = None
        self.writes.clear()
        self.look(self.live(0, 0))

    @rule(number=st.integers(0, 30))
    def pods_crash(self, number: int) -> None:
        self.broken = number
        self.now += 1
        self.look(self.live(500, 3))

    @rule(low=st.integers(0, 3), high=st.integers(4, 30), job_ms=st.sampled_from([None, 20, 1000, 600_000]))
    def spec_is_edited(self, low: int, high: int, job_ms: int | None) -> None:
        self.begin(low, high, job_ms)
        self.raised = None
        self.now += 1
        self.look(self.live(40, 4))

    @rule(paused=st.booleans(), pin=st.sampled_from([None, None, 0, 3, 40]))
    def annotations_change(self, paused: bool, pin: int | None) -> None:
        self.overrides = Overrides(paused=paused, pinned_replicas=pin, pinned_until=self.now + 50)
        self.raised = None
        self.now += 1
        self.look(self.live(5, 2))

    @rule()
    def operator_restarts(self) -> None:
        decision = self.look(self.live(0, 4))
        status = api.QueueWorkerStatus(scaling=scaling_status(decision))
        self.now += 5
        self.history = restore(status, self.now, window=WINDOW, queues=["killmail"])
        # The status holds whole seconds, rounded up: what is compared here by the fraction begins anew.
        self.history = replace(self.history, changes=decision.history.changes)
        self.writes.clear()
        self.counted_from = self.now + FALL_SECONDS + 2
        self.raised = None
        self.look(self.live(0, 4))

    @precondition(lambda self: self.overrides.pinned_replicas is None)
    @rule()
    def nothing_changes_any_more(self) -> None:
        """I9: beyond every window constant inputs change neither the number nor, but for what waits, the reason."""
        constant = self.last
        for seconds in (1, 60, 3601, 3601, *([61] * 12)):
            self.now += seconds
            self.look(constant)
        before = len(self.writes)
        for _ in range(20):
            self.now += 7
            self.look(constant)
        assert len(self.writes) == before, "I9: still moving"


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck))
