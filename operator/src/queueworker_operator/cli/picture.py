"""A comparison as a PNG, by matplotlib, which the extra `charts` brings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from queueworker.errors import SettingsError

if TYPE_CHECKING:
    from queueworker_operator.simulation.compare import Comparison

_POINTS = 1200


def check(file: Path) -> None:
    """Raise SettingsError where nothing can be drawn to this file; before a long simulation, not after it."""
    if file.suffix.lower() != ".png":
        raise SettingsError(f"--chart {file}: the picture is a PNG, so the name ends with .png")
    if not file.parent.is_dir():
        raise SettingsError(f"--chart {file}: there is no directory {file.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        message = "--chart needs matplotlib: pip install 'queueworker-operator[charts]', or leave the option out"
        raise SettingsError(message) from None


def draw(comparison: Comparison, file: Path) -> None:
    """Write the backlog of ours and of KEDA, and the replicas of all, over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from queueworker_operator.simulation import courses

    ours, keda, tuned = comparison.ours.world, comparison.keda.world, comparison.keda_tuned
    at = courses.moments(ours, _POINTS)
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(at, courses.backlog(keda, at), color="tab:orange", label="KEDA")
    above.plot(at, courses.backlog(ours, at), color="tab:blue", label="ours")
    above.set_ylabel("backlog, jobs")
    best = courses.planned(comparison.optimum.course, ours.plant.initial, at)
    below.fill_between(at, best, step="pre", color="0.85", label="optimum")
    below.step(at, courses.replicas(keda, at), color="tab:orange", label="KEDA")
    if tuned is not None:
        below.step(at, courses.replicas(tuned.world, at), color="tab:green", label="KEDA, tuned")
    below.step(at, courses.replicas(ours, at), color="tab:blue", label="ours")
    below.set_ylabel("replicas")
    below.set_xlabel("seconds")
    for axes in (above, below):
        axes.legend(loc="upper right")
        axes.set_ylim(bottom=0)
    figure.savefig(file, dpi=100)
