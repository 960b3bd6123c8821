"""No-op jobs per second, and the worker's CPU per job, beside the server's own limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.worker import limit
from bench.worker.run import Figures, Run, interleaved, rate


def measure(run: Run) -> dict[str, Any]:
    """Return the figures by `variant, concurrency`; `limit` is the server's own."""
    cells: list[tuple[str, Callable[[], Figures]]] = [("limit", partial(server_limit, run))]
    for concurrency in run.concurrencies:
        for variant in run.variants:
            if concurrency in variant.concurrencies:
                one = partial(rate, run, variant, concurrency, expected=variant.rate(concurrency))
                cells.append((f"{variant.name} {concurrency}", one))
    return interleaved(run, cells, what="throughput")


def server_limit(run: Run, *, port: int | None = None, ca_file: Path | None = None) -> Figures:
    """Return what the server does when a pipelining client asks, through a proxy where `port` is one's.

    `server_cpu_us_per_job` is what it needed; a rate far below its inverse means that something else had the
    processor.
    """
    count = int(15_000 * run.window_seconds)
    run.server.flush()
    limit.fill(run.server.wire, count + 3_000)
    before, warm = run.server.processor_seconds, 2_000
    taken = limit.seconds(port or run.server.port, warm=warm, count=count, ca_file=ca_file)
    used = run.server.processor_seconds - before
    return {"jobs_per_second": count / taken, "server_cpu_us_per_job": used / (warm + count) * 1e6}
