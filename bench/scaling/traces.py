"""Six traces through the simulation: ours beside KEDA and the optimum that knows the future, at defaults and tuned.

Like stands beside like: our defaults beside KEDA's, and both at their best tuning for the trace, chosen knowing the
load. Of ours two are printed, the nearest to the optimum and the quickest beside KEDA's best at the same pod-seconds.

Nothing is started and nothing waits: the decision runs in virtual time. `python -m bench.scaling.traces` runs it alone.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from bench.report import emit
from bench.scaling import tunings
from bench.scaling.tunings import Frugal, Own, Swift

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation.compare import Comparison, compare
from queueworker_operator.simulation.figures import Figures
from queueworker_operator.simulation.optimum import Optimum
from queueworker_operator.simulation.patterns import Pattern, Shape, make
from queueworker_operator.simulation.plant import plant_of
from queueworker_operator.simulation.tuning import Tried, best_of, try_keda

START_UP_SECONDS = 10.0
SLOTS = 4
MAX_REPLICAS = 50
SERVICE_SECONDS = 8.0
_SHAPE = Shape(queues=("q",), seconds=3600.0, service=SERVICE_SECONDS, jobs_per_second=1.0)
"""At the peak of most traces 5 jobs a second, which keep 10 pods busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One trace with its seed."""

    pattern: Pattern
    shape: Shape
    seed: int


RUNS = (
    # 1 000 jobs in each of four bursts.
    Run(pattern=Pattern.BURST, shape=replace(_SHAPE, service=1.0, jobs_per_second=10.0), seed=11),
    Run(pattern=Pattern.RAMP, shape=_SHAPE, seed=12),
    # A day in two hours.
    Run(pattern=Pattern.DAILY, shape=replace(_SHAPE, seconds=7200.0), seed=13),
    Run(pattern=Pattern.SPIKY, shape=_SHAPE, seed=14),
    # 500 jobs due at each of four moments.
    Run(pattern=Pattern.DELAYED, shape=replace(_SHAPE, service=1.0, jobs_per_second=10.0), seed=15),
    Run(pattern=Pattern.NOISY, shape=_SHAPE, seed=16),
)


def spec() -> QueueWorkerSpec:
    """Return what is simulated: everything at its default but zero as the minimum, and the maximum."""
    return QueueWorkerSpec.model_validate(
        {
            "queues": [{"name": "q", "concurrency": SLOTS}],
            "redis": {"host": "redis.bench.svc"},
            "worker": {"image": "registry.example/worker:1"},
            "autoscaling": {"minReplicas": 0, "maxReplicas": MAX_REPLICAS},
        }
    )


def measure() -> list[str]:
    """Run all traces, print their figures, and return a line for each goal."""
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        found = dict(pool.map(_measured, RUNS))
    lines: list[str] = []
    for run in RUNS:
        rows, verdicts = found[run.pattern]
        emit(f"scaling trace {run.pattern}", rows)
        lines += verdicts
    return lines


OPTIMUM = "pod-seconds of the optimum of the same p95 wait, times"
IDLE_STARTS = "share of starts that ran no job"
TURNS = "turns within 120 s"

Rows = dict[str, dict[str, float | int]]


def _measured(run: Run) -> tuple[Pattern, tuple[Rows, list[str]]]:
    # Runs of the world are large: only what is printed leaves the process.
    chosen, service = spec(), run.shape.service
    autoscaling = chosen.autoscaling
    assert autoscaling is not None
    trace = make(run.pattern, run.shape, random.Random(run.seed).random)
    plant = plant_of(chosen, random.Random(run.seed).random, start_up=START_UP_SECONDS)
    found = compare(trace, chosen, plant, tune=False)
    window = float(autoscaling.behavior.scale_down.stabilization_window_seconds)
    max_wait = float(autoscaling.target.max_wait_seconds)
    keda = list(try_keda(trace, plant, max_replicas=MAX_REPLICAS, max_wait=max_wait, window=window))
    own = tunings.sparing(tunings.tried(trace, chosen, plant, service=service, window=window))
    tuned = Tuned(
        beside=best_of(keda, pod_seconds=found.ours.figures.pod_seconds),
        frugal=tunings.frugal(own, trace, chosen, plant, service=service),
        swift=tunings.swift(own, keda),
        own=tuple(own),
    )
    return run.pattern, (_rows(found, tuned), list(_verdicts(run.pattern, found, tuned)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What came of the tunings."""

    beside: Tried | None
    """The best of KEDA at the pod-seconds of our defaults."""
    frugal: Frugal
    swift: Swift | None
    own: tuple[Own, ...]


def _rows(found: Comparison, tuned: Tuned) -> Rows:
    best, frugal, swift = found.optimum, tuned.frugal, tuned.swift
    rows = {"ours": _row(found.ours.figures), "KEDA": _row(found.keda.figures)}
    rows["KEDA, active too"] = _row(found.keda_with_active.figures)
    if tuned.beside is not None:
        rows["KEDA, tuned, at ours"] = _row(tuned.beside.figures)
    rows["optimum at ours"] = _optimum(best)
    rows[f"frugal: {frugal.own.setting}"] = _row(frugal.own.figures)
    rows["optimum at frugal"] = _optimum(frugal.optimum)
    if swift is not None:
        rows[f"swift: {swift.own.setting}"] = _row(swift.own.figures)
        rows["KEDA, tuned, at swift"] = _row(swift.keda.figures)
    rows["floor"] = {"pod_seconds": round(best.floor)}
    return rows


def _optimum(best: Optimum) -> dict[str, float | int]:
    return {"p95_s": round(best.p95, 2), "pod_seconds": round(best.pod_seconds)}


def _row(one: Figures) -> dict[str, float | int]:
    return {
        "jobs": one.jobs,
        "p50_s": round(one.waits.p50, 2),
        "p95_s": round(one.waits.p95, 2),
        "p99_s": round(one.waits.p99, 2),
        "over_target_pct": round(100 * one.over_target, 1),
        "pod_seconds": round(one.pod_seconds),
        "idle_pct": round(100 * (one.idle_share or 0.0)),
        "pods": one.most_pods,
        "changes": one.scale_events,
        "turns": one.direction_changes,
        "quick_turns": one.quick_direction_changes,
        "starts": one.starts,
        "idle_starts": one.idle_starts,
        "never_started": one.never_started,
    }


def _verdicts(pattern: Pattern, found: Comparison, tuned: Tuned) -> Iterator[str]:
    yield from _of_defaults(pattern, found, tuned)
    frugal, swift = tuned.frugal, tuned.swift
    yield _verdict(f"{pattern}, ours tuned ({frugal.own.setting})", OPTIMUM, frugal.times, 1.3)
    idle = [frugal.own.figures.idle_start_share]
    if swift is None:
        yield f"met    {pattern}, both tuned: no tuning of KEDA costs as little as any of ours"
    else:
        what = f"{pattern}, both tuned (ours: {swift.own.setting})"
        yield _verdict(what, "p95 wait, of that of KEDA's best at our pod-seconds", swift.share, 1 / 3)
        idle.append(swift.own.figures.idle_start_share)
    yield _verdict(f"{pattern}, ours tuned", IDLE_STARTS, max(idle), tunings.MOST_IDLE_STARTS)
    if pattern is Pattern.NOISY:
        calm = min(tuned.own, key=lambda one: (one.figures.quick_direction_changes, one.figures.pod_seconds))
        yield _verdict(f"{pattern}, ours tuned ({calm.setting})", TURNS, calm.figures.quick_direction_changes, 0)


def _of_defaults(pattern: Pattern, found: Comparison, tuned: Tuned) -> Iterator[str]:
    ours, keda = found.ours.figures, found.keda.figures
    at = f"{pattern}, defaults"
    yield _verdict(at, OPTIMUM, found.times_optimum, 1.3)
    yield _verdict(at, "p95 wait, of that of KEDA's defaults", _share(ours, keda), 1 / 3)
    yield _verdict(at, "pod-seconds, of those of KEDA's defaults", ours.pod_seconds / keda.pod_seconds, 1.0)
    if tuned.beside is None:
        yield f"met    {at}: no tuning of KEDA costs as little"
    else:
        # The best of those that cost no more than ours, so that only the waits are left to compare.
        share = _share(ours, tuned.beside.figures)
        yield _verdict(at, "p95 wait, of that of KEDA's best tuning at our pod-seconds", share, 1 / 3)
    yield _verdict(at, IDLE_STARTS, ours.idle_start_share, tunings.MOST_IDLE_STARTS)
    if pattern is Pattern.NOISY:
        yield _verdict(at, TURNS, ours.quick_direction_changes, 0)


def _share(ours: Figures, theirs: Figures) -> float:
    wait, their_wait = ours.waits.p95, theirs.waits.p95
    return wait / their_wait if their_wait > 0 else (0.0 if wait == 0 else float("inf"))


def _verdict(at: str, what: str, value: float, most: float) -> str:
    word = "met   " if value <= most else "MISSED"
    return f"{word} {at}: {what} {value:.3g}, at most {most:.3g}"


def main() -> None:
    """Run the traces without the rest of the measurements."""
    for line in measure():
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
