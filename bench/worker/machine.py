"""Processors to run on, and processes that end with the measurement that started them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PROCESSORS = sorted(os.sched_getaffinity(0))
SERVER_CPU, WORKER_CPU = _PROCESSORS[0], _PROCESSORS[-1]
PROXY_CPU = _PROCESSORS[1] if len(_PROCESSORS) > 2 else SERVER_CPU
"""With two processors the proxy takes of the server's."""


class BenchError(Exception):
    """A measurement that could not be made, with what the process said."""


@contextlib.contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Run this thread, and what it starts, on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A process of a peer; its notes (`marks`) and what it says are in files."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, cpu: int, directory: Path) -> None:
        self.notes, self._log = directory / "notes", directory / "log"
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            # Compiled once for all, as in an image; checkouts and fresh environments hold no compiled modules.
            "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bench-bytecode"),
            "HOME": str(directory),
            "BENCH_REPORT": str(self.notes),
            **environment,
        }
        with self._log.open("ab") as log, on_cpu(cpu):
            self.started_ns = time.monotonic_ns()
            self._process = subprocess.Popen(
                list(command), env=variables, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    def note(self, number: int, *, seconds: float) -> list[Any]:
        """Return the notes as soon as there are so many; raises BenchError."""
        deadline = time.monotonic() + seconds
        while len(found := self.notes_now()) < number:
            if self._process.poll() is not None or time.monotonic() > deadline:
                code = self._process.poll()
                how = f"over {seconds:g} s" if code is None else f"ended with {code}"
                raise BenchError(f"{len(found)} of {number} notes, {how}: {_last_lines(self.said())}")
            time.sleep(0.02)
        return found

    def notes_now(self) -> list[Any]:
        """Return the notes that were written so far."""
        text = self.notes.read_bytes() if self.notes.exists() else b""
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def said(self) -> str:
        """Return what the process wrote to stdout and stderr."""
        return self._log.read_text(errors="replace")

    def wait(self, seconds: float) -> str:
        """Wait for a good end and return what it said; raises BenchError."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"not ended after {seconds:g} s: {_last_lines(self.said())}") from None
        if code:
            raise BenchError(f"ended with {code}: {_last_lines(self.said())}")
        return self.said()

    def kill(self) -> None:
        """End it and what it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], *, cpu: int) -> Iterator[Process]:
    """Start a process on one processor and kill it at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-worker-") as directory:
        process = Process(command, environment, cpu=cpu, directory=Path(directory))
        try:
            yield process
        finally:
            process.kill()


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-4:] if line.strip())
