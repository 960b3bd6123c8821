"""What the reconciler keeps of one QueueWorker between two looks. All of it can be lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from zlib import crc32

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, Resource, Secret
from queueworker_operator.reconciler.look import Applied, Look
from queueworker_operator.reconciler.warned import Warned
from queueworker_operator.scaling.capacity import is_of_pods, trouble
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.history import restore
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation
from queueworker_operator.scaling.record import Difference

LONG_AGO = -math.inf
LONGEST_LIST_PAUSE = 60.0
"""Until the pods are tried again that could not be listed, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the cluster refused, a write or a read of what is not vital; times are of the loop's clock."""

    problem: Problem
    subject: object = None
    """What was to be written: another one is tried at once."""
    again_at: float
    pause: float

    @classmethod
    def after(
        cls, before: Refusal | None, problem: Problem, at: float, *, subject: object = None, longest: float = 300.0
    ) -> Refusal:
        """Return a new one: the pause is 5 s, and twice that of `before` where the subject is the same."""
        pause = 5.0 if before is None or before.subject != subject else min(longest, before.pause * 2)
        return cls(problem=problem, subject=subject, again_at=at + pause, pause=pause)


@dataclass(slots=True)
class PodMemory:
    """What is known of the pods, which nobody watches."""

    listed_at: float = LONG_AGO
    unlisted: Refusal | None = None
    """Why they could not be listed when that was last tried;"""
    unlisted_since: float = LONG_AGO
    """when it was tried first."""
    told_waiting: bool = False
    """Whether it was said that a scale-in waits for it."""
    starting: bool = False
    """Some were not ready when they were last looked at, so their starts are still to be measured."""
    starting_since: float = LONG_AGO
    grew_at: float = LONG_AGO
    """When there were last to be more of them."""
    turn_at: float = LONG_AGO
    """When they may be listed next for no decision's sake, by the budget of all QueueWorkers."""
    strangers: dict[str, float] = field(default_factory=dict)
    """Who holds jobs and was no pod in a list of them, and when that was last seen."""
    unknown: set[str] = field(default_factory=set)
    """Who held one since the last list and is not known;"""
    unknown_pause: float = 0.0
    """until when after that list the next one for their sake waits."""
    costly: frozenset[str] = frozenset()
    """Pods that we gave a deletion cost."""
    cancelled: bool = False
    """They got it for a scale-in that was not written."""
    refused: str | None = None
    """Why none could be set, as it was told."""

    @property
    def is_unavailable(self) -> bool:
        """Whether they could not be listed for a cause that passes, rather than that it is not allowed."""
        return self.unlisted is not None and self.unlisted.problem.reason is ConditionReason.PENDING

    def is_paused(self, at: float) -> bool:
        """Whether they could not be listed a moment ago, for a cause that passes, and are not to be tried again yet."""
        return self.unlisted is not None and self.is_unavailable and at < self.unlisted.again_at


@dataclass(slots=True)
class Memory:
    """Of one QueueWorker; times are of the loop's clock but where they say otherwise."""

    uid: str
    history: History
    status: api.QueueWorkerStatus | None
    """As the cluster holds it, as far as we know."""
    status_written_at: float = LONG_AGO
    status_refused_until: float = LONG_AGO
    first_status_until: float | None = None
    """How long the first status of all may wait."""
    status_slots: dict[Difference, float] = field(default_factory=dict)
    """From when on the next status may be written, by what it tells."""
    generation: int | None = None
    workers: WorkersObservation | None = None
    workers_seen_at: float = LONG_AGO
    workers_stale: bool = True
    workers_doubtful: bool = False
    """A write met another one, or its end is not known: what the watch told before is not enough."""
    pods: PodMemory = field(default_factory=PodMemory)
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    secrets_read_at: float = LONG_AGO
    secrets_problem: Problem | None = None
    secrets_unread: Refusal | None = None
    """Why those that are known could not be read again."""
    connection: tuple[ConnectionSettings, tuple[QueueKeys, ...]] | None = field(default=None, repr=False)
    """How the queues are reached with these Secrets; None until it is asked for."""
    spec_problem: Problem | None = None
    """Why the spec of this generation cannot be carried out."""
    fingerprint: str | None = None
    """What the workers' template is to bear; None where a Secret is missing, or where the pods are not ours."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    applied_fields: str | None = None
    drift_corrected_at: float | None = None
    """Unix seconds."""
    drift_fight: bool = False
    conflicts: int = 0
    decision: Decision | None = None
    look: Look | None = None
    """The last look, as it is to be told."""
    untold: list[Applied] = field(default_factory=list)
    """What was done and no event speaks of yet."""
    told: tuple[object, ...] | None = None
    """What of a look must be told at once, as it was told last,"""
    told_at: float = LONG_AGO
    """and when that was."""
    warned: Warned = field(default_factory=Warned)

    @classmethod
    def of(cls, resource: Resource, now: float) -> Memory:
        """Return what the status of the QueueWorker remembers."""
        scaling = resource.status.scaling if resource.status else None
        kept = scaling.memory if scaling else None
        autoscaling = resource.spec.autoscaling if resource.spec else None
        down = autoscaling.behavior.scale_down.stabilization_window_seconds if autoscaling else None
        up = autoscaling.behavior.scale_up.stabilization_window_seconds if autoscaling else None
        queues = [queue.name for queue in resource.spec.queues] if resource.spec else None
        corrected = kept.drift_corrected_at if kept else None
        return cls(
            uid=resource.uid,
            history=restore(resource.status, now, window=down, scale_up_window=up, queues=queues),
            status=resource.status,
            applied_fields=kept.applied_fields if kept else None,
            drift_corrected_at=corrected.timestamp() if corrected and corrected.timestamp() <= now else None,
        )

    def next_turn(self, after: float, period: float) -> float:
        """Return when its turn comes next, a period later at most; each has its own, whatever many began together."""
        if after == LONG_AGO:
            return after
        phase = period * crc32(self.uid.encode()) / 2**32
        return phase + period * (math.floor((after - phase) / period) + 1)

    def with_memory(self, resource: Resource) -> Resource:
        """Return the QueueWorker with what is known to have been applied last, for the cluster to find drift by."""
        status = self.status or api.QueueWorkerStatus()
        if status.scaling is None:
            return replace(resource, status=status)
        kept = status.scaling.memory or api.Memory()
        if status is resource.status and kept.applied_fields == self.applied_fields:
            # After a start, for all of them.
            return resource
        kept = kept.model_copy(update={"applied_fields": self.applied_fields})
        scaling = status.scaling.model_copy(update={"memory": kept})
        return replace(resource, status=status.model_copy(update={"scaling": scaling}))

    def saw(self, workers: WorkersObservation, at: float, *, now: float, listed: bool | None = False) -> None:
        """Keep a new look at the workers, `at` by the clock and `now` in Unix seconds.

        `listed`: with a list of the pods, or why there is none.
        Where none was asked for, or it failed and may be had later, that of before stands as long as the counts do, and
        their problem until the next list: one that keeps failing is ready in between. None: it was not to be listed.
        """
        before = self.workers
        if workers.pods is not None:
            self._saw_pods(workers, at)
        elif listed is not None:
            self._saw_no_pods(workers.pod_problem, at, asked=listed)
        denied = listed and not self.pods.is_unavailable
        if workers.pods is None and not denied and before is not None and before.uid == workers.uid:
            pods = before.pods if _counts(before) == _counts(workers) else None
            workers = replace(workers, pods=pods, pod_problem=workers.pod_problem or _lasting(before, workers, now))
        if _may_suffer(workers) and workers.ownership in (Ownership.OURS, Ownership.TARGET):
            self.pods.starting_since = self.pods.starting_since if self.pods.starting else at
            self.pods.starting = True
        self.keep(workers, at)
        if self.applied_fields is None:
            self.applied_fields = workers.applied_fields

    def keep(self, workers: WorkersObservation, at: float) -> None:
        """Keep how the workers are, by a look or by the answer to a write."""
        if self.workers is not None and self.workers.replicas < workers.replicas:
            self.pods.grew_at = at
        self.workers, self.workers_seen_at = workers, at

    def _saw_pods(self, workers: WorkersObservation, at: float) -> None:
        here = [pod for pod in workers.pods or () if not pod.terminating]
        self.pods.listed_at = at
        self.pods.unlisted, self.pods.told_waiting = None, False
        self.pods.starting = len(here) < workers.replicas or not all(pod.ready for pod in here)
        self.pods.costly &= {pod.name for pod in here}

    def _saw_no_pods(self, problem: Problem | None, at: float, *, asked: bool) -> None:
        pods = self.pods
        if problem is not None:
            pods.unlisted_since = at if pods.unlisted is None else pods.unlisted_since
            pods.unlisted = Refusal.after(pods.unlisted, problem, at, longest=LONGEST_LIST_PAUSE)
        elif asked:
            # There is nothing to list.
            pods.unlisted = None

    def forget_secrets(self) -> None:
        """Read the Secrets again at the next look, and try again what was refused."""
        self.secrets_read_at = LONG_AGO
        self.secrets_unread = None
        self.connection = None
        self.refusals.clear()

    def may_try(self, what: str, subject: object, at: float) -> bool:
        """Whether a write that was refused before may be tried again: after a pause, or at once if it is another."""
        refusal = self.refusals.get(what)
        return refusal is None or refusal.subject != subject or at >= refusal.again_at

    def refused(self, what: str, subject: object, error: ClusterError, at: float) -> None:
        """Take note of a refusal; the next try comes after 5 s, then after twice the pause, up to 5 minutes."""
        problem = Problem(reason=error.reason, message=str(error))
        self.refusals[what] = Refusal.after(self.refusals.get(what), problem, at, subject=subject)


def _lasting(before: WorkersObservation, workers: WorkersObservation, now: float) -> Problem | None:
    """Return what the pods suffered from before and may suffer from still, though they are ready just now."""
    problem = trouble(before, now)
    return problem if workers.ready < workers.replicas or is_of_pods(problem) else None


def _may_suffer(workers: WorkersObservation) -> bool:
    """Whether only a list of the pods says that all are well."""
    return workers.ready < workers.replicas or (workers.pods is None and is_of_pods(workers.pod_problem))


def _counts(workers: WorkersObservation) -> tuple[object, ...]:
    return workers.replicas, workers.ready, workers.present
