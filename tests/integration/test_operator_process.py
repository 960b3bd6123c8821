"""`queueworker operator` where it cannot begin: one line, and an exit code that says whose fault it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

QUEUEWORKER = str(Path(sys.executable).with_name("queueworker"))


def run(tmp_path: Path, *options: str, kubeconfig: Path | None = None, **environment: str) -> tuple[int, list[str]]:
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "QUEUEWORKER_"))},
        "KUBECONFIG": str(kubeconfig or tmp_path / "none"),
        **environment,
    }
    command = [QUEUEWORKER, "operator", "--metrics-host", "127.0.0.1", "--metrics-port", "0", *options]
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert answer.stdout == ""
    return answer.returncode, answer.stderr.splitlines()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_a_way_to_a_cluster_it_ends_with_5(tmp_path: Path) -> None:
    code, lines = run(tmp_path)
    assert code == 5
    assert lines[-1].startswith("error: no way to the cluster"), lines


def test_a_cluster_that_does_not_answer_ends_it_with_5(tmp_path: Path, closed_port: int) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{closed_port}"}}],
        "users": [{"name": "u", "user": {"token": "s3cret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    code, lines = run(tmp_path, kubeconfig=kubeconfig)
    assert code == 5, lines
    assert lines[-1].startswith("error: cannot list the QueueWorkers in all namespaces")
    assert "`queueworker crd`" in lines[-1]
    assert "s3cret" not in "\n".join(lines)


def test_a_wrong_setting_ends_it_with_2(tmp_path: Path) -> None:
    code, [line] = run(tmp_path, QUEUEWORKER_OPERATOR_BUSY_SECONDS="fast")
    assert code == 2
    assert line.startswith("error: QUEUEWORKER_OPERATOR_BUSY_SECONDS, or its option: ")
