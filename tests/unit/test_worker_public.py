"""The names that the package exports, and what it does not load before it must."""

from __future__ import annotations

import subprocess
import sys

import pytest

import queueworker_worker


@pytest.mark.parametrize("name", queueworker_worker.__all__)
def test_every_exported_name_is_there_and_described(name: str) -> None:
    assert getattr(queueworker_worker, name).__doc__
    assert name in dir(queueworker_worker)


def test_processor_stays_the_decorator_when_its_module_is_imported() -> None:
    import queueworker_worker.processor

    assert queueworker_worker.processor is sys.modules["queueworker_worker.processor"].processor


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        queueworker_worker.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("queueworker_worker", {"asyncio", "pydantic", "redis", "importlib.metadata"}),
        ("queueworker_worker.cli", {"asyncio", "pydantic", "redis", "hiredis"}),
        ("queueworker_worker.child", {"pydantic", "redis", "hiredis", "typer", "msgpack", "http.server"}),
        ("queueworker_worker.supervisor", {"redis", "hiredis", "typer", "msgpack", "http.server"}),
    ],
)
def test_imports_are_few(module: str, unwanted: set[str]) -> None:
    program = f"import {module}, sys; print(*({unwanted!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == []
