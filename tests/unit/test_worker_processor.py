"""Declaring, finding and calling processors."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from worker_support import eventually

import queueworker_worker
from queueworker.settings import ConnectionSettings
from queueworker_worker.context import Dependencies, Depends, closing
from queueworker_worker.errors import ProcessorError, UnrecoverableError
from queueworker_worker.execution import handler_of
from queueworker_worker.job import Job, JobChannel
from queueworker_worker.processor import processor
from queueworker_worker.registry import Registry, discover


class Silent(JobChannel):
    async def update_progress(self, job_id: str, progress: str) -> None: ...

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        assert line.encode()
        return keep or 0


def job_of(data: Any = None, *, name: str = "any", queue: str = "mail", **opts: Any) -> Job:
    return Job(id="1", queue=queue, name=name, data=data, opts=opts, timestamp=0, channel=Silent())


class Mail(BaseModel):
    to: str
    size: int = 0


events: list[str] = []


@asynccontextmanager
async def open_pool() -> AsyncIterator[str]:
    events.append("opened")
    yield "pool"
    events.append("closed")


@processor("mail")
async def send(payload: Mail, job: Job, pool: Annotated[str, Depends(open_pool)]) -> str:
    return f"{payload.to} {job.id} {pool}"


@processor("mail", "bounce")
def bounce(job: Job) -> str:
    return threading.current_thread().name


@processor("mail", "report")
async def report() -> dict[str, Any]:
    return {"at": datetime(2026, 1, 1, tzinfo=UTC), "mail": Mail(to="x")}


async def run(registry: Registry, job: Job) -> Any:
    processors = registry.of_queue("mail")
    with ThreadPoolExecutor(1, "mine") as threads:
        async with Dependencies(one for p in processors for one in p.parameters.dependencies.values()) as dependencies:
            return await handler_of(registry, "mail", dependencies, threads=threads)(job)


async def test_parameters_are_filled_by_their_annotations_and_dependencies_opened_once() -> None:
    events.clear()
    registry = Registry.of([send, bounce, report])
    assert await run(registry, job_of({"to": "you"})) == "you 1 pool"
    assert events == ["opened", "closed"]
    assert str(await run(registry, job_of(name="bounce"))).startswith("mine")
    expected = {"at": "2026-01-01T00:00:00Z", "mail": {"to": "x", "size": 0}}
    assert await run(registry, job_of(name="report")) == expected


async def test_declared_functions_stay_callable() -> None:
    assert await send(Mail(to="me"), job_of(), "other pool") == "me 1 other pool"


async def test_wrong_payload_is_unrecoverable_and_names_the_fields_but_not_the_input() -> None:
    with pytest.raises(UnrecoverableError) as wrong:
        await run(Registry.of([send]), job_of({"size": "secret-input"}))
    assert str(wrong.value) == (
        "invalid payload for Mail: to: Field required; "
        "size: Input should be a valid integer, unable to parse string as an integer"
    )
    with pytest.raises(UnrecoverableError, match="data: Input should be a valid dictionary"):
        await run(Registry.of([send]), job_of(["not", "a", "dict"]))


async def test_unknown_name_says_which_are_known() -> None:
    with pytest.raises(UnrecoverableError, match="no processor for job name 'any' on queue 'mail': known are bounce"):
        await run(Registry.of([bounce]), job_of())


async def test_result_that_is_not_json_names_the_processor() -> None:
    @processor("mail")
    async def odd() -> object:
        return object()

    with pytest.raises(UnrecoverableError, match=r"the result of .*odd is not JSON"):
        await run(Registry.of([odd]), job_of())


@pytest.mark.parametrize("error", [StopIteration(1), SystemExit(2), KeyboardInterrupt()])
async def test_what_ends_threads_or_generators_becomes_an_error(error: BaseException) -> None:
    @processor("mail")
    def bad() -> None:
        raise error

    with pytest.raises(RuntimeError, match=f"raised {type(error).__name__}"):
        await run(Registry.of([bad]), job_of())


async def test_dependencies_close_what_was_opened_when_one_fails() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise OSError("no server")
        yield

    events.clear()
    with pytest.raises(OSError, match="no server"):
        async with Dependencies([Depends(open_pool), Depends(broken), Depends(open_pool)]):
            pytest.fail("entered")
    assert events == ["opened", "closed"]


@asynccontextmanager
async def closing_in_any_case() -> AsyncIterator[None]:
    try:
        yield
    finally:
        events.append("closed")


@asynccontextmanager
async def never_closing() -> AsyncIterator[None]:
    yield
    await asyncio.Event().wait()


@asynccontextmanager
async def never_opening() -> AsyncIterator[None]:
    events.append("begun")
    await asyncio.sleep(30)
    yield


async def test_program_that_cancels_its_worker_while_it_opens_is_cancelled() -> None:
    @processor("mail")
    async def waiting(it: Annotated[None, Depends(never_opening)]) -> None: ...

    events.clear()
    away = ConnectionSettings(host="127.0.0.1", port=1)
    serving = asyncio.create_task(queueworker_worker.serve(waiting, connection=away, environment={}))
    await eventually(lambda: events)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


@asynccontextmanager
async def wrong_when_closing() -> AsyncIterator[None]:
    yield
    raise AttributeError("no such attribute")


@asynccontextmanager
async def leaving_when_closing() -> AsyncIterator[None]:
    yield
    raise SystemExit(7)


@pytest.mark.parametrize(
    ("factory", "seconds", "said"),
    [
        (wrong_when_closing, 30, "a dependency did not close: AttributeError: no such attribute"),
        (leaving_when_closing, 30, "a dependency did not close: SystemExit: 7"),
        (never_closing, 0.05, "a dependency did not close: not within 0.05 s"),
    ],
)
async def test_trouble_of_a_closing_dependency_is_said_and_bounded(
    factory: Any, seconds: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    events.clear()
    dependencies = Dependencies([Depends(closing_in_any_case), Depends(factory)])
    await dependencies.__aenter__()
    async with closing(dependencies, seconds=seconds):
        pass
    assert caplog.messages == [said]
    assert events == ["closed"]


def test_wrong_declarations_are_refused() -> None:
    async def untyped(data) -> None: ...  # type: ignore[no-untyped-def]

    async def two(a: Mail, b: Mail) -> None: ...

    async def unknown(a: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function, message in ((untyped, "'data' must be annotated"), (two, "'b' must be"), (unknown, "NoSuchName")):
        with pytest.raises(ProcessorError, match=message):
            Registry.of([processor("q")(function)])
    with pytest.raises(ProcessorError, match="not declared with @processor"):
        Registry.of([Registry.of])
    with pytest.raises(ProcessorError, match="without ':'"):
        processor("a:b")

    @processor("mail", "bounce")
    async def again() -> None: ...

    with pytest.raises(ProcessorError, match="both process jobs 'bounce' of queue 'mail'"):
        Registry.of([bounce, again])


def test_one_function_may_serve_several_queues_and_names() -> None:
    @processor("a")
    @processor("b", "x")
    @processor("b", "y")
    async def one() -> None: ...

    registry = Registry.of([one])
    assert registry.queues == ("a", "b")
    assert [p.name for p in registry.of_queue("b")] == ["x", "y"]
    assert registry.find("a", "anything") is not None
    assert registry.find("b", "z") is None


@pytest.fixture
def module_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_modules_are_found_in_the_current_directory_with_what_they_import(module_directory: Path) -> None:
    package = module_directory / "shop_of_ours"
    package.mkdir()
    (package / "__init__.py").write_text("from . import orders\nfrom .orders import declared\n")
    (package / "orders.py").write_text(
        "from queueworker_worker.processor import processor\n@processor('orders')\nasync def declared() -> None: ...\n"
    )
    assert discover(["shop_of_ours"], environment={}).queues == ("orders",)
    assert discover([], environment={"QUEUEWORKER_PROCESSORS": " shop_of_ours.orders, "}).queues == ("orders",)


def test_module_that_does_not_import_is_named(module_directory: Path) -> None:
    (module_directory / "broken_of_ours.py").write_text("1 / 0\n")
    with pytest.raises(ProcessorError, match="'broken_of_ours' cannot be imported: ZeroDivisionError"):
        discover(["broken_of_ours"], environment={})


def test_installed_processors_whose_extra_is_missing_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(value: str) -> None:
        entries = [EntryPoint(name="shop", value=value, group="queueworker.processors")]
        monkeypatch.setattr("queueworker_worker.registry.installed", lambda: entries)

    installed("no_such_module_of_ours [database]")
    assert discover([], environment={}).queues == ()
    installed("no_such_module_of_ours")
    with pytest.raises(ProcessorError, match="'no_such_module_of_ours' cannot be imported"):
        discover([], environment={})
    installed("test_worker_processor [anything]")
    assert discover([], environment={}).queues == ("mail",)


async def test_job_speaks_json_and_bounds_its_log() -> None:
    assert await job_of(keepLogs=7).log("line") == 7
    assert await job_of(kl=3).log("half a pair: \ud800") == 3
    assert await job_of().log("line") == 0
    with pytest.raises(ValueError, match="Out of range"):
        await job_of().update_progress(float("nan"))
    await asyncio.sleep(0)


async def test_def_processors_speak_through_the_loop() -> None:
    @processor("mail")
    def in_thread(job: Job) -> int:
        job.from_thread(job.update_progress, 50)
        return job.from_thread(job.log, line="from a thread")

    assert await run(Registry.of([in_thread]), job_of(kl=4)) == 4


@pytest.mark.parametrize("method", ["log", "update_progress"])
async def test_what_a_thread_cannot_await_is_refused_there(method: str) -> None:
    @processor("mail")
    def in_thread(job: Job) -> None:
        getattr(job, method)("1")

    with pytest.raises(RuntimeError, match=rf"write job\.from_thread\(job\.{method}, "):
        await run(Registry.of([in_thread]), job_of())


async def test_from_thread_is_refused_where_it_would_wait_for_itself() -> None:
    job = job_of()
    with pytest.raises(RuntimeError, match="use await"):
        job.from_thread(job.log, "line")
