"""What a worker takes: memory after many jobs, and CPU and memory while it has nothing to do."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.worker import limit
from bench.worker.machine import Process
from bench.worker.marks import resident_bytes
from bench.worker.run import Run
from bench.worker.server import BenchServer
from bench.worker.variants import Variant

CONCURRENCY = 10
EARLY_SHARE = 0.1
SETTLE_SECONDS = 3.0


def memory(run: Run) -> dict[str, Any]:
    """Return the RSS after a tenth of the jobs and after all; once each, for it hardly varies.

    Only for those that run so many jobs in some seconds: ours and BullMQ for Node.
    """
    return {variant.name: _memory(run, variant) for variant in run.variants if variant.rate(50) > 10_000}


def idle(run: Run) -> dict[str, Any]:
    """Return CPU in percent of one processor and the RSS, all workers side by side, each with a server of its own.

    They have run one job and have nothing to do then; their processor time is their own whatever the others do.
    """
    with ExitStack() as stack:
        processes = {}
        for variant in run.variants:
            server = BenchServer()
            stack.callback(server.stop)
            processes[variant.name] = stack.enter_context(
                run.worker(variant, min(CONCURRENCY, max(variant.concurrencies)), port=server.port)
            )
            run.produce(variant, "pace", "1", "1", port=server.port)
        for process in processes.values():
            process.note(1, seconds=30)
        time.sleep(SETTLE_SECONDS)
        before = {name: (time.monotonic(), processor_seconds(one.pid)) for name, one in processes.items()}
        time.sleep(run.idle_seconds)
        return {name: _idle(one, *before[name]) for name, one in processes.items()}


def processor_seconds(pid: int) -> float:
    """Return the processor time of the living threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _idle(process: Process, since: float, used: float) -> dict[str, float]:
    seconds = time.monotonic() - since
    percent = (processor_seconds(process.pid) - used) / seconds * 100
    return {"cpu_percent": percent, "rss_mib": resident_bytes(process.pid) / 2**20}


def _memory(run: Run, variant: Variant) -> dict[str, float]:
    run.server.flush()
    early = int(run.memory_jobs * EARLY_SHARE)
    limit.fill(run.server.wire, run.memory_jobs + 10)
    with run.worker(variant, 50, {"warm": early, "count": run.memory_jobs - early}) as process:
        _, first, last = process.note(3, seconds=120)
    return {"jobs": run.memory_jobs, "early_rss_mib": first["rss"] / 2**20, "rss_mib": last["rss"] / 2**20}
