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
    withheld: Problem | None = None,
    before: str | None = None,
) -> dict[ConditionType, Finding | None]:
    """Return the three findings; `problem` is what stands against the spec or its application.

    `withheld` is why writes are kept back on purpose, as words that may follow "while".
    `before` is the reason of Ready where this generation of the spec was spoken of before: unless it was under way,
    it stands where there is no news of the rollout.
    """
    if workers is None and problem is None:
        return _named(
            unknown(Reason.PENDING, "not looked at yet"),
            reconciling=yes(Reason.PENDING, "not looked at yet"),
            stalled=None,
        )
    if problem is None and workers is not None and workers.ownership is Ownership.TARGET:
        return _target(workers)
    obstacle = problem or _obstacle(workers or WorkersObservation(), applied=applied, withheld=withheld)
    if obstacle is None and workers is not None and workers.rollout_complete is None:
        if before is not None and before not in _IN_PROGRESS:
            return dict.fromkeys((ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED))
        obstacle = _with_pods(_ROLLING_OUT, workers)
    if obstacle is None:
        done = "the spec is accepted, the template applied, the rollout done"
        return _named(yes(Reason.ROLLED_OUT, done), reconciling=None, stalled=None)
    ready, now = Finding.of(obstacle, status="False"), Finding.of(obstacle, status="True")
    if obstacle.reason in _IN_PROGRESS:
        return _named(ready, reconciling=now, stalled=None)
    return _named(ready, reconciling=None, stalled=now)


def _target(workers: WorkersObservation) -> dict[ConditionType, Finding | None]:
    """What targetRef names has a rollout of its own, which is none of ours."""
    problem = workers.target_problem
    if problem is None:
        there = "what spec.targetRef names is there"
        if workers.left_behind is not None:
            text = f"the {workers.left_behind} of the earlier spec.worker serves the queues too"
            there = f"{there}; {text}: delete it, or scale it to 0"
        return _named(yes(Reason.TARGET_FOUND, there), reconciling=None, stalled=None)
    found = Finding.of(problem, status="True")
    return _named(Finding.of(problem, status="False"), reconciling=None, stalled=found)


def _obstacle(workers: WorkersObservation, *, applied: bool, withheld: Problem | None) -> Problem | None:
    owner = {Ownership.FOREIGN: _FOREIGN, Ownership.TERMINATING: _TERMINATING}.get(workers.ownership)
    if owner is not None:
        return owner
    if workers.ownership is Ownership.ABSENT and withheld is not None:
        message = f"there are no workers, and none are made while {withheld.message}"
        return Problem(reason=withheld.reason, message=message)
    if workers.ownership is not Ownership.OURS or not applied:
        return _unapplied(withheld)
    problem = workers.rollout_problem or (_ROLLING_OUT if workers.rollout_complete is False else None)
    return problem and _with_pods(problem, workers)


def _unapplied(withheld: Problem | None) -> Problem:
    if withheld is None or withheld.reason is not Reason.DRY_RUN:
        return _NOT_APPLIED
    message = f"the template of the workers is not that of the spec, and stays as it is while {withheld.message}"
    return Problem(reason=withheld.reason, message=message)


def _with_pods(problem: Problem, workers: WorkersObservation) -> Problem:
    if workers.pod_problem is None:
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
