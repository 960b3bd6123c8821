"""One run: the server, who takes part, and the two kinds of measurement that most parts are made of."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.worker import limit
from bench.worker.machine import SERVER_CPU, WORKER_CPU, BenchError, Process, running
from bench.worker.server import BenchServer, Snapshot
from bench.worker.variants import Limit, Variant

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
    deadline: float = math.inf
    """Until when, by the monotonic clock, a part may begin another round."""
    idle_seconds: float = 20.0
    memory_jobs: int = 100_000
    snapshots: dict[tuple[str, int], Snapshot] = field(default_factory=dict)

    def snapshot(self, variant: Variant, number: int) -> Snapshot:
        """Return so many jobs, or more, that the variant's producer added."""
        # Some sizes only, so that a producer seldom works and no load is much longer than its measurement.
        size = 2 ** (number - 1).bit_length()
        key = (variant.jobs, size)
        if key not in self.snapshots:
            self.server.flush()
            if variant.is_bullmq:
                limit.fill(self.server.wire, size)
            else:
                self.produce(variant, "fill", str(size))
            self.snapshots[key] = Snapshot(self.server.wire)
        return self.snapshots[key]

    def produce(self, variant: Variant, *arguments: str, port: int | None = None, cpu: int = SERVER_CPU) -> str:
        """Let the variant's producer do something; return what it printed."""
        environment = variant.connected_to(port or self.server.port)
        with running((*variant.produce, *arguments), environment, cpu=cpu) as process:
            return process.wait(60)

    def worker(
        self,
        variant: Variant,
        concurrency: int,
        to_do: Mapping[str, float] | None = None,
        *,
        port: int | None = None,
        ca_file: Path | None = None,
        limits: Mapping[str, Limit] | None = None,
    ) -> AbstractContextManager[Process]:
        """Start a worker of the variant on its processor; `to_do` is what `marks` reads: warm, count, task_ms."""
        environment = variant.connected_to(port or self.server.port, ca_file)
        environment |= {f"BENCH_{name.upper()}": str(value) for name, value in (to_do or {}).items()}
        if limits:
            environment |= variant.limited(limits)
        return running(variant.worker(concurrency, limits or ("bench",)), environment, cpu=WORKER_CPU)


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
    to_do = {"warm": warm, "count": count, "task_ms": task_ms}
    with run.worker(variant, concurrency, to_do, port=port, ca_file=ca_file) as process:
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
    run: Run, cells: Iterable[tuple[str, Callable[[], Figures]]], *, what: str
) -> dict[str, Mapping[str, float | str]]:
    """Measure each cell once a round, and return the medians; a cell that fails once is left out with its reason.

    Another round is begun only while one like those before would end in time; `rounds` of a row says how many it had.
    """
    cells = list(cells)
    taken: dict[str, list[Figures]] = {name: [] for name, _ in cells}
    failed: dict[str, str] = {}
    for number in range(run.rounds):
        begin = time.monotonic()
        for name, measure in cells:
            if name in failed:
                continue
            try:
                taken[name].append(measure())
                said = "  ".join(f"{key} {value:,.1f}" for key, value in taken[name][-1].items())
            except BenchError as error:
                failed[name] = said = str(error)
            print(f"{what} {number + 1}/{run.rounds} {name}: {said}", file=sys.stderr, flush=True)
        now = time.monotonic()
        if now + (now - begin) > run.deadline:
            break
    return {name: {"error": failed[name]} if name in failed else medians(taken[name]) for name, _ in cells}


def medians(taken: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each figure, and for rates the lowest and the highest."""
    found = {key: statistics.median(one[key] for one in taken) for key in taken[0]}
    if "jobs_per_second" in found:
        rates = [one["jobs_per_second"] for one in taken]
        found |= {"lowest": min(rates), "highest": max(rates)}
    return found | {"rounds": len(taken)}
