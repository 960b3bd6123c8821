"""Every example on our pages is run: Python blocks on a real Valkey, commands as they stand, tables beside the code."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import docsnippets
import pytest
from cli_process import run_here
from docsnippets import Block, Shell

import queueworker_worker
from queueworker import ConnectionSettings, Job, JobRecord, Queue
from queueworker_worker.processor import MARK, processor

CLIENT = "docs/client.md"


FIRST_PAGES = ("README.md", "client/README.md", "worker/README.md")
WORKER = "docs/worker.md"
Namespace = dict[str, Any]


@pytest.fixture
def shell(redis_settings: ConnectionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A working directory and an environment whose Redis is the empty one of the test."""
    for name, value in redis_settings.to_environment().items():
        monkeypatch.setenv(name, value)
    shell = Shell(redis_settings, tmp_path)
    yield shell
    shell.close()


@contextlib.contextmanager
def played(page: str, section: str | None, shell: Shell) -> Iterator[tuple[Namespace, asyncio.Runner]]:
    """Run the blocks of a section, or of a page, in order; yield what they defined and the loop that they ran in."""
    namespace: Namespace = {"__name__": "page"}
    for block in docsnippets.blocks_of(page):
        if block.file is not None:
            (shell.directory / block.file).write_text(block.text)
    with docsnippets.importable(shell.directory), asyncio.Runner() as runner:
        if section in PREPARED:
            runner.run(PREPARED[section](shell.settings))
        try:
            for block in docsnippets.blocks_of(page) if section is None else docsnippets.sections_of(page)[section]:
                _play(block, namespace, shell, runner)
            yield namespace, runner
        finally:
            for value in list(namespace.values()):
                if isinstance(value, Queue):
                    runner.run(value.aclose())


def _play(block: Block, namespace: Namespace, shell: Shell, runner: asyncio.Runner) -> None:
    if block.language == "console":
        shell.run(block)
    elif block.language == "python" and block.file is not None:
        namespace.update(vars(import_module(block.file.removesuffix(".py"))))
    elif block.language == "python":
        runner.run(docsnippets.run_python(block, namespace))


async def _three_mails_that_failed(settings: ConnectionSettings) -> None:
    @processor("mail")
    async def send(job: queueworker_worker.Job) -> None:
        raise ConnectionError("the server mx1 is away")

    async with Queue("mail", settings) as queue:
        await queue.enqueue_many([Job.create("welcome", attempts=1) for _ in range(3)])
        assert await queueworker_worker.serve(send, connection=settings, burst=True) == 0


PREPARED: dict[str, Callable[[ConnectionSettings], Awaitable[None]]] = {
    "Changing jobs": _three_mails_that_failed,
    "The command line": _three_mails_that_failed,
}


class Work:
    """Adds jobs and has a section's own functions work them off."""

    def __init__(self, namespace: Namespace, settings: ConnectionSettings) -> None:
        self._functions = [value for value in namespace.values() if callable(value) and _is_declared(value)]
        self._settings = settings

    @property
    def declared(self) -> set[tuple[str, str | None]]:
        return {(one.queue, one.name) for function in self._functions for one in getattr(function, MARK, ())}

    async def done(self, queue: str, name: str, data: Any = None, **options: Any) -> JobRecord:
        """Return a job after a worker found nothing more to do."""
        async with Queue(queue, self._settings) as producer:
            added = await producer.enqueue(name, data, **{"backoff": 10, **options})
            async with asyncio.timeout(30):
                assert await queueworker_worker.serve(*self._functions, queues=[queue], burst=True) == 0
            record = await producer.job(added.id)
        assert record is not None
        return record

    async def ended(self, queue: str, name: str, data: Any = None, **options: Any) -> JobRecord:
        """Return a job after its last attempt."""
        record = await self.done(queue, name, data, **options)
        async with Queue(queue, self._settings) as reader, asyncio.timeout(30):
            # A retry that has come due meanwhile waits again.
            while record.state not in ("completed", "failed"):
                await queueworker_worker.serve(*self._functions, queues=[queue], burst=True)
                record = await reader.job(record.id) or record
        return record

    async def ran(self) -> set[tuple[str, str]]:
        """Return the queues and names of the jobs that were worked on."""
        names = set()
        for queue in {queue for queue, _ in self.declared}:
            async with Queue(queue, self._settings) as reader:
                names |= {(queue, one.name) for one in await reader.job_statistics()}
        return names


def _is_declared(value: Any) -> bool:
    return any(hasattr(value, mark) for mark in (MARK, "__queueworker_hooks__", "__queueworker_schedules__"))


async def _gets(work: Work, _: Namespace) -> None:
    shipped = await work.done("orders", "any", {"number": 7, "lines": ["tea"]})
    assert shipped.return_value == {"number": 7, "attempt": 1, "of": 3}
    wrong = await work.done("orders", "any", {"number": 7})
    assert (wrong.failed_reason, wrong.attempts_made) == ("invalid payload for Order: lines: Field required", 1)
    assert f"`{wrong.failed_reason}`" in docsnippets.text_of(WORKER, "What a processor gets")


async def _names(work: Work, _: Namespace) -> None:
    assert (await work.done("images", "resize")).return_value == "resized"
    assert (await work.done("images", "delete")).return_value == "deleted"
    other = await work.done("images", "rotate")
    assert (other.failed_reason or "").endswith("known are delete, resize")


async def _where(work: Work, _: Namespace) -> None:
    hashed = await work.done("files", "hash", {"text": "tea"})
    assert hashed.return_value == "a9f74d1e"
    assert (await work.done("files", "crunch", {"n": 4})).return_value == 14


async def _late(work: Work, _: Namespace) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        late = await work.done("reports", "any", attempts=1)
    assert out.getvalue() == "timed out after 0.1 s\n"
    assert (late.state, late.failed_reason) == ("failed", "page.report timed out after 0.1 s")
    assert "`timed out after 0.1 s`" in docsnippets.text_of(WORKER, "Time limits and cancelling")


async def _ends(work: Work, _: Namespace) -> None:
    for data, state, reason, made, started in (
        ({}, "completed", None, 1, 1),
        ({"card": "stolen"}, "failed", "the card is stolen", 1, 1),
        ({"account": "unknown"}, "failed", "no such account", 1, 1),
        ({"bank": "busy"}, "completed", None, 1, 2),
    ):
        record = await work.done("payments", "any", data)
        found = (record.state, record.failed_reason, record.attempts_made, record.attempts_started)
        assert found == (state, reason, made, started), data
    # A burst leaves what is delayed.
    delayed = await work.done("payments", "any", {"bank": "closed"})
    assert (delayed.state, delayed.attempts_made, delayed.attempts_started) == ("delayed", 0, 1)


async def _retries(work: Work, _: Namespace) -> None:
    tried = await work.ended("hooks", "any", {}, backoff={"type": "calm"})
    assert (tried.return_value, tried.attempts_made) == ("attempt 2", 2)
    refused = await work.ended("hooks", "any", {"status": 400}, backoff={"type": "calm"})
    assert (refused.failed_reason, refused.attempts_made) == ("the other side refuses", 1)


async def _tells(work: Work, _: Namespace) -> None:
    job = await work.done("imports", "any", {"rows": 3}, backoff=0)
    assert (job.return_value, job.attempts_made, job.progress) == (3, 2, {"row": 3, "of": 3})
    assert job.data == {"rows": 3, "done": 3}


async def _children(work: Work, _: Namespace) -> None:
    book = await work.done("books", "book")
    assert (book.state, book.return_value, book.attempts_made) == ("completed", 6, 1)


async def _hooks(work: Work, namespace: Namespace) -> None:
    good = await work.done("audited", "any", {"by": "me"})
    bad = await work.done("audited", "any", {}, attempts=1)
    assert (good.state, bad.state) == ("completed", "failed")
    seen = namespace["SEEN"]
    assert [one for one in seen if one != "nothing left"] == [
        f"{good.id} returned done",
        f"{bad.id} raised nobody asked for it",
    ]
    assert "nothing left" in seen


async def _depends(work: Work, namespace: Namespace) -> None:
    assert (await work.done("prices", "any", "tea")).return_value == 3
    assert namespace["OPENED"] == ["opened", "closed"]


async def _scheduled(work: Work, _: Namespace) -> None:
    assert (await work.done("cleanup", "by hand", 1)).return_value == "by hand 1"
    async with Queue("cleanup", work._settings) as queue:
        found = {one.id: one for one in await queue.schedules()}
    assert set(found) == {"nightly", "pulse"}
    assert (found["nightly"].pattern, found["nightly"].tz, found["nightly"].data) == (
        "0 3 * * *",
        "Europe/Berlin",
        {"full": True},
    )


CHECKS: dict[str, Callable[[Work, Namespace], Awaitable[None]]] = {
    "What a processor gets": _gets,
    "Job names": _names,
    "async, thread or process": _where,
    "Time limits and cancelling": _late,
    "How a job ends": _ends,
    "Retries and backoff": _retries,
    "While a job runs": _tells,
    "Children": _children,
    "Hooks and listeners": _hooks,
    "Dependencies": _depends,
    "Schedulers": _scheduled,
}
# What these run, they show themselves.
SELF_CHECKED = {"In a program of your own", "Testing processors"}


@pytest.mark.parametrize("section", docsnippets.sections_of(WORKER))
def test_page_on_workers(section: str, shell: Shell) -> None:
    with played(WORKER, section, shell) as (namespace, runner):
        work = Work(namespace, shell.settings)
        if section in CHECKS:
            runner.run(CHECKS[section](work, namespace))
            ran = runner.run(work.ran())
            for queue, name in work.declared:
                assert any(queue == one and name in {None, other} for one, other in ran), f"{queue} {name} never ran"
        else:
            assert section in SELF_CHECKED or shell.seen, f"nothing of {section!r} is looked at"


@pytest.mark.parametrize("section", docsnippets.sections_of(CLIENT))
def test_page_on_the_client(section: str, shell: Shell) -> None:
    with played(CLIENT, section, shell) as (_, _):
        blocks = docsnippets.sections_of(CLIENT)[section]
        assert {"python", "console"} & {block.language for block in blocks}


@pytest.mark.parametrize("page", FIRST_PAGES)
def test_first_pages(page: str, shell: Shell) -> None:
    with played(page, None, shell):
        assert shell.seen


# What asks before it changes something, and how it is answered in advance.
ASKING = {
    "retry": ("retry", "--yes"),
    "promote": ("promote", "--yes"),
    "clear": ("clear", "--failed", "--yes"),
    "drain": ("drain", "--delayed", "--yes"),
    "schedulers --remove": ("schedulers", "--remove", "often", "--yes"),
    "clear --all": ("clear", "--all", "--confirm=mail"),
    "obliterate": ("obliterate", "--confirm=mail"),
}


def test_commands_ask_as_the_page_says(redis_settings: ConnectionSettings) -> None:
    table = [row for row in docsnippets.rows_of(docsnippets.text_of(CLIENT, "The command line")) if len(row) == 3]
    asking = {code: row[2] for row in table if "; `" in row[2] for code in docsnippets.code_in(row[0])}
    assert set(asking) == set(ASKING)

    async def fill() -> None:
        async with Queue("mail", redis_settings) as queue:
            await queue.enqueue("a")
            await queue.enqueue("a", delay=60_000)
            await queue.schedule("often", every=60_000)

    asyncio.run(_three_mails_that_failed(redis_settings))
    asyncio.run(fill())
    for command, words in ASKING.items():
        answer = words[-1]
        assert answer.partition("=")[0] in asking[command]
        without = [word for word in words[1:] if word != answer]
        refused = run_here(redis_settings, words[0], "mail", *without)
        assert (refused.returncode, "There is no terminal to ask at" in refused.stderr) == (6, True), refused
        planned = run_here(redis_settings, words[0], "mail", *without, "--dry-run")
        assert (planned.returncode, planned.stdout.startswith("would")) == (0, True), planned
