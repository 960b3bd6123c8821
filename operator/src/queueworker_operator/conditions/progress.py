"""Ready, Reconciling and Stalled, in the meaning of kstatus: they speak of the spec and the rollout, not of Redis."""

from dataclasses import replace

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.conditions.finding import Finding, no, unknown, yes
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

_FOREIGN = Problem(
    reason=Reason.NAME_CONFLICT,
    message=(
        "a Deployment of this name is there and not ours: delete it, or create the QueueWorker under another name"
    ),
)
_TERMINATING = Problem(reason=Reason.PENDING, message="a Deployment of an earlier QueueWorker of this name is going")
_ROLLING_OUT = Problem(reason=Reason.ROLLING_OUT, message="the rollout of the workers is not done")
_NOT_APPLIED = Problem(reason=Reason.PENDING, message="the template of the workers is not applied yet")
_IN_PROGRESS = frozenset({Reason.PENDING, Reason.ROLLING_OUT})


def progress(
    workers: WorkersObservation | None,
    *,
    problem: Problem | None,
    applied: bool,
    paused_by: str | None = None,
    judged: bool = False,
) -> dict[ConditionType, Finding | None]:
    """Return the three findings; `problem` is what stands against the spec or its application.

    `judged` says that this generation of the spec was spoken of before: then that stands where there is no news.
    """
    if workers is None and problem is None:
        return _named(
            unknown(Reason.PENDING, "not looked at yet"),
            reconciling=yes(Reason.PENDING, "not looked at yet"),
            stalled=None,
        )
    obstacle = problem or _obstacle(workers or WorkersObservation(), applied=applied, paused_by=paused_by)
    if obstacle is None and workers is not None and workers.rollout_complete is None:
        if judged:
            return dict.fromkeys((ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED))
        obstacle = _ROLLING_OUT
    if obstacle is None:
        done = "the spec is accepted, the template applied, the rollout done"
        return _named(yes(Reason.ROLLED_OUT, done), reconciling=None, stalled=None)
    ready, now = Finding.of(obstacle, status="False"), Finding.of(obstacle, status="True")
    if obstacle.reason in _IN_PROGRESS:
        return _named(ready, reconciling=now, stalled=None)
    return _named(ready, reconciling=None, stalled=now)


def _obstacle(workers: WorkersObservation, *, applied: bool, paused_by: str | None) -> Problem | None:
    owner = {Ownership.FOREIGN: _FOREIGN, Ownership.TERMINATING: _TERMINATING}.get(workers.ownership)
    if owner is not None:
        return owner
    if workers.ownership is Ownership.ABSENT and paused_by is not None:
        message = f"there are no workers, and none are made while it is paused by {paused_by}"
        return Problem(reason=Reason.PAUSED_BY_USER, message=message)
    if workers.ownership is not Ownership.OURS or not applied:
        return _NOT_APPLIED
    problem = workers.rollout_problem or (_ROLLING_OUT if workers.rollout_complete is False else None)
    if problem is None or workers.pod_problem is None:
        return problem
    return replace(problem, message=f"{problem.message}; {workers.pod_problem.message}")


def _named(
    ready: Finding, *, reconciling: Finding | None, stalled: Finding | None
) -> dict[ConditionType, Finding | None]:
    return {
        ConditionType.READY: ready,
        ConditionType.RECONCILING: reconciling or no(Reason.SPEC_ACCEPTED, "nothing is under way"),
        ConditionType.STALLED: stalled or no(Reason.SPEC_ACCEPTED, "nothing stands in the way"),
    }
