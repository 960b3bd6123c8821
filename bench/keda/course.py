"""The pure parts: when to push, the figures of the runs, and counters of a metrics page."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.keda.objects import REPLICAS
from bench.report import summary

Figures = dict[str, float | int]

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def phases(*, runs: int, interval: float, chance: random.Random) -> list[float]:
    """Return a random moment of an interval for each run, spread: one in each of so many equal parts, in any order."""
    moments = [(run + chance.random()) * interval / runs for run in range(runs)]
    chance.shuffle(moments)
    return moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A scale-out: seconds from the push: each number as it was written, and all pods Ready."""

    written: list[tuple[float, int]]
    all_ready: float

    @property
    def complete(self) -> float:
        """When the last number was written."""
        return next(after for after, number in self.written if number == REPLICAS)


def rows(title: str, runs: Sequence[Run]) -> dict[str, Figures]:
    """Return the summaries of the runs, and for each run the seconds at which it wrote which number."""
    return {
        f"{title}: push → replicas > 0": summary([run.written[0][0] for run in runs]),
        f"{title}: push → {REPLICAS} replicas": summary([run.complete for run in runs]),
        f"{title}: push → {REPLICAS} pods Ready": summary([run.all_ready for run in runs]),
        **{
            f"{title}, run {position}: seconds at the number": {str(number): at for at, number in run.written}
            for position, run in enumerate(runs, 1)
        },
    }


def counted(page: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric (Prometheus' text format) that have these labels."""
    return sum(value for found, value in _samples(page, name) if labels.items() <= found.items())


def _samples(page: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for line in page.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if sample and sample[1] == name:
            yield dict(_LABEL.findall(sample[2] or "")), float(sample[3])
