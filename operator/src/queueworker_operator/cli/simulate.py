"""The command `simulate`: a spec on recorded or made-up load, beside KEDA and beside the optimum."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from queueworker.cli import output, parameters, values
from queueworker_operator.cli import picture

_DAY = 86_400
_MANY_JOBS = 100_000


class Shape(enum.StrEnum):
    """The patterns by name; those of `simulation.patterns`, which is imported late."""

    BURST = "burst"
    RAMP = "ramp"
    DAILY = "daily"
    SPIKY = "spiky"
    DELAYED = "delayed"
    NOISY = "noisy"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("simulate")(simulate)


def simulate(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="A file with the QueueWorker; what else is in it does not count.")
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="Which QueueWorker, where the file has several; or NAMESPACE/NAME.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Load that `queueworker record` wrote.")] = None,
    pattern: Annotated[Shape | None, typer.Option(help="Made-up load instead, from 2026-01-01 00:00 UTC on.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Jobs per second and queue at the pattern's peak. Default: 60 % of maxReplicas and of the limits.",
            min=0.001,
        ),
    ] = None,
    start_up: Annotated[
        float, typer.Option(help="Seconds from a pod's creation to ready, on average.", min=0, max=_DAY)
    ] = 10.0,
    service: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a job takes on average, where the trace does not say. Default: of the spec, else 1.",
            min=0.001,
            max=_DAY,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(help="The length of the pattern, or how much of the trace: 90s, 10m, 2h.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn; the same seed gives the same figures.")] = 1,
    tune: Annotated[
        bool, typer.Option("--tune", help="Also search KEDA's best settings for this load: slower.")
    ] = False,
    chart: Annotated[
        Path | None, typer.Option(help="Write a PNG here; needs queueworker-operator[charts].", metavar="FILE.png")
    ] = None,
    output_format: parameters.Output = output.Format.TABLE,
) -> None:
    """Replay load through the operator's decision, with a model of pods, and say what comes of it.

    Beside it: KEDA with an HPA on the length of `wait`, with its defaults; the same counting active jobs; and the
    cheapest course that anybody could have found who knew the future, at the same p95 wait.
    """
    from queueworker_operator.cli import load, simulated
    from queueworker_operator.simulation import ceilings
    from queueworker_operator.simulation.compare import compare
    from queueworker_operator.simulation.plant import plant_of

    if chart is not None:
        picture.check(chart)
    milliseconds = values.milliseconds(duration, option="--duration")
    spec, autoscaling = load.read_spec(file, name)
    wish = load.Wish(
        trace=trace,
        pattern=pattern.value if pattern is not None else None,
        rate=rate,
        service=service,
        duration=None if milliseconds is None else milliseconds / 1000,
        seed=seed,
    )
    jobs = load.load_of(wish, spec, autoscaling)
    if len(jobs.jobs) > _MANY_JOBS:
        output.message(f"{values.jobs_of(len(jobs.jobs))}: that takes minutes; --duration takes a part of them")
    for line in ceilings.excesses(jobs, spec):
        output.message(f"warning: {line}")
    found = compare(jobs, spec, plant_of(spec, load.uniform(seed), start_up=start_up), tune=tune)
    if chart is not None:
        picture.draw(found, chart)
    if output_format is output.Format.JSON:
        output.print_json(simulated.as_json(jobs, found, seed=seed, start_up=start_up))
    else:
        simulated.show(jobs, found, tune=tune)
