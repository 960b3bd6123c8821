"""A comparison as text: rows of bars for a terminal."""

from collections.abc import Iterator, Sequence

from queueworker_operator.simulation import courses
from queueworker_operator.simulation.compare import Comparison

_BARS = " ▁▂▃▄▅▆▇█"
_ROWS = 3
_LABEL = 18


def lines(comparison: Comparison, *, width: int) -> Iterator[str]:
    """Yield the lines: our backlog, then the replicas of each scaler on one scale; `width` is in columns."""
    ours = comparison.ours.world
    at = courses.moments(ours, max(10, width - _LABEL - 1))
    yield from _chart("backlog, ours", courses.backlog(ours, at), top=None)
    yield from _chart("backlog, KEDA", courses.backlog(comparison.keda.world, at), top=None)
    fleets = [
        ("replicas, ours", courses.replicas(ours, at)),
        ("replicas, KEDA", courses.replicas(comparison.keda.world, at)),
    ]
    if comparison.keda_tuned is not None:
        fleets.append(("KEDA, tuned", courses.replicas(comparison.keda_tuned.world, at)))
    fleets.append(("optimum", courses.planned(comparison.optimum.course, ours.plant.initial, at)))
    top = max(max(values) for _, values in fleets)
    for label, values in fleets:
        yield from _chart(label, values, top=top)
    yield " " * _LABEL + f"0 s{ours.now:>{len(at) - 5},.0f} s".replace(",", " ")


def bars(values: Sequence[float], *, top: float, rows: int) -> list[str]:
    """Return rows of bars, the highest first; a value above 0 shows at least as the lowest mark."""
    if top <= 0:
        return [" " * len(values)] * rows
    steps = len(_BARS) - 1
    heights = [max(1, round(value / top * rows * steps)) if value > 0 else 0 for value in values]
    return [
        "".join(_BARS[min(steps, max(0, height - row * steps))] for height in heights) for row in reversed(range(rows))
    ]


def _chart(label: str, values: Sequence[float], *, top: float | None) -> Iterator[str]:
    highest = max(values) if top is None else top
    for number, row in enumerate(bars(values, top=highest, rows=_ROWS)):
        left = (f"{highest:,.0f}".replace(",", " "), label, "0")[number]
        yield f"{left:>{_LABEL - 2}} │{row}"
