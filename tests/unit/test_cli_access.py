"""Commands that look at a cluster, where there is no way to one: one line and exit code 5."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import run_here


@pytest.mark.parametrize(
    "content",
    [b"a: [b", b"\x80\x81", b"- 1", b"just text", b"contexts: 5\ncurrent-context: a", b"users: [{token: s3cret}"],
)
def test_what_is_no_kubeconfig_is_one_line_without_what_it_holds(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(file))
    done = run_here(None, "get")
    assert (done.returncode, done.stdout) == (5, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: no way to the cluster: ")
    assert line.endswith("(`queueworker up` has no cluster: it shows what it runs)")
    assert "s3cret" not in line


@pytest.mark.parametrize("command", ["get", "why"])
@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_name_of_all(command: str, name: str) -> None:
    done = run_here(None, command, name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the name is empty: name a QueueWorker" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_kubeconfig_that_is_not_there_is_named(given: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "kubeconfig")
    options = ["--kubeconfig", missing] if given == "option" else []
    done = run_here(None, "get", *options, KUBECONFIG=missing if given == "environment" else "")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error: no way to the cluster: there is no file {missing}; name a kubeconfig, or ")


def test_a_directory_is_no_kubeconfig(tmp_path: Path) -> None:
    done = run_here(None, "get", "--kubeconfig", str(tmp_path))
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error: no way to the cluster: {tmp_path}: Is a directory; name a kubeconfig, or ")


def test_of_several_kubeconfigs_some_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("current-context: x")
    done = run_here(None, "get", KUBECONFIG=f"{tmp_path / 'none'}:{file}")
    assert (done.returncode, done.stdout) == (5, "")
    assert "there is no file" not in done.stderr
