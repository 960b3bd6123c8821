"""Jobs that wait 20 ms, as jobs that call something do, beside the ideal: concurrency / 20 ms."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.worker.run import Figures, Run, interleaved, rate
from bench.worker.variants import Variant

TASK_MS = 20.0
CONCURRENCIES = (50, 200)


def measure(run: Run) -> dict[str, Any]:
    """Return the figures by `variant, concurrency`."""
    cells = [
        (f"{variant.name} {concurrency}", partial(_share, run, variant, concurrency))
        for concurrency in CONCURRENCIES
        for variant in run.variants
        if concurrency in variant.concurrencies and concurrency in run.concurrencies
    ]
    return interleaved(run, cells, what="sleep")


def _share(run: Run, variant: Variant, concurrency: int) -> Figures:
    ideal = concurrency * 1_000 / TASK_MS
    expected = min(ideal, variant.rate(concurrency))
    figures = rate(run, variant, concurrency, expected=expected, task_ms=TASK_MS)
    return figures | {"share_of_ideal": figures["jobs_per_second"] / ideal}
