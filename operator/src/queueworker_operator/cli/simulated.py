"""A comparison as the command `simulate` prints it."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

from queueworker.cli import output, values
from queueworker_operator.simulation.chart import lines
from queueworker_operator.simulation.compare import Comparison
from queueworker_operator.simulation.figures import Outcome
from queueworker_operator.simulation.trace import Trace


def show(load: Trace, found: Comparison, *, tune: bool) -> None:
    """Print the table of figures, the chart, and one sentence."""
    columns = {"ours": found.ours, "KEDA": found.keda, "KEDA, active too": found.keda_with_active}
    if found.keda_tuned is not None:
        columns["KEDA, tuned"] = found.keda_tuned
    best = {"P95": f"{found.optimum.p95:.2f}", "POD-SECONDS": _whole(found.optimum.pod_seconds)}
    shown = [_figures(outcome) for outcome in columns.values()]
    # A column for each scaler: a terminal of 80 columns holds them all.
    rows = [[name, *(one[name] for one in shown), best.get(name)] for name in shown[0]]
    output.print_table(("FIGURE", *columns, "optimum"), rows)
    for line in lines(found, width=min(120, shutil.get_terminal_size().columns)):
        output.row(line)
    output.line(
        f"{values.jobs_of(len(load.jobs))} in {_seconds(load.seconds)}; waits in seconds from ready to started; "
        f"ours costs {found.times_optimum:.2f} times the optimum of the same p95 wait."
    )
    if tune and found.keda_tuned is None:
        output.message("no setting of KEDA that was tried costs as little as ours")
    if found.ours.figures.never_started:
        left = values.jobs_of(found.ours.figures.never_started)
        output.message(
            f"warning: ours never started {left}, not even in the hour after: see maxReplicas and the limits"
        )
    if load.left_out:
        late = values.jobs_of(load.left_out, "delayed")
        due = "falls due" if load.left_out == 1 else "fall due"
        output.message(f"warning: {late} left out that {due} more than an hour after the end")
    if load.gaps:
        output.message(f"warning: the recording has {load.gaps} gaps, where jobs may be missing")


def _figures(outcome: Outcome) -> dict[str, object]:
    one = outcome.figures
    return {
        "P50": f"{one.waits.p50:.2f}",
        "P95": f"{one.waits.p95:.2f}",
        "P99": f"{one.waits.p99:.2f}",
        "MAX": f"{one.waits.longest:.2f}",
        "OVER TARGET": _percent(one.over_target),
        "POD-SECONDS": _whole(one.pod_seconds),
        "PER 1 000 JOBS": _whole(one.pod_seconds_per_1000_jobs),
        "IDLE": _percent(one.idle_share),
        "MOST PODS": one.most_pods,
        "CHANGES": one.scale_events,
        "TURNS": one.direction_changes,
        "STARTS": one.starts,
        "IDLE STARTS": one.idle_starts,
    }


def as_json(load: Trace, found: Comparison, *, seed: int, start_up: float) -> dict[str, Any]:
    """Return everything but the courses over time."""

    def outcome(one: Outcome | None) -> dict[str, Any] | None:
        if one is None:
            return None
        figures = one.figures
        settings = dataclasses.asdict(one.settings) if one.settings is not None else None
        extra = {"pod_seconds_per_1000_jobs": figures.pod_seconds_per_1000_jobs}
        return {**dataclasses.asdict(figures), **extra, **({"settings": settings} if settings else {})}

    best = found.optimum
    return {
        "jobs": len(load.jobs),
        "seconds": load.seconds,
        "gaps": load.gaps,
        "left_out": load.left_out,
        "seed": seed,
        "start_up_seconds": start_up,
        "ours": outcome(found.ours),
        "keda": outcome(found.keda),
        "keda_with_active": outcome(found.keda_with_active),
        "keda_tuned": outcome(found.keda_tuned),
        "optimum": {"pod_seconds": best.pod_seconds, "p95": best.p95, "floor_pod_seconds": best.floor},
        "times_optimum": found.times_optimum,
    }


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.1f}%"


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}".replace(",", " ")
