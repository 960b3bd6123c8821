"""One run: the server, who takes part, and the two kinds of measurement that most parts are made of."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.worker import limit
from bench.worker.machine import SERVER_CPU, WORKER_CPU, BenchError, Process, running
from bench.worker.server import BenchServer, Snapshot
from bench.worker.variants import Variant

Figures = dict[str, float]


@dataclass(slots=True)
class Run:
    """What the parts of a run share."""

    server: BenchServer
    variants: Sequence[Variant]
    concurrencies: Sequence[int]
    rounds: int
    window_seconds: float
    """About how long a rate is measured."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def snapshot(self, variant: Variant, number: int) -> Snapshot:
        """Return so many jobs, or more, that the variant's producer added."""
        if self.sizes.get(variant.jobs, 0) < number or variant.jobs not in self.snapshots:
            self.server.flush()
            if variant.is_bullmq:
                limit.fill(self.server.wire, number)
            else:
                self.produce(variant, "fill", str(number))
            self.snapshots[variant.jobs] = Snapshot(self.server.wire)
            self.sizes[variant.jobs] = number
        return self.snapshots[variant.jobs]

    def produce(self, variant: Variant, *arguments: str, port: int | None = None, seconds: float = 60) -> str:
        """Let the variant's producer do something on the server's processor; return what it printed."""
        environment = variant.connected_to(port or self.server.port)
        with running((*variant.produce, *arguments), environment, cpu=SERVER_CPU) as process:
            return process.wait(seconds)

    def worker(
        self,
        variant: Variant,
        concurrency: int,
        *,
        port: int | None = None,
        ca_file: Path | None = None,
        **settings: float | str,
    ) -> AbstractContextManager[Process]:
        """Start a worker of the variant on its processor; `settings` are BENCH_ variables."""
        environment = variant.connected_to(port or self.server.port, ca_file)
        environment |= {f"BENCH_{name.upper()}": str(value) for name, value in settings.items()}
        return running((*variant.work, str(concurrency)), environment, cpu=WORKER_CPU)


def rate(
    run: Run,
    variant: Variant,
    concurrency: int,
    *,
    expected: float,
    port: int | None = None,
    ca_file: Path | None = None,
    task_ms: float = 0,
) -> Figures:
    """Run waiting jobs and return jobs per second and the process's CPU per job, once it is warm."""
    warm, count = _numbers(expected, run.window_seconds, concurrency)
    run.server.load(run.snapshot(variant, warm + count + 2 * concurrency + 10))
    settings = {"warm": warm, "count": count, "task_ms": task_ms}
    with run.worker(variant, concurrency, port=port, ca_file=ca_file, **settings) as process:
        first, begin, end = process.note(3, seconds=20 + 20 * run.window_seconds)
    return {
        "jobs_per_second": count / (end["ns"] - begin["ns"]) * 1e9,
        "cpu_us_per_job": (end["cpu_ns"] - begin["cpu_ns"]) / count / 1_000,
        "rss_mib": end["rss"] / 2**20,
        "first_job_ms": (first["ns"] - process.started_ns) / 1e6,
    }


def _numbers(expected: float, seconds: float, concurrency: int) -> tuple[int, int]:
    """Return how many jobs to warm up with and how many to measure."""
    count = max(int(expected * seconds), 2 * concurrency, 20)
    return max(int(count * 0.3), concurrency + 1, 5), count


def interleaved(
    rounds: int, cells: Iterable[tuple[str, Callable[[], Figures]]], *, what: str
) -> dict[str, Mapping[str, float | str]]:
    """Measure each cell once a round, and return the medians; a cell that fails once is left out with its reason."""
    cells = list(cells)
    taken: dict[str, list[Figures]] = {name: [] for name, _ in cells}
    failed: dict[str, str] = {}
    for number in range(rounds):
        for name, measure in cells:
            if name in failed:
                continue
            try:
                taken[name].append(measure())
                print(f"{what} {number + 1}/{rounds} {name}: {_short(taken[name][-1])}", file=sys.stderr, flush=True)
            except BenchError as error:
                failed[name] = str(error)
                print(f"{what} {number + 1}/{rounds} {name}: {error}", file=sys.stderr, flush=True)
    return {name: {"error": failed[name]} if name in failed else medians(taken[name]) for name, _ in cells}


def medians(taken: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each figure, and for rates the lowest and the highest."""
    found = {key: statistics.median(one[key] for one in taken) for key in taken[0]}
    if "jobs_per_second" in found:
        rates = [one["jobs_per_second"] for one in taken]
        found |= {"lowest": min(rates), "highest": max(rates)}
    return found


def _short(figures: Figures) -> str:
    return "  ".join(f"{key} {value:,.1f}" for key, value in figures.items())
