"""Our operator in the simulation: it decides by the very function of production, on what the reader would tell it."""

import math

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Observation, QueueObservation
from queueworker_operator.simulation.jobs import SimulatedQueue
from queueworker_operator.simulation.readings import workers_of
from queueworker_operator.simulation.watching import WAKE_SECONDS, Watch
from queueworker_operator.simulation.world import World

NEW_YEAR = 1_767_225_600.0
"""2026-01-01 00:00 UTC: when a trace that was made up begins."""
LISTING_SECONDS = 1.5
"""Between two listings of pods while some start."""
FRESH_SECONDS = 1.0
"""A scale-in rests on no reading that is older."""


class Operator:
    """A scaler: the path of production, in virtual time."""

    def __init__(self, spec: QueueWorkerSpec, *, epoch: float | None = None) -> None:
        """`epoch` is when the run begins, in Unix seconds: schedules of the spec go by it."""
        self._spec = _heeded(spec)
        self._epoch = NEW_YEAR if epoch is None else epoch
        self._history = History()
        self._world: World | None = None
        self._watch: Watch | None = None
        self._deciding_at: float | None = None
        self._starting = False
        self._listed_at = float("-inf")
        self.decisions = 0
        self.last: Decision | None = None

    @property
    def world(self) -> World:
        """The run; there is one once it has begun."""
        if self._world is None:
            raise RuntimeError("the run has not begun")
        return self._world

    @property
    def watch(self) -> Watch:
        """The reader of that run."""
        if self._watch is None:
            raise RuntimeError("the run has not begun")
        return self._watch

    def begin(self, world: World) -> None:
        """Read every queue once and decide."""
        self._world = world
        self._watch = Watch(world, self._decide_now, epoch=self._epoch, prefix=self._spec.prefix)
        self._watch.begin(horizon=HORIZON_SECONDS)
        world.keep_statistics()
        self._decide_now()

    def job_came(self, queue: SimulatedQueue) -> None:
        """The queue's event."""
        self.watch.job_came(queue)

    def pods_changed(self) -> None:
        """The event of the Deployment's status; several in a row make one look."""
        if self._world is not None:
            self._wake(self._world.now + WAKE_SECONDS)

    def _wake(self, when: float) -> None:
        if self._deciding_at is None or self._deciding_at > when:
            self._deciding_at = when
            self.world.at(when, self._woken, when)

    def _woken(self, when: float) -> None:
        if self._deciding_at == when:
            self._decide_now()

    def _decide_now(self) -> None:
        """Decide, look closer where what follows rests on it, decide again, and write."""
        world = self.world
        self._deciding_at = None
        listed = self._starting and world.now - self._listed_at >= LISTING_SECONDS
        decision = self._decide(listed=listed)
        changes = decision.write and decision.desired != world.replicas
        shrinks = changes and decision.desired < world.replicas
        if changes and world.replicas and (shrinks or decision.wants_pods or decision.wants_details):
            self._look_closer(details=decision.wants_details, fresh=shrinks)
            decision = self._decide(listed=True)
        self._carry_out(decision)

    def _look_closer(self, *, details: bool, fresh: bool) -> None:
        if details or fresh:
            self.watch.refresh(details=details, older_than=self.world.now - FRESH_SECONDS)

    def _decide(self, *, listed: bool) -> Decision:
        world = self.world
        if listed:
            self._listed_at = world.now
            # Once more when all are ready, so that the last starts are measured.
            self._starting = any(pod.ready_at is None for pod in world.pods)
        workers = workers_of(world.pods, world.replicas, epoch=self._epoch, listed=listed, generation="1")
        queues = tuple(
            QueueObservation(
                name=queue.name, concurrency=queue.concurrency, snapshot=reading.snapshot, details=reading.details
            )
            for queue in self._spec.queues
            for reading in (self.watch.reading(queue.name),)
        )
        self.decisions += 1
        return decide(Observation(queues=queues, workers=workers), self._spec, self._history, self._epoch + world.now)

    def _carry_out(self, decision: Decision) -> None:
        world = self.world
        self._history, self.last = decision.history, decision
        self.watch.horizon = float(math.ceil(decision.inputs.start_up.horizon_seconds))
        if decision.write:
            self._starting = self._starting or decision.desired > world.replicas
            world.scale(decision.desired, victims=decision.victims)
        if self._starting:
            self._wake(world.now + LISTING_SECONDS)
        if decision.recheck_at is not None:
            self._wake(max(world.now + 0.01, decision.recheck_at - self._epoch))


def _heeded(spec: QueueWorkerSpec) -> QueueWorkerSpec:
    """Return the spec as if its decisions were carried out: that is what is asked."""
    if spec.autoscaling is None:
        return spec
    autoscaling = spec.autoscaling.model_copy(update={"paused": False, "dry_run": False})
    return spec.model_copy(update={"autoscaling": autoscaling})
