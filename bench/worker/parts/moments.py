"""When jobs start: after their add, after their delay, and after the worker process itself was started."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.report import percentile
from bench.worker import limit
from bench.worker.run import Figures, Run, interleaved
from bench.worker.variants import Variant

CONCURRENCY = 10
WARM = 20
IDLE, IDLE_EVERY_MS = 100, 15
LOADED, LOADED_EVERY_MS = 800, 2
SATURATED_BELOW = 400
"""A worker that runs fewer jobs per second is not asked about its latency under the load."""
DELAYED, WITHIN_MS = 60, 2_000


def latency(run: Run) -> dict[str, Any]:
    """Return ms from before the add to the start, p50 and p99, on an idle worker and at 500 jobs per second."""
    cells = [(variant.name, partial(_latency, run, variant)) for variant in run.variants]
    return interleaved(run, cells, what="latency")


def delayed(run: Run) -> dict[str, Any]:
    """Return by how many ms delayed jobs start late on an idle worker."""
    cells = [(variant.name, partial(_delayed, run, variant)) for variant in run.variants if variant.is_main]
    return interleaved(run, cells, what="delayed")


def start(run: Run) -> dict[str, Any]:
    """Return ms from before the exec of the worker to the start of its first job, which waits."""
    cells = [(variant.name, partial(_start, run, variant)) for variant in run.variants]
    for _, unmeasured in cells:
        unmeasured()  # compiles what is not compiled yet, and reads it from disk
    return interleaved(run, cells, what="start")


def _latency(run: Run, variant: Variant) -> Figures:
    run.server.flush()
    loaded = LOADED if variant.rate(CONCURRENCY) >= SATURATED_BELOW else 0
    concurrency = min(CONCURRENCY, max(variant.concurrencies))
    with run.worker(variant, concurrency) as process:
        plan = ((WARM, IDLE_EVERY_MS), (IDLE, IDLE_EVERY_MS), (loaded, LOADED_EVERY_MS))
        run.produce(variant, "pace", *(str(word) for phase in plan for word in phase))
        notes = process.note(WARM + IDLE + loaded, seconds=20)
    late = [(begun - at) / 1e6 for at, begun in sorted(notes)]
    figures = _spread("idle", late[WARM : WARM + IDLE])
    return figures | (_spread("load", late[WARM + IDLE + loaded // 5 :]) if loaded else {})


def _delayed(run: Run, variant: Variant) -> Figures:
    run.server.flush()
    with run.worker(variant, CONCURRENCY) as process:
        run.produce(variant, "delay", str(WARM), str(DELAYED), str(WITHIN_MS))
        notes = process.note(WARM + DELAYED, seconds=20)
    return _spread("late", [(begun - due) / 1e6 for due, begun in sorted(notes)[WARM:]])


def _start(run: Run, variant: Variant) -> Figures:
    if variant.is_bullmq:
        run.server.flush()
        limit.fill(run.server.wire, 1)
    else:
        run.server.load(run.snapshot(variant, 1))
    with run.worker(variant, min(CONCURRENCY, max(variant.concurrencies))) as process:
        return {"first_job_ms": (process.note(1, seconds=30)[0][1] - process.started_ns) / 1e6}


def _spread(name: str, values: list[float]) -> Figures:
    return {f"{name}_ms_p50": percentile(values, 0.5), f"{name}_ms_p99": percentile(values, 0.99)}
