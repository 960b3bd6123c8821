"""How exactly the rate limiter is kept: the rate over whole windows, beside the one that was set.

One process serves a queue for each limit, all at once. A limit of m jobs per d ms is kept exactly when the first job
of the fourth window starts 3 d after the first of all.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

from bench.worker import limit
from bench.worker.machine import Process
from bench.worker.run import Figures, Run, interleaved
from bench.worker.variants import Variant

LIMITS = {"bench-1": (10, 1_000), "bench-2": (100, 1_000), "bench-3": (1_000, 1_000), "bench-4": (50, 200)}
"""Jobs and ms by queue."""
SECONDS = 3.0
START_SECONDS = 30.0


def measure(run: Run) -> dict[str, Any]:
    """Return measured divided by nominal rate, by limit; the stdlib loop is left to the other parts."""
    cells = [(variant.name, partial(_limits, run, variant)) for variant in run.variants if variant.is_main]
    return interleaved(run, cells, what="limiter")


def _limits(run: Run, variant: Variant) -> Figures:
    run.server.flush()
    for number, (queue, one) in enumerate(LIMITS.items()):
        limit.fill(run.server.wire, _jobs(one) + 1, queue=queue, at=number)
    with run.worker(variant, 10, limits=LIMITS) as process:
        _wait(process, sum(_jobs(one) + 1 for one in LIMITS.values()), seconds=2 * SECONDS)
        until, notes = time.monotonic_ns(), sorted(process.notes_now())
    by_limit = {number: sorted(begun for _, begun in group) for number, group in itertools.groupby(notes, _number)}
    return {
        f"{most}/{ms}ms": _share(by_limit.get(number, []), most, ms, until)
        for number, (most, ms) in enumerate(LIMITS.values())
    }


def _share(starts: list[int], most: int, ms: int, until: int) -> float:
    """Return the rate over the windows; where they were not served in time, the rate until we looked."""
    needed = _jobs((most, ms))
    if not starts:
        return 0.0
    complete = len(starts) > needed
    count, end = (needed, starts[needed]) if complete else (len(starts), until)
    return count / ((end - starts[0]) / 1e6) / (most / ms)


def _wait(process: Process, number: int, *, seconds: float) -> None:
    """Wait for so many notes, and once there is one for so many seconds at most."""
    deadline, begun = time.monotonic() + START_SECONDS, False
    while (found := len(process.notes_now())) < number and time.monotonic() < deadline:
        if found and not begun:
            deadline, begun = time.monotonic() + seconds, True
        time.sleep(0.1)


def _jobs(limited: tuple[int, int]) -> int:
    most, ms = limited
    return int(most * SECONDS * 1_000 / ms)


def _number(note: list[int]) -> int:
    return note[0]
