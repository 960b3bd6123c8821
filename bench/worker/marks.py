"""What a worker process notes of its own jobs, as lines in a file.

    marks = Marks.from_environment()
    def task(at: int) -> None:
        marks.hit(at)                    # at the start of each job

With BENCH_WARM and BENCH_COUNT set, three lines are written: at the first job, after the warm-up, and after as many
jobs more. Each is JSON with the monotonic clock, the process's own processor time, both in ns, and its RSS in bytes.
Without them every job writes `at` of its payload and the clock at its start; CLOCK_MONOTONIC is the same for all
processes of a machine. Standard library only: it runs in the peers' environment.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping


class Marks:
    """Counts jobs (of any thread) and writes lines; `task_seconds` is what a job sleeps, 0 for a no-op."""

    def __init__(self, path: str, *, edges: frozenset[int], task_seconds: float) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._number = itertools.count(1).__next__
        self._edges = edges
        self.task_seconds = task_seconds
        self.hit: Callable[[int], None] = self._count if edges else self._time

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Marks:
        """Read BENCH_REPORT, BENCH_WARM, BENCH_COUNT and BENCH_TASK_MS."""
        warm, count = int(environment.get("BENCH_WARM", "0")), int(environment.get("BENCH_COUNT", "0"))
        edges = frozenset((1, warm, warm + count)) if count else frozenset()
        task_seconds = float(environment.get("BENCH_TASK_MS", "0")) / 1_000
        return cls(environment.get("BENCH_REPORT", os.devnull), edges=edges, task_seconds=task_seconds)

    def _count(self, _at: int) -> None:
        number = self._number()
        if number in self._edges:
            line = {
                "job": number,
                "ns": time.monotonic_ns(),
                "cpu_ns": time.process_time_ns(),
                "rss": resident_bytes(),
            }
            os.write(self._file, json.dumps(line).encode() + b"\n")

    def _time(self, at: int) -> None:
        os.write(self._file, b"[%d,%d]\n" % (at, time.monotonic_ns()))


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
