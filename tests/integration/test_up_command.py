"""`queueworker up` as its users run it: in a terminal's process group, with real workers, ended by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from operator_waiting import until

from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings

QUEUEWORKER = [str(Path(sys.executable).with_name("queueworker"))]
TESTS = str(Path(__file__).parent.parent)


def naps(**worker: Any) -> dict[str, Any]:
    return {
        "apiVersion": "queueworker.dev/v1alpha1",
        "kind": "QueueWorker",
        "metadata": {"name": "naps"},
        "spec": {
            "queues": [{"name": "naps", "concurrency": 2}],
            "redis": {"host": "redis.nowhere"},
            "worker": {"image": "naps:1", "drainTimeoutSeconds": 20, **worker},
            "autoscaling": {
                "minReplicas": 0,
                "maxReplicas": 2,
                "target": {"backlogPerReplica": 2},
                "cooldownSeconds": 1,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            },
        },
    }


class Up:
    """A running `queueworker up`."""

    def __init__(self, directory: Path, *options: str, documents: list[dict[str, Any]] | None = None) -> None:
        file = directory / "queueworkers.yaml"
        file.write_text(yaml.safe_dump_all(documents or [naps()]))
        self.ledger_file = directory / "ledger"
        self.lines: list[str] = []
        self.messages: list[str] = []
        self.process = subprocess.Popen(
            [*QUEUEWORKER, "up", "-f", str(file), "--module", "upprocessor", *options],
            env={**os.environ, "PYTHONPATH": TESTS, "LEDGER": str(self.ledger_file), "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As a shell does it: Ctrl-C goes to this group.
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.messages)),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: Any, into: list[str]) -> None:
        for line in stream:
            into.append(line.rstrip("\n"))  # noqa: PERF401 - the list is read meanwhile
        stream.close()

    def ledger(self) -> Counter[str]:
        text = self.ledger_file.read_text() if self.ledger_file.exists() else ""
        return Counter(line.split()[0] for line in text.splitlines())

    def says(self, pattern: str) -> re.Match[str] | None:
        return next(filter(None, (re.search(pattern, line) for line in [*self.lines, *self.messages])), None)

    async def decided(self) -> None:
        """Wait for the first decision; a program that starts beside others may need its time."""
        try:
            await until(lambda: self.says("QueueUnused"), what="the first decision", seconds=60)
        except AssertionError as error:
            error.add_note(f"{self.lines} {self.messages} {self.process.poll()}")
            raise

    def interrupt(self) -> None:
        """Ctrl-C in the terminal: to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def ended(self) -> int:
        code = await until(lambda: self.process.poll() is not None and [self.process.poll()], what="the end")
        return code[0]

    def close(self) -> None:
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            psutil.wait_procs(children, timeout=5)
            for child in children:
                if child.is_running():
                    child.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def ups() -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        up.close()


@pytest.fixture
def on(redis_settings: ConnectionSettings) -> list[str]:
    return ["--redis-host", str(redis_settings.host), "--redis-port", str(redis_settings.port)]


async def enqueue(settings: ConnectionSettings, count: int, *, seconds: float | None) -> None:
    async with Queue("naps", settings) as queue:
        await queue.enqueue_many([Job.create("nap", {"seconds": seconds}) for _ in range(count)])


async def test_from_zero_to_two_to_zero_with_every_job_once(
    ups: list[Up], tmp_path: Path, on: list[str], redis_settings: ConnectionSettings
) -> None:
    ups.append(up := Up(tmp_path, *on))
    await up.decided()
    # No job ends before both workers are there.
    await enqueue(redis_settings, 12, seconds=None)
    await until(lambda: up.says(r"^naps +naps +2 +2 "), what="two ready workers")
    up.ledger_file.with_name("go").touch()
    await until(lambda: up.says("ScaledToZero"), what=f"zero: {up.lines}")
    assert up.ledger() == {"begin": 12, "end": 12}
    await until(lambda: up.lines[-1].split()[2:4] == ["0", "0"], what="no process")
    up.interrupt()
    assert await up.ended() == 0
    assert up.says(r"^naps-1 \| .*worker naps-1 starts"), "what workers write bears their name"


async def test_ctrl_c_lets_the_jobs_end_and_the_embedded_server_outlives_them(ups: list[Up], tmp_path: Path) -> None:
    ups.append(up := Up(tmp_path))
    found = await until(lambda: up.says(r"embedded Valkey serves at 127\.0\.0\.1:(\d+)"), what="the embedded server")
    await enqueue(ConnectionSettings(host="127.0.0.1", port=int(found[1])), 2, seconds=3)
    await until(lambda: up.ledger()["begin"] == 2, what="the jobs to begin")
    children = psutil.Process(up.process.pid).children(recursive=True)
    up.interrupt()
    await until(lambda: up.says("finish their jobs"), what="the answer to Ctrl-C")
    assert await up.ended() == 0, up.messages
    assert up.ledger() == {"begin": 2, "end": 2}
    assert up.says(r"worker naps-1 ends: 2 jobs ended, 0 given back"), up.messages
    assert not [child for child in children if child.is_running()]


async def test_an_embedded_server_that_ends_is_told_and_ends_it(ups: list[Up], tmp_path: Path) -> None:
    ups.append(up := Up(tmp_path))
    await up.decided()
    [server] = [one for one in psutil.Process(up.process.pid).children() if "valkey" in one.name()]
    server.kill()
    assert await up.ended() == 4, up.messages
    assert up.says("^error: the embedded Valkey ended, and with it the queues .* --redis-host$"), up.messages


async def test_a_second_ctrl_c_gives_the_jobs_back_at_once(
    ups: list[Up], tmp_path: Path, on: list[str], redis_settings: ConnectionSettings
) -> None:
    ups.append(up := Up(tmp_path, *on, documents=[naps(drainTimeoutSeconds=120)]))
    await enqueue(redis_settings, 2, seconds=120)
    await until(lambda: up.ledger()["begin"] == 2, what="the jobs to begin")
    up.interrupt()
    await until(lambda: up.says("worker naps-1 drains"), what="the drain")
    up.interrupt()
    assert await up.ended() == 0, up.messages
    assert up.says("2 given back"), up.messages
    assert up.ledger()["end"] == 0
    async with Queue("naps", redis_settings) as queue:
        assert (await queue.stats()).backlog == 2


async def test_sigterm_ends_it_too(ups: list[Up], tmp_path: Path, on: list[str]) -> None:
    ups.append(up := Up(tmp_path, *on))
    await up.decided()
    up.process.terminate()
    assert await up.ended() == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("password: s3cret: x", "error: {file}: is not YAML: mapping values are not allowed here, line 1, column 17"),
        ("a: 1", "error: {file}, document 1: kind None: only QueueWorker, Secret, ConfigMap run on this host"),
        (
            yaml.safe_dump({**naps(), "apiVersion": "queueworker.dev/v1"}),
            "error: {file}, document 1: apiVersion queueworker.dev/v1: a QueueWorker has queueworker.dev/v1alpha1",
        ),
        (yaml.safe_dump(naps(imge="x")), "error: {file}, document 1: spec.worker.imge: there is no such field"),
        (
            "---\n" + yaml.safe_dump({**naps(), "spec": {**naps()["spec"], "replicas": 2}}),
            "error: {file}, document 1: spec: replicas and autoscaling exclude each other",
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: '%'}",
            "error: {file}, document 1: data.k: not base64",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}", "error: there is no QueueWorker in the files"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "queueworkers.yaml"
    file.write_text(text)
    answer = subprocess.run([*QUEUEWORKER, "up", "-f", str(file)], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stdout == ""
    [message] = answer.stderr.splitlines()
    assert message.startswith(line.format(file=file))
    assert "s3cret" not in message


def test_two_problems_are_two_lines(tmp_path: Path) -> None:
    file = tmp_path / "queueworkers.yaml"
    file.write_text(yaml.safe_dump_all([naps(imge="x"), naps()]))
    missing = tmp_path / "missing.yaml"
    command = [*QUEUEWORKER, "up", "-f", str(file), "-f", str(missing)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert sorted(answer.stderr.splitlines()) == sorted(
        [
            f"error: {missing}: cannot be read: No such file or directory",
            f"error: {file}, document 1: spec.worker.imge: there is no such field",
            f"error: {file}, document 2: metadata.name: there are two QueueWorkers default/naps: "
            "rename one of them, or name its file once",
        ]
    )
