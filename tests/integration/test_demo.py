"""The demo as a newcomer runs it: right to the last job, and gone without a trace when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from examples.demo.__main__ import exit_code
from examples.demo.ledger import Entry, JobKey, JobRecord, State, StoredKill, judge
from examples.demo.show import Outcome
from processes import has_ended

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
JOBS = 300


class Demo:
    """A demo in a process group of its own, as a terminal would give it."""

    def __init__(self, directory: Path) -> None:
        self.log, self.output = directory / "workers.log", directory / "output"
        command = [sys.executable, "-m", "examples.demo", "--jobs", str(JOBS), "--log", str(self.log)]
        with self.output.open("wb") as output:
            # The servers' own directories tell whose they are.
            environment = {**os.environ, "TMPDIR": str(directory)}
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.directory = directory

    def offspring(self) -> list[psutil.Process]:
        """Return what runs of this demo: its children, and the PostgreSQL that left its process group."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        servers = [
            one
            for one in psutil.process_iter(["cmdline"])
            if str(self.directory) in " ".join(one.info["cmdline"] or ())
        ]
        return [*family, *(one for one in servers if one.pid != self.process.pid)]

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 100
        while not re.search(text, self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return self.output.read_text()


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    # Short: the path of a Unix socket lies below it.
    demo = Demo(tmp_path_factory.mktemp("d"))
    yield demo
    if demo.process.poll() is None:
        left = demo.offspring()
        demo.process.kill()
        for one in left:
            one.kill()
    demo.process.wait(timeout=30)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=30)
    return all(has_ended(one) for one in alive)


def test_all_jobs_are_done_once_and_the_workers_come_and_go(demo: Demo) -> None:
    demo.until(r"killmail: \S+ replicas=[1-9]")
    running = demo.offspring()

    assert demo.process.wait(timeout=180) == 0, demo.said()
    facts = dict(re.findall(r"^(jobs in|jobs done|lost|done twice|failed) +(\d+)$", demo.said(), re.MULTILINE))
    assert facts == {"jobs in": "300", "jobs done": "300", "lost": "0", "done twice": "0", "failed": "0"}
    assert re.search(r"^ISK total      [\d,]+\.\d\d$", demo.said(), re.MULTILINE)
    assert re.search(r"^workers        at most killmail [1-4], backfill 1; 0 at the end$", demo.said(), re.M)
    assert "worker killmail-1 ends: " in demo.log.read_text()
    assert len(running) >= 3, "Valkey, PostgreSQL and a worker"
    assert gone(running)


def test_ctrl_c_drains_the_workers_and_leaves_nothing_behind(demo: Demo) -> None:
    demo.until(r"killmail: \S+ replicas=[1-9]\d* ready=[1-9]")
    running = demo.offspring()

    os.killpg(demo.process.pid, signal.SIGINT)

    assert demo.process.wait(timeout=120) == 130, demo.said()
    assert demo.said().splitlines()[-1] == "interrupted: the workers and both servers have ended"
    assert gone(running)
    log = demo.log.read_text()
    # A job that came with the last call is put back unstarted ("given back"); none that ran is ("gives back").
    assert re.search(r"ends: \d+ jobs ended, \d+ given back", log)
    assert "gives back" not in log


def test_a_run_that_is_cut_short_says_what_is_unfinished_and_ends_with_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.demo", "--jobs", "60", "--seconds", "2", "--log", str(tmp_path / "log")]
    cut = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)

    assert cut.returncode == 1, cut.stdout + cut.stderr
    assert re.search(r"^unfinished     [1-9]\d* \(killmail-\d+", cut.stdout, re.MULTILINE), cut.stdout
    assert re.search(r"^lost           0$", cut.stdout, re.MULTILINE), cut.stdout
    assert "error: these numbers are not right" in cut.stderr


def test_too_few_jobs_are_refused() -> None:
    command = [sys.executable, "-m", "examples.demo", "--jobs", "3"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert refused.returncode == 2
    assert "--jobs 3: at least 20 are needed" in refused.stderr


def outcome() -> Outcome:
    entry = Entry(key=JobKey("bull", "killmail-1"), killmail_id=1, cents=5, attackers=1, items=0)
    job = JobRecord(state=State.COMPLETED, starts=1, outcome="stored")
    summary = judge([entry], {entry.key: job}, {1: StoredKill(cents=5, attackers=1, items=0)})
    return Outcome(summary=summary, at_zero=True, peaks={"killmail": 1}, seconds=1)


def test_right_numbers_end_with_0() -> None:
    assert exit_code(outcome(), Path("log")) == 0


@pytest.mark.parametrize(
    "change", [{"lost": ("killmail-1",)}, {"twice": ("killmail-1",)}, {"jobs_done": 0}, {"cents": 4}]
)
def test_a_falsified_ledger_ends_with_1(change: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    right = outcome()
    wrong = replace(right, summary=replace(right.summary, **change))

    assert exit_code(wrong, Path("log")) == 1
    assert capsys.readouterr().err == "error: these numbers are not right; the workers' logs are in log\n"


def test_workers_that_are_still_there_end_with_1() -> None:
    assert exit_code(replace(outcome(), at_zero=False), Path("log")) == 1
