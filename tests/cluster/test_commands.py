"""`get`, `top` and `why` on a real API server, as their user runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from acceptance import QUEUEWORKER, queueworker
from cli_process import run_here

from controlplane import Api, ControlPlane
from queueworker.settings import ConnectionSettings

Run = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = ConnectionSettings(host="redis.example", port=6379)


@pytest.fixture
def as_process(control_plane: ControlPlane) -> Run:
    def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**control_plane.environment, "COLUMNS": "200", **environment}
        return subprocess.run([QUEUEWORKER, *arguments], env=env, capture_output=True, text=True, timeout=60)

    return command


@pytest.fixture
def run(control_plane: ControlPlane) -> Run:
    """Each command is once a process of its own; else it runs here, which spares the start of an interpreter."""

    def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_here(None, *arguments, **{**control_plane.environment, "COLUMNS": "200", **environment})

    return command


@pytest.fixture
def mail(api: Api, crd: str, namespace: str) -> str:
    """A QueueWorker with the status that an operator would have written."""
    path = f"{crd}/namespaces/{namespace}/queueworkers"
    made = api.create(path, queueworker("mail", SETTINGS))
    moment = datetime.now(UTC)
    now, later = ((moment + timedelta(minutes=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ") for ahead in (0, 60))
    scaling: dict[str, Any] = {
        "desired": 6,
        "reason": "BacklogAboveTarget",
        "message": "6 of 0-10 replicas: backlog 590 (waiting 590) at 100 per replica needs 6.",
        "inputs": {"waiting": 590, "backlog": 590, "active": 12, "delayed": 3, "oldestAgeSeconds": 30},
        "limits": [{"by": "StabilizingScaleDown", "from": 4, "to": 6, "until": later}],
        "history": [{"time": now, "from": 4, "to": 6, "reason": "BacklogAboveTarget", "backlog": 590}],
        "votes": [
            {"queue": "story", "rule": "backlogPerReplica", "replicas": 6},
            {"rule": "minReplicas", "replicas": 0},
        ],
        "lastScaleTime": now,
    }
    conditions = [
        {"type": "Ready", "status": "True", "reason": "RolledOut", "message": "", "lastTransitionTime": now},
        {"type": "Paused", "status": "False", "reason": "NotPaused", "message": "", "lastTransitionTime": now},
    ]
    status = {"replicas": 4, "readyReplicas": 3, "scaling": scaling, "conditions": conditions}
    api.patch(f"{path}/{made['metadata']['name']}/status", {"status": status})
    return "mail"


def test_get_prints_a_line_each(as_process: Run, mail: str, namespace: str):
    shown = as_process("get", "-n", namespace)
    assert (shown.returncode, shown.stderr) == (0, "")
    header, line = shown.stdout.splitlines()
    assert header.split() == ["NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "AGE-OLDEST", "REASON", "READY?", "AGE"]
    assert line.split()[:8] == ["mail", "story", "4", "3", "590", "30s", "BacklogAboveTarget", "True"]


def test_get_one_as_json_yaml_and_name(run: Run, mail: str, namespace: str):
    as_json = json.loads(run("get", mail, "-n", namespace, "-o", "json").stdout)
    as_yaml = yaml.safe_load(run("get", mail, "-n", namespace, "-o", "yaml").stdout)
    assert as_json == as_yaml
    assert (as_json["kind"], as_json["status"]["scaling"]["desired"]) == ("QueueWorker", 6)
    listed = json.loads(run("get", "-n", namespace, "-o", "json").stdout)
    assert [one["metadata"]["name"] for one in listed] == [mail]
    assert run("get", mail, "-n", namespace, "-o", "name").stdout == "queueworker.queueworker.dev/mail\n"


def test_all_namespaces_have_a_column_more(run: Run, mail: str, namespace: str):
    lines = [line.split() for line in run("get", "-A", "-o", "wide").stdout.splitlines()]
    assert lines[0][:2] == ["NAMESPACE", "NAME"]
    assert any(line[:2] == [namespace, mail] for line in lines)


def test_top_without_a_terminal_prints_once(as_process: Run, mail: str, namespace: str):
    shown = as_process("top", "-n", namespace)
    assert shown.returncode == 0, shown.stderr
    header, line = shown.stdout.splitlines()
    assert header.startswith("NAME")
    assert "3/4→6 of 0-10" in line
    assert "backlog 590" in line


def test_why_explains_the_number(as_process: Run, mail: str, namespace: str):
    shown = as_process("why", mail, "-n", namespace)
    assert (shown.returncode, shown.stderr) == (0, "")
    paragraphs = shown.stdout.split("\n\n")
    assert paragraphs[0].splitlines()[0] == f"{namespace}/mail: BacklogAboveTarget"
    assert "backlog 590 (waiting 590) at 100 per replica needs 6" in paragraphs[0]
    titles = [paragraph.splitlines()[0] for paragraph in paragraphs[1:]]
    assert titles == ["READ", "ASKED FOR", "CHANGED BY", "NEXT", "BEFORE", "TO"], shown.stdout
    assert "4 → 6  StabilizingScaleDown" in shown.stdout
    assert f"kubectl annotate qw mail -n {namespace} --overwrite queueworker.dev/pinned-replicas=6" in shown.stdout


def test_why_as_json(run: Run, mail: str, namespace: str):
    told = json.loads(run("why", mail, "-n", namespace, "-o", "json").stdout)
    assert (told["name"], told["desired"], told["replicas"], told["reason"]) == ("mail", 6, 4, "BacklogAboveTarget")
    assert [line["label"] for line in told["lines"]][-2:] == ["StabilizingScaleDown", "desired"]
    assert told["history"][0]["from"] == 4
    assert told["next"]["at"] > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_why_before_any_operator_looked(run: Run, api: Api, crd: str, namespace: str):
    api.create(f"{crd}/namespaces/{namespace}/queueworkers", queueworker("mail", SETTINGS))
    shown = run("why", "mail", "-n", namespace)
    assert shown.returncode == 0, shown.stderr
    assert "the operator has not looked at it yet" in shown.stdout


@pytest.mark.parametrize("command", ["get", "top"])
def test_an_empty_namespace_is_no_error(run: Run, crd: str, namespace: str, command: str):
    shown = run(command, "-n", namespace)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("get", "letters"), 3, 'queueworkers.queueworker.dev "letters" not found'),
        (("why", "letters"), 3, 'queueworkers.queueworker.dev "letters" not found'),
        (("why",), 2, "argument"),
        (("get", "mail", "-A"), 2, "exclude each other"),
        (("get", "-o", "xml"), 2, "xml"),
        (("top", "--interval", "0"), 2, "0.5"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    run: Run, crd: str, namespace: str, arguments: tuple[str, ...], code: int, said: str
):
    shown = run(*arguments) if "-A" in arguments else run(*arguments, "-n", namespace)
    assert (shown.returncode, shown.stdout) == (code, ""), shown.stderr
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("command", [("get",), ("top",), ("why", "mail")])
def test_no_cluster_is_exit_code_5(run: Run, tmp_path: Any, command: tuple[str, ...]):
    missing = tmp_path / "kubeconfig"
    shown = run(*command, KUBECONFIG=str(missing))
    assert (shown.returncode, shown.stdout) == (5, "")
    assert shown.stderr.count("\n") == 1, shown.stderr
    assert shown.stderr.startswith("error: no way to the cluster")
