"""A real control plane for the tests in this directory, one a test run, and a node that runs pods as processes."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance import learn_kinds
from processnode import ProcessNode

import controlplane
from controlplane import Api, ApiError, ClusterError, ControlPlane

HERE = Path(__file__).resolve().parent
CRD_FILE = HERE.parents[1] / "crds" / "queueworkers.yaml"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/queueworkers.queueworker.dev"
_BUILD = pytest.StashKey[Path | ClusterError]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the binary before the first test starts: minutes, which no test's timeout should count."""
    needed = any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items)
    if not needed or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            session.config.stash[_BUILD] = controlplane.build()
        except ClusterError as error:
            session.config.stash[_BUILD] = error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the pods of a failed test printed, and the ends of the components' logs."""
    report = yield
    values = getattr(item, "funcargs", {})
    if report.failed and isinstance(plane := values.get("control_plane"), ControlPlane):
        report.sections.append(("control plane", plane.logs()))
        if isinstance(node := values.get("process_node"), ProcessNode):
            report.sections.append(("pods", node.logs(values.get("namespace", "*"))))
            report.sections.append(("process node", node.agent_log()))
    return report


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """The control plane of this test run. Tests share it: each works in a `namespace` of its own."""
    built = request.config.stash[_BUILD]
    if isinstance(built, ClusterError):
        raise built
    with ControlPlane.start(built) as plane:
        yield plane


@pytest.fixture(autouse=True)
def only_our_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test runs finds our control plane or none, never the cluster of who runs the tests."""
    for name in [name for name in os.environ if name.startswith("KUBE")]:
        monkeypatch.delenv(name)
    if "control_plane" not in request.fixturenames:
        monkeypatch.setenv("KUBECONFIG", os.devnull)
        return
    plane: ControlPlane = request.getfixturevalue("control_plane")
    controlplane.read_own_kubeconfig(plane.kubeconfig)
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))


@pytest.fixture
def api(control_plane: ControlPlane) -> Api:
    """Requests as the cluster's administrator."""
    return control_plane.api


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own that enforces the restricted Pod Security level."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    yield name
    # Not waited for. The pods go by force: their processes should not outlive the test by a grace period.
    api.delete(f"/api/v1/namespaces/{name}")
    api.delete(f"/api/v1/namespaces/{name}/pods", {"gracePeriodSeconds": 0})


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> str:
    """Install the CRD of QueueWorker and return the path of its group and version."""
    if not CRD_FILE.is_file():
        raise ClusterError(f"{CRD_FILE} is missing: generate it first (queueworker crd)")
    install_crd(control_plane)
    version = control_plane.api.get(CRD_PATH)["spec"]["versions"][0]["name"]
    return f"/apis/queueworker.dev/{version}"


def install_crd(plane: ControlPlane) -> None:
    """Install the CRD and wait until the API server serves it and the garbage collector knows it.

    The collector asks for new kinds every 30 s only, and until then it holds back what their objects own.
    """
    plane.kubectl("apply", "--server-side", "-f", str(CRD_FILE))
    deadline = time.monotonic() + 60
    while not any(
        condition["type"] == "Established" and condition["status"] == "True"
        for condition in plane.api.get(CRD_PATH).get("status", {}).get("conditions") or []
    ):
        if time.monotonic() > deadline:
            raise ClusterError("the CRD was not established within 60 s")
        time.sleep(0.05)
    learn_kinds(plane)


@pytest.fixture(scope="session")
def process_node(control_plane: ControlPlane) -> Iterator[ProcessNode]:
    """The node of this test run: pods bound to it are processes of this host."""
    with ProcessNode.start(control_plane) as node:
        yield node


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Ask until the answer is true, and return it; an API error counts as not yet."""

    def ask(question: Callable[[], Any], *, within: float = 60.0, what: str = "") -> Any:
        deadline = time.monotonic() + within
        while True:
            try:
                answer: Any = question()
            except ApiError as error:
                answer = None
                last: object = error
            else:
                last = answer
            if answer:
                return answer
            if time.monotonic() > deadline:
                pytest.fail(f"not within {within:g} s: {what or question}; last: {last!r}")
            time.sleep(0.05)

    return ask
