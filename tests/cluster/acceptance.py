"""What the acceptance tests share: the operator as a process, a QueueWorker of theirs, and a watch on its replicas."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bullmq
import redis
import yaml
from ledgerprocessor import ENDED, STARTED

from controlplane import ApiError, ControlPlane
from controlplane.component import free_port
from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings

ROOT = Path(__file__).resolve().parents[2]
QUEUEWORKER = str(Path(sys.executable).with_name("queueworker"))
QUEUE = "story"
GRACE_SECONDS = 30
QUEUEWORKERS = "/apis/queueworker.dev/v1alpha1/namespaces/{}/queueworkers"


def learn_kinds(plane: ControlPlane) -> None:
    """Let the garbage collector know all kinds now, not within its 30 s: a new one asks for them at its start."""
    manager = plane.components["kube-controller-manager"]
    manager.stop()
    manager.start()
    plane.wait_ready()


def rbac_rules() -> list[dict[str, Any]]:
    """The operator's rights, from their one source."""
    return yaml.safe_load((ROOT / "charts/queueworker/files/rbac.yaml").read_text())


class OperatorProcess:
    """`queueworker operator` on this host, as a service account with exactly the chart's rights."""

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        *,
        command: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.plane = plane
        self.environment = environment or {}
        self.namespace = namespace
        self.port = free_port()
        self.log = Path(tempfile.mkstemp(prefix="operator-", suffix=".log")[1])
        self.kubeconfig = plane.service_account_kubeconfig(
            namespace, f"operator-{self.port}", [], namespaced_rules=rbac_rules()
        )
        self.command = [
            *(command or [QUEUEWORKER]),
            "operator",
            "--namespace",
            namespace,
            "--allow-loopback-redis",
            "--metrics-host",
            "127.0.0.1",
            "--metrics-port",
            str(self.port),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> None:
        """Start it and, unless it is not meant to live so long, wait until it is ready."""
        environment = {**self.plane.environment, "KUBECONFIG": str(self.kubeconfig), **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while ready and not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the operator is not ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def ends(self, *, within: float = 60) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self.process is not None
        code = self.process.wait(within)
        self.process = None
        return code

    def stop(self) -> None:
        """End it as Kubernetes would, which kills it after the grace period of the chart."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the operator did not end within {GRACE_SECONDS} s:\n{self.log.read_text()[-4000:]}"
            ) from None
        self.process = None
        assert code == 0, f"the operator ended with {code}:\n{self.log.read_text()[-4000:]}"


@contextmanager
def running_operator(
    plane: ControlPlane, namespace: str, *, ready: bool = True, **options: Any
) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(plane, namespace, **options)
    try:
        operator.start(ready=ready)
        yield operator
    except BaseException:
        print(f"--- operator\n{operator.log.read_text()[-8000:]}")
        raise
    finally:
        operator.stop()
        operator.log.unlink()


def queueworker(name: str, settings: ConnectionSettings, **spec: Any) -> dict[str, Any]:
    """A QueueWorker whose pods run the ledger's processor with this interpreter."""
    autoscaling = {
        "minReplicas": 0,
        "maxReplicas": 10,
        "target": {"backlogPerReplica": 100},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        "cooldownSeconds": 5,
    }
    worker = {
        "image": "localhost/story:1",
        "command": [QUEUEWORKER, "work", "--module", "ledgerprocessor"],
        "env": [{"name": "PYTHONPATH", "value": str(Path(__file__).parent)}],
        "drainTimeoutSeconds": 20,
        "healthPort": 8080,
    }
    return {
        "apiVersion": "queueworker.dev/v1alpha1",
        "kind": "QueueWorker",
        "metadata": {"name": name},
        "spec": {
            "queues": [{"name": QUEUE, "concurrency": 5}],
            "redis": {"host": settings.host, "port": settings.port},
            **({} if "targetRef" in spec else {"worker": {**worker, **spec.pop("worker", {})}}),
            **({} if "replicas" in spec else {"autoscaling": autoscaling | spec.pop("autoscaling", {})}),
            **spec,
        },
    }


class Story:
    """One QueueWorker in one namespace: changed through kubectl, as its user does, and looked at without.

    A look is a request of a few milliseconds; a kubectl for each, a quarter of a second of processor time, would keep
    a core busy as long as a test waits.
    """

    def __init__(self, plane: ControlPlane, namespace: str, name: str, settings: ConnectionSettings) -> None:
        self.plane = plane
        self.namespace = namespace
        self.name = name
        self.settings = settings
        self.redis = redis.Redis(host=settings.host, port=settings.port, decode_responses=True)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        answer = self.plane.kubectl("-n", self.namespace, *arguments, stdin=stdin, check=check)
        return answer.stdout

    def apply(self, **spec: Any) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(queueworker(self.name, self.settings, **spec)))

    def get(self) -> dict[str, Any]:
        return self.plane.api.get(f"{QUEUEWORKERS.format(self.namespace)}/{self.name}")

    def status(self) -> dict[str, Any]:
        return self.get().get("status", {})

    def scaling(self) -> dict[str, Any]:
        return self.status().get("scaling", {})

    def condition(self, kind: str) -> dict[str, Any]:
        return next((found for found in self.status().get("conditions", []) if found["type"] == kind), {})

    def deployment(self) -> dict[str, Any]:
        return self.plane.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}")

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.plane.api.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return found

    def ready_replicas(self) -> int:
        return self.deployment().get("status", {}).get("readyReplicas", 0)

    async def enqueue(self, count: int, *, milliseconds: int) -> list[str]:
        async with Queue(QUEUE, self.settings) as queue:
            jobs = [Job.create("sleep", {"milliseconds": milliseconds}) for _ in range(count)]
            added = await queue.enqueue_many(jobs)
        return [job.id for job in added]

    async def enqueue_at_once(self, count: int, *, milliseconds: int) -> list[str]:
        """Add a burst as BullMQ's own producers do: in one transaction, however busy this machine is."""
        job = {"name": "sleep", "data": {"milliseconds": milliseconds}, "opts": {}}
        address = f"redis://{self.settings.host}:{self.settings.port}"
        queue = bullmq.Queue(QUEUE, {"connection": address})
        try:
            return [added.id for added in await queue.addBulk([job] * count)]
        finally:
            await queue.close()

    def runs(self) -> tuple[Counter[str], Counter[str]]:
        """How often each job started and ended."""
        started, ended = (
            Counter({job: int(times) for job, times in self.redis.hgetall(key).items()}) for key in (STARTED, ENDED)
        )
        return started, ended

    def all_done_once(self, ids: list[str]) -> bool:
        started, ended = self.runs()
        expected = Counter(ids)
        assert started <= expected, f"run more than once: {(started - expected).most_common(5)}"
        return started == expected and ended == expected

    def close(self) -> None:
        self.redis.close()


class ReplicaWatch:
    """Every number that was ever written into the Deployment, in order, by a watch that kubectl keeps."""

    def __init__(self, story: Story) -> None:
        self.values: list[int] = []
        path = f"/apis/apps/v1/namespaces/{story.namespace}/deployments"
        selector = f"metadata.name={story.name}"
        # From here on: what is written before the watch is open is told all the same.
        listed = story.plane.api.get(path, fieldSelector=selector)
        self.values += [one["spec"]["replicas"] for one in listed.get("items") or []]
        since = listed["metadata"]["resourceVersion"]
        query = f"fieldSelector=metadata.name%3D{story.name}&resourceVersion={since}&watch=true"
        self._process = subprocess.Popen(
            [str(story.plane.binary), "kubectl", "get", "--raw", f"{path}?{query}"],
            env=story.plane.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["type"] in {"ADDED", "MODIFIED"}:
                replicas = event["object"]["spec"]["replicas"]
                if not self.values or self.values[-1] != replicas:
                    self.values.append(replicas)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._thread.join(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> ReplicaWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def eventually(question: Callable[[], Any], *, what: str, state: Callable[[], Any], within: float = 60) -> Any:
    """Ask until the answer is true; in vain, say what was seen last. What is not there yet is no answer."""
    deadline = time.monotonic() + within
    while not (answer := _answer(question)):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}; last: {state()}")
        time.sleep(0.1)
    return answer


def _answer(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None
