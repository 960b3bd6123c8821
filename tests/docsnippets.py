"""What stands in our pages, taken out of Markdown, and run.

Blocks are named by their info string, of which a page shows nothing:

    python              runs after those before it in its section, with `await` at the top level
    python setup        runs before the blocks of every section of the page
    python file=mail.py is written to the working directory (so is a block of any other language)
    console             lines that begin with `$ ` are commands, the lines after them what they print

What a block says of results is checked: the text of `print(…)  # text`, and of lines `# text` after a loop that prints;
of a command its output on stdout and stderr.
There `…` stands for anything within a line, and a line of its own for any lines. `^C` interrupts a running worker.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_process import PROGRAM, run_here

from queueworker.settings import ConnectionSettings

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^( *)```(.*)$")
_TITLE = re.compile(r"^## (.+)$")
_TOLD = re.compile(r"(?:\bprint\(.*\)  |^)# (.*)$", re.MULTILINE)
_SECONDS = 45.0
_WORKER_COMMANDS = {"work", "processors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; `line` is where its text begins in the page."""

    page: str
    section: str
    line: int
    language: str
    words: frozenset[str]
    text: str

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page of this repository, in their order."""
    found: list[Block] = []
    section, opened, start, lines = "", None, 0, list[str]()
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, start, lines = fence, number + 1, []
        elif opened is not None and fence and not fence[2]:
            language, *words = opened[2].split() or [""]
            text = "\n".join(one.removeprefix(opened[1]) for one in lines) + "\n"
            found.append(
                Block(page=page, section=section, line=start, language=language, words=frozenset(words), text=text)
            )
            opened = None
        elif opened is not None:
            lines.append(line)
        elif title := _TITLE.match(line):
            section = title[1]
    assert opened is None, f"{page}:{start}: a block without an end"
    return found


def sections_of(page: str) -> dict[str, list[Block]]:
    """Return the blocks of a page by section, those of `setup` before the others in each."""
    blocks = blocks_of(page)
    setup = [block for block in blocks if "setup" in block.words]
    found: dict[str, list[Block]] = {}
    for block in blocks:
        if block not in setup:
            found.setdefault(block.section, [*setup]).append(block)
    return found


def text_of(page: str, section: str) -> str:
    """Return the text of a section."""
    return (ROOT / page).read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the rows of the tables in a text, without their heads."""
    rows = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        for line in text.splitlines()
        if line.lstrip().startswith("|")
    ]
    rules = [i for i, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    return [row for i, row in enumerate(rows) if i not in rules and i + 1 not in rules]


def code_in(cell: str) -> list[str]:
    """Return what stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def matches(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """Tell whether lines are what a page says; `…` stands for anything, alone on its line for any lines."""
    if not expected:
        return not actual
    if expected[0].strip() == "…":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return bool(actual) and _line_matches(expected[0], actual[0]) and matches(expected[1:], actual[1:])


def _line_matches(expected: str, actual: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in " ".join(expected.split()).split("…"))
    return re.fullmatch(pattern, " ".join(actual.split())) is not None


async def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block and compare what it prints with what the comments behind its `print(…)` say, in their order."""
    # The position of an error is the one in the page.
    tree = ast.parse("\n" * (block.line - 1) + block.text, filename=block.page)
    code = compile(tree, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        running = eval(code, namespace)
        if inspect.isawaitable(running):
            async with asyncio.timeout(_SECONDS):
                await running
    printed, told = out.getvalue().splitlines(), _TOLD.findall(block.text)
    assert matches(told, printed), f"{block.where} prints {printed}, the page says {told}"


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a console block and what it prints."""

    command: str
    expected: list[str]
    line: int


def steps_of(block: Block) -> list[Step]:
    """Return the commands of a console block; a command goes on where its line ends with a backslash.

    What stands before the first one (a command "") is what the worker prints that was started before.
    """
    steps: list[Step] = []
    goes_on = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ ") or goes_on:
            goes_on += line.removeprefix("$ ") if not goes_on else " " + line.lstrip("> ")
            if goes_on.endswith("\\"):
                goes_on = goes_on[:-1].rstrip()
                continue
            steps.append(Step(goes_on, [], number))
            goes_on = ""
        elif line == "^C":
            steps.append(Step("^C", [], number))
        else:
            if not steps:
                steps.append(Step("", [], number))
            steps[-1].expected.append(line)
    return steps


@dataclass
class Shell:
    """Runs the commands of console blocks that are ours; others are passed over, and `seen` tells which ran."""

    settings: ConnectionSettings
    directory: Path
    seen: list[str] = field(default_factory=list)
    _code: int = 0
    _workers: list[_Running] = field(default_factory=list)

    def run(self, block: Block) -> None:
        """Run the commands of a block; one that fails must be followed by `echo $?`."""
        steps = steps_of(block)
        for i, step in enumerate(steps):
            self._run(step, block, code_is_told=i + 1 < len(steps) and steps[i + 1].command == "echo $?")

    def close(self) -> None:
        """End the workers that still run."""
        for worker in self._workers:
            worker.kill()

    def _run(self, step: Step, block: Block, *, code_is_told: bool) -> None:
        where = f"{block.page}:{step.line}: {step.command}"
        words = shlex.split(step.command)
        variables = dict(_assignments(words))
        arguments = words[len(variables) + 1 :]
        if step.command == "echo $?":
            assert step.expected == [str(self._code)], f"{where}: it is {self._code}"
        elif step.command == "^C":
            self._interrupt(step, where)
        elif not step.command:
            self._workers[-1].said(step.expected, where)
        elif words[len(variables) : len(variables) + 1] == ["queueworker"]:
            self.seen.append(arguments[0])
            if arguments[0] == "work" and not {"--burst", "--limit"} & set(arguments):
                worker = _Running(self, arguments, variables)
                self._workers.append(worker)
                worker.said(step.expected, where)
                return
            done = self._done(arguments, variables)
            self._code = done.returncode
            printed = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            assert matches(step.expected, printed), f"{where} printed\n" + "\n".join(printed)
            assert code_is_told or not done.returncode, f"{where} ended with {done.returncode}, which is not told"

    def _done(self, arguments: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        if arguments[0] not in _WORKER_COMMANDS:
            with contextlib.chdir(self.directory):
                return run_here(self.settings, *arguments, **variables)
        return subprocess.run(
            [PROGRAM, *arguments],
            capture_output=True,
            text=True,
            env=self.environment(variables),
            cwd=self.directory,
            timeout=60,
            check=False,
        )

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            # The page's own modules change within a second: of those nothing is kept.
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"PYTHONPYCACHEPREFIX": sys.pycache_prefix} if sys.pycache_prefix else {}),
            "PYTHONUNBUFFERED": "1",
            **self.settings.to_environment(),
            **variables,
        }

    def _interrupt(self, step: Step, where: str) -> None:
        worker = self._workers[-1]
        worker.process.send_signal(signal.SIGINT)
        worker.said(step.expected, where)
        self._code = worker.process.wait(_SECONDS)


class _Running:
    """A worker started by a page, which goes on beside the commands after it."""

    def __init__(self, shell: Shell, arguments: list[str], variables: Mapping[str, str]) -> None:
        self._log = shell.directory / f"worker-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=shell.environment(variables),
                cwd=shell.directory,
            )
        self._told: list[str] = []

    def said(self, expected: list[str], where: str) -> None:
        """Wait until the log holds the lines, in this order."""
        self._told += expected
        wanted = [line for one in self._told for line in ("…", one)] + ["…"]
        deadline = time.monotonic() + _SECONDS
        while not matches(wanted, self._log.read_text().splitlines()):
            assert time.monotonic() < deadline, f"{where} printed\n{self._log.read_text()}"
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_SECONDS)


def _assignments(words: list[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Z_]+", name):
            return
        yield name, value


@contextlib.contextmanager
def importable(directory: Path) -> Iterator[None]:
    """Let modules of a directory be imported, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None) or ""
            if origin.startswith(str(directory)):
                del sys.modules[name]
