"""Jobs added per second by one process: one after another, 50 in flight, and 500 at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.worker.machine import WORKER_CPU
from bench.worker.run import Figures, Run, interleaved
from bench.worker.variants import Variant

MODES = ("serial", "inflight", "bulk")


def measure(run: Run) -> dict[str, Any]:
    """Return the figures by `variant, mode`; only BullMQ's clients are asked for more than `serial`."""
    cells = [
        (f"{variant.name} {mode}", partial(_rate, run, variant, mode))
        for mode in MODES
        for variant in run.variants
        if variant.is_main or (mode == "serial" and not variant.is_bullmq)
    ]
    return interleaved(run, cells, what="enqueue")


def _rate(run: Run, variant: Variant, mode: str) -> Figures:
    run.server.flush()
    seconds = str(run.window_seconds * 0.7)
    return {"jobs_per_second": float(run.produce(variant, "enqueue", mode, seconds, cpu=WORKER_CPU))}
