"""Which pods bear a deletion cost of ours: the victims of a scale-in, from just before it until they are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation
from queueworker_operator.scaling.victims import VICTIM_COST


def before_shrink(decision: Decision, workers: WorkersObservation) -> dict[str, int | None]:
    """Return what is to be written before the number is lowered: costs on the victims, none on who stays."""
    known = {pod.name: pod.deletion_cost for pod in workers.pods or ()}
    costs: dict[str, int | None] = {name: None for name in decision.spared}
    costs |= {name: VICTIM_COST for name in decision.victims if known.get(name) != VICTIM_COST}
    return costs


def unseen(decision: Decision, workers: WorkersObservation) -> Problem | None:
    """Return why pods of ours could not be listed, where some are to stay: then nobody can choose among them."""
    ours = workers.ownership in (Ownership.OURS, Ownership.ADOPTABLE)
    return workers.pod_problem if ours and workers.pods is None and decision.desired > 0 else None


def to_take_back(decision: Decision, workers: WorkersObservation, memory: Memory) -> dict[str, int | None]:
    """Return what is to be written where no scale-in follows: what was meant for one that was cancelled."""
    names = set(decision.spared)
    if memory.pods.cancelled or decision.desired > workers.replicas:
        names |= memory.pods.costly
    return {name: None for name in sorted(names)}


def writes(costs: Mapping[str, int | None], memory: Memory) -> None:
    """Remember what the pods may bear from now on: a write that breaks off may have been half done."""
    victims = frozenset(name for name, cost in costs.items() if cost is not None)
    memory.pods.costly |= victims
    memory.pods.cancelled = memory.pods.cancelled or bool(victims)


def wrote(costs: Mapping[str, int | None], memory: Memory) -> None:
    """Remember what the pods bear now."""
    free = {name for name, cost in costs.items() if cost is None}
    memory.pods.costly -= free
    memory.pods.cancelled = memory.pods.cancelled and bool(memory.pods.costly)
    workers = memory.workers
    if workers is not None and workers.pods is not None:
        pods = (replace(pod, deletion_cost=costs.get(pod.name, pod.deletion_cost)) for pod in workers.pods)
        memory.workers = replace(workers, pods=tuple(pods))
