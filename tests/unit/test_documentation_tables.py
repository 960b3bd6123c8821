"""The tables of our pages are what the code has, no more and no less; messages and links are there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bullmq
import docsnippets
import pytest
from docsnippets import ROOT, code_in, rows_of, text_of

import queueworker
import queueworker_worker
from queueworker import failures, settings
from queueworker.cli import codes
from queueworker.options import JobOptions
from queueworker.outcome import Outcome
from queueworker.queue import Queue
from queueworker.states import STATES
from queueworker_worker import errors as worker_errors
from queueworker_worker.engine.events import EVENTS
from queueworker_worker.engine.options import EngineOptions, Keep
from queueworker_worker.settings import PREFIX, ProcessSettings, QueueSettings, WorkerSettings
from queueworker_worker.workeroptions import WorkerOptions

WORKER, CLIENT = "docs/worker.md", "docs/client.md"
PAGES = [
    "README.md",
    "client/README.md",
    "worker/README.md",
    *(f"docs/{one.name}" for one in (ROOT / "docs").iterdir()),
]
BEHIND_THE_SCENES = {"QUEUEWORKER_STATUS_FD"}
ENGINE = {one.name: one.default for one in dataclasses.fields(EngineOptions)}


def rows(page: str, section: str, columns: int) -> list[list[str]]:
    """Return the rows of the tables of a section that have so many columns."""
    found = [row for row in rows_of(text_of(page, section)) if len(row) == columns]
    assert found, f"{page}: {section} has no table of {columns} columns"
    return found


def first_codes(page: str, section: str, columns: int) -> list[str]:
    return [code for row in rows(page, section, columns) for code in code_in(row[0])]


def test_options_of_a_worker_with_their_variables_and_defaults() -> None:
    table = {code_in(row[0])[0]: row for row in rows(WORKER, "Options", 4)}
    fields = {one.alias or name: name for name, one in QueueSettings.model_fields.items() if name != "name"}
    assert set(table) == set(fields)
    for option, (_, variable, default, _) in table.items():
        field = fields[option]
        if field in WorkerOptions.model_fields:
            name = "max_data_points" if field == "metrics" else field
            assert code_in(variable) == [PREFIX + name.upper()]
            assert _default(default) == _as_documented(ENGINE[name]), option
        else:
            assert variable == ""
    assert _default(table["concurrency"][2]) == QueueSettings.model_fields["concurrency"].default
    assert (table["lockRenewTime"][2], ENGINE["lock_renew_time_ms"]) == ("half a lock", None)


def _default(cell: str) -> Any:
    return json.loads(code_in(cell)[0]) if code_in(cell) else None


def _as_documented(value: Any) -> Any:
    return {"count": value.count, "age": value.age} if isinstance(value, Keep) else value


def test_settings_of_a_worker_process() -> None:
    table = {code_in(row[0])[0]: row[1] for row in rows(WORKER, "Options", 3)}
    fields = {**WorkerSettings.model_fields, **ProcessSettings.model_fields}
    known = {PREFIX + name.upper(): one for name, one in fields.items() if name != "defaults"}
    assert set(table) == set(known) - BEHIND_THE_SCENES | {"QUEUEWORKER_PROCESSORS", "QUEUEWORKER_LOG_LEVEL"}
    for variable, cell in table.items():
        if variable in known and code_in(cell):
            assert code_in(cell)[0] == str(known[variable].default), variable


def test_events_of_a_worker() -> None:
    assert first_codes(WORKER, "Hooks and listeners", 3) == list(EVENTS)


def test_errors_that_a_processor_may_raise() -> None:
    raised = {code.partition("(")[0] for code in first_codes(WORKER, "How a job ends", 3) if "Error" in code}
    assert raised == {"UnrecoverableError", "DelayedError", "WaitingChildrenError", "RateLimitError"}
    assert raised <= set(queueworker_worker.__all__) & set(dir(worker_errors))


def test_what_the_log_says_is_what_the_source_says() -> None:
    told = [code for code in first_codes(WORKER, "Troubleshooting", 2) if "…" in code or " " in code]
    assert len(told) > 12
    known = "\n".join(_texts())
    # What is filled in may itself be a message.
    parts = [(text, part.strip()) for text in told for part in re.split(r"…|: |; ", text)]
    assert [(text, part) for text, part in parts if part not in known] == []


def _texts() -> Iterator[str]:
    """Yield every text of the worker's sources, with `…` where something is filled in."""
    for path in sorted((ROOT / "worker/src/queueworker_worker").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[.0-9]*[a-z]", "…", node.value)


def test_variables_of_the_connection() -> None:
    assert set(first_codes(CLIENT, "Connection", 2)) == {settings.REDIS_PREFIX + name for name in settings._NAMES}


def test_connections_of_the_page_are_those_of_its_variables() -> None:
    [text] = [block.text for block in docsnippets.blocks_of(CLIENT) if block.language == "sh"]
    told = [dict(line.split("=", 1) for line in part.splitlines()[1:]) for part in text.split("# ")[1:]]
    [block] = [one for one in docsnippets.sections_of(CLIENT)["Connection"] if "sentinel=" in one.text]
    namespace: dict[str, Any] = {}
    exec(compile(block.text, block.where, "exec"), namespace)
    made = [namespace[name] for name in ("sentinel", "cluster", "tls")]
    assert [settings.ConnectionSettings.from_environment(one) for one in told] == made


def test_options_of_a_job() -> None:
    table = {code: row[1] for row in rows(CLIENT, "Options of a job", 3) for code in code_in(row[0])}
    assert set(table) == set(JobOptions.model_fields)
    options = JobOptions()
    for name, cell in table.items():
        if code_in(cell):
            value = options.effective_priority if name == "priority" else getattr(options, name)
            assert code_in(cell)[0] == str(value), name
    assert options.backoff is not None
    assert table["backoff"] == f"{options.backoff.type}, {options.backoff.delay} ms"
    assert (options.remove_on_complete, options.remove_on_fail) == (
        type(options.remove_on_complete)(age=3600, count=1000),
        type(options.remove_on_fail)(age=7 * 86_400, count=5000),
    )
    assert (table["remove_on_complete"], table["remove_on_fail"]) == ("an hour, 1000 jobs", "a week, 5000 jobs")
    assert table["stack_trace_limit"] == f"the worker's {ENGINE['stack_trace_limit']}"


def test_outcomes_of_adding() -> None:
    assert first_codes(CLIENT, "Adding jobs", 3) == [one.value for one in Outcome]


def test_states_of_a_job() -> None:
    text = " ".join(text_of(CLIENT, "Reading").split()).split("States are BullMQ's: ")[1].partition(". ")[0]
    assert code_in(text) == [one.name for one in STATES]


def test_events_of_a_queue() -> None:
    scripts = (Path(bullmq.__file__).parent / "commands").rglob("*.lua")
    written = {name for path in scripts for name in re.findall(r'"event", *"([a-z-]+)"', path.read_text())}
    # These three are arguments of their scripts.
    assert set(first_codes(CLIENT, "Events", 2)) == written | {"completed", "failed", "paused", "resumed"}


def test_every_method_of_a_queue_is_named_and_none_is_made_up() -> None:
    page = (ROOT / CLIENT).read_text()
    methods = {name for name, _ in inspect.getmembers(Queue, inspect.isfunction) if not name.startswith("_")} - {
        "aclose"
    }
    assert {name for name in methods if f"{name}(" not in page} == set()
    for section in ("Reading", "Changing jobs"):
        for code in first_codes(CLIENT, section, 2):
            name, _, words = code.rstrip(")").partition("(")
            assert name in methods, code
            known = set(inspect.signature(getattr(Queue, name)).parameters) | {"id", "n", "ms"}
            assert {word.partition("=")[0].strip(" *") for word in words.split(",") if word} <= known, code


def test_errors_of_the_client() -> None:
    named = set(first_codes(CLIENT, "Errors", 2))
    exported = {name for name in queueworker.__all__ if name.endswith("Error")}
    assert named == exported - {"QueueWorkerError"}
    reasons = " ".join(text_of(CLIENT, "Errors").split()).split("have a `reason`:")[1]
    source = inspect.getsource(failures) + inspect.getsource(queueworker.errors)
    assert [one for one in code_in(reasons) if f"{one}" not in source] == []


def test_exit_codes() -> None:
    told = {int(row[0]) for row in rows(CLIENT, "The command line", 2) if row[0].isdigit()}
    assert told == {0, *(value for name, value in vars(codes).items() if name.isupper())}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page}: {target}"


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_with_python_is_one_whose_blocks_are_run() -> None:
    pages = {str(one.relative_to(ROOT)) for folder in (".", "*") for one in ROOT.glob(f"{folder}/*.md")}
    with_python = {page for page in pages if any(one.language == "python" for one in docsnippets.blocks_of(page))}
    assert with_python == {"README.md", "client/README.md", "worker/README.md", WORKER, CLIENT}
