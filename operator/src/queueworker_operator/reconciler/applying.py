"""Carry out a decision: the number first, then the template. The only writer of workers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import (
    Cluster,
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    Resource,
)
from queueworker_operator.reconciler import costs, drift, secrets
from queueworker_operator.reconciler.failpoints import Failpoint, reach
from queueworker_operator.reconciler.look import Applied
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.rush import Rush
from queueworker_operator.reconciler.steps import Step, is_outdated, needed
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

logger = logging.getLogger(__name__)

STALE_SECONDS = 2.0
"""A decision that could not be written for so long, two intervals of reading, is dropped."""
SECRETS_SECONDS = 1.0
"""A template is made of no Secrets that were read longer ago."""


class StaleDecisionError(ConflictError):
    """What the decision rests on is too old by now: look again."""


Write = Callable[[WorkersObservation, Decision], Awaitable[None]]


class Applier:
    """Brings the workers of one QueueWorker to what was decided."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        memory: Memory,
        *,
        rush: Rush,
        now: float,
        clock: Callable[[], float],
    ) -> None:
        """`now` is Unix seconds, `clock` the loop's."""
        self._cluster = cluster
        self._resource = resource
        self._memory = memory
        self._rush = rush
        self._now = now
        self._clock = clock
        self._decided_at = clock()
        self.done: list[Applied] = []
        self.scaled = False
        """Whether the decided number was written."""

    def steps(self, workers: WorkersObservation, decision: Decision) -> list[Step]:
        """Return the writes that are needed, and not known to be refused, in their order."""
        memory, at = self._memory, self._clock()
        in_rush = self._rush.is_on(at)
        found = needed(self._resource, workers, decision=decision, memory=memory, in_rush=in_rush, now=self._now)
        if memory.secrets_problem is not None:
            # Without them no template can be rendered, and what runs goes on.
            found = [step for step in found if step in (Step.SCALE, Step.COSTS)]
        for step in memory.refusals.keys() - set(found):
            # What is not tried must not be waited for.
            del memory.refusals[step]
        return [step for step in found if memory.may_try(step, self._subject(step, decision), at)]

    async def carry_out(self, steps: list[Step], workers: WorkersObservation, decision: Decision) -> None:
        """Write what was just decided.

        Raises ConflictError and ClusterUnavailableError; other refusals are kept in the memory.
        """
        self._decided_at = self._clock()
        for step in steps:
            if step in (Step.CREATE, Step.APPLY) and not await self._has_secrets():
                return
            write = {
                Step.CREATE: self._create,
                Step.COSTS: self._take_back,
                Step.SCALE: self._scale,
                Step.APPLY: self._apply,
            }[step]
            await self._try(step, write, workers, decision)
            workers = self._memory.workers or workers

    async def _has_secrets(self) -> bool:
        if self._clock() - self._memory.secrets_read_at > SECRETS_SECONDS:
            await secrets.read(self._cluster, self._resource, self._memory, now=self._clock())
        return self._memory.secrets_problem is None

    async def _try(self, step: Step, write: Write, workers: WorkersObservation, decision: Decision) -> None:
        memory, subject = self._memory, self._subject(step, decision)
        if step is not Step.COSTS:
            # Whatever comes of it, what is known of the workers is no longer how they are.
            memory.workers_stale = True
        try:
            await write(workers, decision)
        except (ConflictError, ClusterUnavailableError):
            memory.workers_doubtful = True
            raise
        except ClusterError as error:
            memory.refused(step, subject, error, self._clock())
        else:
            memory.refusals.pop(step, None)

    async def _create(self, workers: WorkersObservation, decision: Decision) -> None:
        self._require_recent()
        self._rush.creates(self._clock())
        made = await self._cluster.create(
            self._resource,
            secrets=self._memory.secrets,
            replicas=decision.desired,
            hurried=self._rush.is_on(self._clock()),
        )
        self._applied(made)
        self.scaled = True
        reach(Failpoint.AFTER_SCALE)
        self._say(ConditionReason.WORKERS_CREATED, f"created with {decision.desired} replicas")

    async def _scale(self, workers: WorkersObservation, decision: Decision) -> None:
        if decision.desired < workers.replicas:
            await self._choose_victims(workers, decision)
        self._require_recent()
        reach(Failpoint.BEFORE_SCALE)
        await self._cluster.scale(self._resource, workers, replicas=decision.desired)
        self._memory.keep(replace(self._memory.workers or workers, replicas=decision.desired), self._clock())
        self._memory.pods.cancelled = False
        self.scaled = True
        reach(Failpoint.AFTER_SCALE)

    def _require_recent(self) -> None:
        age = self._clock() - self._decided_at
        if age > STALE_SECONDS:
            raise StaleDecisionError(f"{self._resource.key}: decided {age:.0f} s ago and not written until now")

    async def _choose_victims(self, workers: WorkersObservation, decision: Decision) -> None:
        unseen = costs.unseen(decision, workers)
        if unseen is not None:
            self._say_no_victims(unseen.reason, unseen.message)
        wanted = costs.before_shrink(decision, workers)
        if not wanted:
            return
        try:
            await self._set_costs(wanted)
        except (ConflictError, ClusterUnavailableError):
            raise
        except ClusterError as error:
            # The ReplicaSet controller chooses by itself then.
            logger.warning("%s: no deletion costs: %s", self._resource.key, error)

    async def _take_back(self, workers: WorkersObservation, decision: Decision) -> None:
        await self._set_costs(costs.to_take_back(decision, workers, self._memory))

    async def _set_costs(self, wanted: dict[str, int | None]) -> None:
        """Write them; raises ClusterError where that is refused, which is told once."""
        memory, before = self._memory, (self._memory.pods.costly, self._memory.pods.cancelled)
        costs.writes(wanted, memory)
        try:
            await self._cluster.set_deletion_costs(self._resource, wanted)
        except (ConflictError, ClusterUnavailableError):
            raise
        except ClusterError as error:
            memory.pods.costly, memory.pods.cancelled = before
            self._say_no_victims(error.reason, str(error))
            raise
        memory.pods.refused = None
        costs.wrote(wanted, memory)

    def _say_no_victims(self, reason: ConditionReason, why: str) -> None:
        """Say once why the ReplicaSet controller chooses by itself."""
        if self._memory.pods.refused != why:
            self._memory.pods.refused = why
            self._say(reason, f"the victims of a scale-in cannot be chosen: {why}", warning=True)

    async def _apply(self, workers: WorkersObservation, decision: Decision) -> None:
        outdated, created = is_outdated(workers, self._memory), workers.applied_fields is None
        applied = await self._cluster.apply(self._resource, workers, secrets=self._memory.secrets)
        self._applied(applied)
        if workers.ownership is Ownership.ADOPTABLE:
            self._say(ConditionReason.WORKERS_ADOPTED, "adopted the workers that were there")
        elif created:
            # The end of what an event has told already.
            return
        elif outdated:
            self._say(ConditionReason.TEMPLATE_APPLIED, "applied the template of the spec as it is now")
        else:
            self.done.append(drift.corrected(self._memory, self._now))

    def _applied(self, workers: WorkersObservation) -> None:
        self._memory.keep(workers, self._clock())
        if workers.applied_fields is not None:
            self._memory.applied_fields = workers.applied_fields

    def _subject(self, step: Step, decision: Decision) -> object:
        if step is Step.SCALE:
            return decision.desired
        return self._resource.generation, self._memory.fingerprint

    def _say(self, reason: ConditionReason, message: str, *, warning: bool = False) -> None:
        self.done.append(Applied(reason=reason, message=message, warning=warning))
