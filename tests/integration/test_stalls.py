"""The meter of stalls counts what the machine takes, and nothing that the process does itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from stalls import Stalls, _stall, _Tick

PROGRAM = """
import sys, time
from stalls import Stalls
with Stalls() as stalls:
    began = time.monotonic()
    print("began", flush=True)
    sys.stdin.readline()
    print(stalls.since(began), time.monotonic() - began, flush=True)
"""


def test_a_process_that_was_held_up_knows_for_how_long() -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGCONT)
        stalled, passed = map(float, process.communicate("\n", timeout=30)[0].split())
    assert 0.4 < stalled <= passed


def test_code_that_keeps_the_interpreter_is_no_stall() -> None:
    with Stalls() as stalls:
        time.sleep(0.05)
        began, cpu = time.monotonic(), time.process_time()
        sum(range(10_000_000))
        ended, ran = time.monotonic(), time.process_time() - cpu
        assert stalls.between(began, ended) <= ended - began - ran + 0.02


@pytest.mark.parametrize(
    ("passed", "ran", "stalled"),
    [(0.01, 0.0, 0.0), (0.029, 0.0, 0.0), (0.51, 0.0, 0.5), (0.51, 0.5, 0.0), (1, 0.4, 0.59)],
)
def test_a_stall_is_what_is_late_without_running(passed: float, ran: float, stalled: float) -> None:
    found = _stall(_Tick(100, 5), _Tick(100 + passed, 5 + ran))
    assert sum(end - start for start, end in found) == pytest.approx(stalled)


def test_only_what_lies_between_the_two_moments_counts() -> None:
    with Stalls() as stalls:
        stalls._stalls[:] = [(10.0, 12.0), (20.0, 21.0)]
        assert stalls.between(11.0, 20.25) == pytest.approx(1.25)
        assert stalls.between(12.0, 20.0) == 0
