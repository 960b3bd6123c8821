"""Processors in child processes: what crosses the border, and who dies of what."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import worker_crunch
from processes import has_ended
from stalls import Stalls
from worker_support import eventually

from queueworker_worker.childprocess import ChildDiedError
from queueworker_worker.context import Dependencies
from queueworker_worker.engine import outcome
from queueworker_worker.errors import (
    DelayedError,
    JobTimeoutError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
)
from queueworker_worker.execution import Handler, handler_of
from queueworker_worker.job import Job, JobChannel
from queueworker_worker.processpool import ProcessPool
from queueworker_worker.registry import Registry


class Remembering(JobChannel):
    """A channel that remembers; all that it is asked for succeeds but `failed_children`."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def update_progress(self, job_id: str, progress: str) -> None:
        self.told.append(("progress", job_id, progress))

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        self.told.append(("log", job_id, line, keep))
        return len(self.told)

    async def update_data(self, job_id: str, data: str) -> None:
        self.told.append(("data", job_id, data))

    async def children_values(self, job_id: str) -> dict[str, Any]:
        return {"bull:q:2": {"of": job_id}}


def job_of(name: str, data: Any = None, **values: Any) -> Job:
    values = {"channel": Remembering(), "opts": {}, **values}
    return Job(id="1", queue="crunch", name=name, data=data, timestamp=0, **values)


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    made = ProcessPool()
    yield made
    await made.aclose()


@pytest.fixture
def run(pool: ProcessPool) -> Handler:
    registry = Registry.of_modules([worker_crunch])
    return handler_of(registry, "crunch", Dependencies([]), processes=pool)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("CRUNCH_NOTES", str(path))
    return path


def lines(notes: Path, what: str = "") -> list[str]:
    return [line for line in notes.read_text().splitlines() if line.startswith(what)]


async def noted(notes: Path, what: str) -> int:
    found = await eventually(lambda: lines(notes, what), what=f"{what!r} in the notes")
    return int(found[0].split()[-1])


async def failure_of(run: Handler, job: Job) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is the caller's question
        await run(job)
    return raised.value


async def test_job_payload_and_result_cross_and_the_child_is_used_again(run: Handler) -> None:
    first = await run(job_of("sum", {"numbers": [1, 2, 3]}, attempts_made=2))
    assert first == {"sum": 6, "pid": first["pid"], "id": "1", "attempt": 2}
    assert first["pid"] != os.getpid()
    assert await run(job_of("pid")) == first["pid"]


async def test_attempts_that_run_at_once_have_a_child_each(run: Handler) -> None:
    pids = await asyncio.gather(*(run(job_of("long", 400)) for _ in range(2)))
    assert len(set(pids)) == 2


async def test_wrong_payload_names_the_fields(run: Handler) -> None:
    error = await failure_of(run, job_of("sum", {"numbers": ["many"]}))
    assert isinstance(error, UnrecoverableError)
    assert str(error).startswith("invalid payload for Sum: numbers.0: Input should be a valid integer")


async def test_job_methods_work_in_the_child(run: Handler) -> None:
    job = job_of("async", opts={"kl": 9})
    assert await run(job) == [[1, 2, 3], {"bull:q:2": {"of": "1"}}, {"next": 1}]
    assert isinstance(job.channel, Remembering)
    assert sorted(job.channel.told) == [
        ("data", "1", '{"next":1}'),
        *(("log", "1", f"line {number}", 9) for number in range(3)),
        ("progress", "1", '{"done":50}'),
    ]
    assert job.discarded
    assert await run(job_of("def")) == 1


async def test_dependencies_are_opened_once_in_each_child_and_closed_at_its_end(
    run: Handler, pool: ProcessPool, notes: Path
) -> None:
    first, second = [await run(job_of("needs")) for _ in range(2)]
    assert first == second
    assert first[2] == ["sync", "async"]
    assert first[0].endswith(first[1].split()[-1])
    assert str(os.getpid()) not in first[0]
    await pool.aclose()
    assert lines(notes) == ["closed async", "closed sync"]


async def test_dependency_that_does_not_open_fails_the_attempt_alone(run: Handler) -> None:
    error = await failure_of(run, job_of("broken"))
    assert re.fullmatch(r"dependency \S+ cannot be opened: OSError: no server there", str(error))
    assert await run(job_of("pid"))


@pytest.mark.parametrize(
    ("which", "kind", "name", "reason"),
    [
        ("value", ValueError, "ValueError", "wrong value: \\ud800"),
        ("key", KeyError, "KeyError", "KeyError: 'missing'"),
        ("own", worker_crunch.OwnError, "OwnError", "own words (7)"),
        ("unreadable", worker_crunch.UnreadableError, "UnreadableError", "UnreadableError"),
        ("unrecoverable", UnrecoverableError, "UnrecoverableError", "never again"),
        ("own unrecoverable", worker_crunch.OwnUnrecoverableError, "OwnUnrecoverableError", "not even once"),
        ("exit", RuntimeError, "RuntimeError", "worker_crunch.fail raised SystemExit: 3"),
        ("timeout", TimeoutError, "TimeoutError", "its own"),
        ("group", Exception, "ExceptionGroup", "several (2 sub-exceptions)"),
    ],
)
async def test_errors_keep_class_words_and_traceback(
    which: str, kind: type[Exception], name: str, reason: str, run: Handler
) -> None:
    error = await failure_of(run, job_of("raise", which))
    assert isinstance(error, kind)
    assert type(error).__name__ == name
    assert outcome.reason_of(error) == reason
    assert "worker_crunch.py" in str(error.__cause__)
    assert "raise errors[job.data]" in str(error.__cause__)


async def test_errors_that_postpone_keep_their_times(run: Handler) -> None:
    delayed = await failure_of(run, job_of("raise", "delayed"))
    assert isinstance(delayed, DelayedError)
    assert (delayed.delay_ms, delayed.until_ms) == (1_500, None)
    until = await failure_of(run, job_of("raise", "until"))
    assert isinstance(until, DelayedError)
    assert (until.delay_ms, until.until_ms) == (None, 9_000_000_000_000)
    limit = await failure_of(run, job_of("raise", "limit"))
    assert isinstance(limit, RateLimitError)
    assert limit.limit_ms == 700
    assert isinstance(await failure_of(run, job_of("raise", "children")), WaitingChildrenError)


async def test_result_that_is_not_json_fails_for_good_and_the_child_lives(run: Handler) -> None:
    child = await run(job_of("pid"))
    error = await failure_of(run, job_of("odd"))
    assert isinstance(error, UnrecoverableError)
    assert str(error).startswith("the result of worker_crunch.odd is not JSON")
    assert sorted(await run(job_of("odd", "set"))) == [1, 2]
    assert await run(job_of("pid")) == child


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "it ended with exit code 7"),
        ("segfault", "it was killed by SIGSEGV"),
        ("kill", "it was killed by SIGKILL (the kernel does that where memory runs out)"),
    ],
)
async def test_child_that_dies_fails_its_own_attempt_and_is_replaced(
    how: str, said: str, run: Handler, notes: Path
) -> None:
    beside = asyncio.create_task(run(job_of("held")))
    await noted(notes, "is held in")
    before = await run(job_of("pid"))
    error = await failure_of(run, job_of("die", how))
    assert isinstance(error, ChildDiedError)
    assert str(error).endswith(f"of worker_crunch.die died: {said}")
    after = await run(job_of("pid"))
    notes.with_name("go").touch()
    assert after not in {before, await beside}


async def test_child_that_died_idle_is_replaced_without_a_failure(run: Handler) -> None:
    before = await run(job_of("pid"))
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: has_ended(before))
    assert await run(job_of("pid")) != before


async def test_late_attempt_is_killed_with_what_it_started(run: Handler, notes: Path) -> None:
    job = job_of("sleep", data=True)
    error = await failure_of(run, job)
    assert isinstance(error, JobTimeoutError)
    assert str(error) == "worker_crunch.sleep_too_long timed out after 2 s"
    assert job.cancel_reason == "timed out after 2 s"
    child = await noted(notes, "sleeps in")
    await eventually(lambda: has_ended(child))
    for line in lines(notes, "grandchild"):
        await eventually(lambda line=line: has_ended(int(line.split()[-1])))


async def test_cancelled_attempt_kills_its_child(run: Handler, notes: Path) -> None:
    attempt = asyncio.create_task(run(job_of("long", 60_000)))
    child = await noted(notes, "runs in")
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await eventually(lambda: has_ended(child))


async def test_child_is_recycled_after_its_jobs(run: Handler) -> None:
    pids = [await run(job_of("worn")) for _ in range(5)]
    assert (pids[0], pids[2]) == (pids[1], pids[3])
    assert len(set(pids)) == 3


@pytest.mark.timing
async def test_end_does_not_wait_for_what_holds_the_interpreter(
    run: Handler, pool: ProcessPool, notes: Path, stalls: Stalls
) -> None:
    attempt = asyncio.create_task(run(job_of("hold")))
    child = await noted(notes, "holds in")
    begin = time.monotonic()
    await pool.aclose()
    assert time.monotonic() - begin < 3 + stalls.since(begin)
    assert has_ended(child)
    assert isinstance((await asyncio.gather(attempt, return_exceptions=True))[0], ChildDiedError)
