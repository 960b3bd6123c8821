"""Carry out a decision: the number first, then the template. The only writer of workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import (
    Cluster,
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    Resource,
)
from queueworker_operator.reconciler import secrets
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

DRIFT_SECONDS = 60.0
DRIFT_FIGHT = "somebody keeps changing the template of the workers; it is corrected once a minute: find who does"


class Step(StrEnum):
    """A write."""

    CREATE = "create"
    SCALE = "scale"
    APPLY = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done to the template; what was done to the number stands in the decision record."""

    reason: ConditionReason
    message: str
    warning: bool = False


Write = Callable[[WorkersObservation, Decision], Awaitable[None]]


class Applier:
    """Brings the workers of one QueueWorker to what was decided."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        memory: Memory,
        *,
        now: float,
        clock: Callable[[], float],
    ) -> None:
        """`now` is Unix seconds, `clock` the loop's."""
        self._cluster = cluster
        self._resource = resource
        self._memory = memory
        self._now = now
        self._clock = clock
        self.done: list[Applied] = []
        self.scaled = False
        """Whether the decided number was written."""

    def steps(self, workers: WorkersObservation, decision: Decision) -> list[Step]:
        """Return the writes that are needed, and not known to be refused, in their order."""
        memory, found = self._memory, []
        if workers.ownership is Ownership.ABSENT and decision.write:
            found.append(Step.CREATE)
        if workers.ownership in (Ownership.OURS, Ownership.ADOPTABLE):
            if decision.write and decision.desired != workers.replicas:
                found.append(Step.SCALE)
            if self._outdated(workers) or self._drift_due(workers):
                found.append(Step.APPLY)
        for step in memory.refusals.keys() - set(found):
            del memory.refusals[step]
        if memory.secrets_problem is not None:
            # Without them no template can be rendered, and what runs goes on.
            found = [step for step in found if step is Step.SCALE]
        at = self._clock()
        return [step for step in found if memory.may_try(step, self._subject(step, decision), at)]

    async def carry_out(self, steps: list[Step], workers: WorkersObservation, decision: Decision) -> None:
        """Write; raises ConflictError and ClusterUnavailableError, other refusals are kept in the memory."""
        for step in steps:
            if step is not Step.SCALE and not await self._has_secrets():
                return
            write = {Step.CREATE: self._create, Step.SCALE: self._scale, Step.APPLY: self._apply}[step]
            await self._try(step, write, workers, decision)
            workers = self._memory.workers or workers

    async def _has_secrets(self) -> bool:
        if self._memory.secrets_read_at < self._clock():
            await secrets.read(self._cluster, self._resource, self._memory, now=self._clock())
        return self._memory.secrets_problem is None

    async def _try(self, step: Step, write: Write, workers: WorkersObservation, decision: Decision) -> None:
        memory, subject = self._memory, self._subject(step, decision)
        # Whatever comes of it, what is known of the workers is no longer how they are.
        memory.workers_stale = True
        try:
            await write(workers, decision)
        except (ConflictError, ClusterUnavailableError):
            raise
        except ClusterError as error:
            memory.refused(step, subject, error, self._clock())
        else:
            memory.refusals.pop(step, None)

    async def _create(self, workers: WorkersObservation, decision: Decision) -> None:
        made = await self._cluster.create(self._resource, secrets=self._memory.secrets, replicas=decision.desired)
        self._applied(made)
        self.scaled = True
        self._say(ConditionReason.WORKERS_CREATED, f"created with {decision.desired} replicas")

    async def _scale(self, workers: WorkersObservation, decision: Decision) -> None:
        await self._cluster.scale(self._resource, workers, replicas=decision.desired)
        self._memory.workers = replace(workers, replicas=decision.desired)
        self.scaled = True

    async def _apply(self, workers: WorkersObservation, decision: Decision) -> None:
        outdated = self._outdated(workers)
        applied = await self._cluster.apply(self._resource, workers, secrets=self._memory.secrets)
        self._applied(applied)
        if workers.ownership is Ownership.ADOPTABLE:
            self._say(ConditionReason.WORKERS_ADOPTED, "adopted the workers that were there")
        elif outdated:
            self._say(ConditionReason.TEMPLATE_APPLIED, "applied the template of the spec as it is now")
        else:
            self._corrected()

    def _corrected(self) -> None:
        last = self._memory.drift_corrected_at
        # Twice within two periods: somebody does not give in.
        fight = last is not None and self._now - last < 2 * DRIFT_SECONDS
        self._memory.drift_fight = fight
        self._memory.drift_corrected_at = self._now
        if fight:
            self._say(ConditionReason.DRIFT_FIGHT, DRIFT_FIGHT, warning=True)
        else:
            message = "somebody else had changed the template of the workers; it is as the QueueWorker says again"
            self._say(ConditionReason.DRIFT_CORRECTED, message, warning=True)

    def _applied(self, workers: WorkersObservation) -> None:
        self._memory.workers = workers
        if workers.applied_fields is not None:
            self._memory.applied_fields = workers.applied_fields

    def _outdated(self, workers: WorkersObservation) -> bool:
        if workers.ownership is Ownership.ADOPTABLE:
            return True
        return workers.fingerprint != self._memory.fingerprint

    def _drift_due(self, workers: WorkersObservation) -> bool:
        last = self._memory.drift_corrected_at
        return workers.drifted and (last is None or not 0 <= self._now - last < DRIFT_SECONDS)

    def _subject(self, step: Step, decision: Decision) -> object:
        if step is Step.SCALE:
            return decision.desired
        return self._resource.generation, self._memory.fingerprint

    def _say(self, reason: ConditionReason, message: str, *, warning: bool = False) -> None:
        self.done.append(Applied(reason=reason, message=message, warning=warning))
