"""`python -m processnode`: where its logs and volumes go."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from processnode import __main__ as command


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "node"
    with ExitStack() as stack:
        assert command.working_directory(wanted, stack) == wanted
        assert command.working_directory(wanted, stack) == wanted, "it may be there"
        temporary = command.working_directory(None, stack)
        assert temporary.is_dir()
    assert wanted.is_dir()
    assert not temporary.exists()


def test_what_cannot_be_a_directory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()

    def nothing(_: Path) -> Any:
        return None

    monkeypatch.setattr(command, "read_own_kubeconfig", nothing)
    monkeypatch.setattr(sys, "argv", ["processnode", "--directory", str(file)])
    assert command.main() == 2
    assert capsys.readouterr().err == f"processnode: --directory {file}: File exists; name another\n"
