"""Workers as processes of this host: number, readiness, rolling replacement, restarts, ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from operator_waiting import until
from processes import has_ended

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.local import LocalCluster, LocalSettings
from queueworker_operator.cluster.local_objects import LocalObjects
from queueworker_operator.cluster.local_process import Patience
from queueworker_operator.cluster.port import ClusterError, ConflictError, Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

WORKER = str(Path(__file__).parent.parent / "local_worker.py")
KEY = Key("default", "mail")


def resource(*flags: str, **worker: Any) -> Resource:
    spec = {
        "queues": [{"name": "mail", "concurrency": 2}],
        "redis": {"host": "127.0.0.1"},
        "replicas": 1,
        "worker": {
            "image": "none",
            "command": [sys.executable, WORKER],
            "args": list(flags),
            "healthPort": 8080,
            "drainTimeoutSeconds": 0,
            **worker,
        },
    }
    return resource_of({"metadata": {"name": "mail", "uid": "1", "generation": 1}, "spec": spec})


class Bench:
    def __init__(self, directory: Path) -> None:
        self.log: list[tuple[str, str]] = []
        self.changes: list[Key] = []
        self.objects = LocalObjects()
        patience = Patience(first_restart=0.1, longest_restart=0.4, probe_starting=0.02, probe_ready=0.05)
        settings = LocalSettings(
            directory=directory,
            environment={**os.environ, "QUEUEWORKER_OPERATOR_NAMESPACES": "x", "QUEUEWORKER_REDIS_PORT": "1"},
            log=lambda worker, line: self.log.append((worker, line)),
            patience=patience,
        )
        self.cluster = LocalCluster(self.objects, settings, changed=self.changes.append)

    async def observed(self, resource: Resource) -> WorkersObservation:
        return await self.cluster.observe(resource)

    async def until_ready(self, resource: Resource, count: int) -> WorkersObservation:
        group = self.cluster._groups[resource.key]
        await until(lambda: (o := group.observe()).ready == o.present == count, what=f"{count} ready: {self.log}")
        return group.observe()

    def names(self) -> list[str]:
        return [worker.name for worker in self.cluster.workers(KEY)]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.cluster.close()
    assert bench.names() == []


async def test_from_nothing_to_three_workers_to_none(bench: Bench) -> None:
    mail = resource()
    assert (await bench.observed(mail)).ownership is Ownership.ABSENT
    made = await bench.cluster.create(mail, secrets={}, replicas=1)
    assert (made.ownership, made.replicas, made.ready) == (Ownership.OURS, 1, 0)
    one = await bench.until_ready(mail, 1)
    assert one.rollout_complete
    assert one.fingerprint == bench.cluster.fingerprint(mail, {})
    await bench.cluster.scale(mail, one, replicas=3)
    three = await bench.until_ready(mail, 3)
    assert bench.names() == ["mail-1", "mail-2", "mail-3"]
    processes = [psutil.Process(worker.pid) for worker in bench.cluster.workers(KEY)]
    await bench.cluster.scale(mail, three, replicas=0)
    assert (await bench.observed(mail)).present == 0, "workers that are ending do not count"
    await until(lambda: not bench.names(), what="all workers gone")
    assert not any(process.is_running() for process in processes)
    assert bench.log.count(("mail-3", "ends")) == 1
    assert set(bench.changes) == {KEY}


async def test_the_number_is_only_written_on_what_was_observed(bench: Bench) -> None:
    mail = resource()
    made = await bench.cluster.create(mail, secrets={}, replicas=1)
    await bench.cluster.scale(mail, made, replicas=2)
    with pytest.raises(ConflictError):
        await bench.cluster.scale(mail, made, replicas=5)
    assert (await bench.observed(mail)).replicas == 2


async def test_the_youngest_ends_first_and_one_that_is_not_ready_before_it(bench: Bench) -> None:
    mail = resource()
    await bench.cluster.create(mail, secrets={}, replicas=3)
    three = await bench.until_ready(mail, 3)

    def ready() -> list[bool]:
        return [worker.ready for worker in bench.cluster.workers(KEY) if not worker.stopping]

    os.kill(bench.cluster.workers(KEY)[0].pid, signal.SIGSTOP)
    try:
        await until(lambda: ready() == [False, True, True], what="the stopped one alone not ready")
        await bench.cluster.scale(mail, three, replicas=2)
        assert [w.name for w in bench.cluster.workers(KEY) if not w.stopping] == ["mail-2", "mail-3"]
        observed = await bench.observed(mail)
        await until(lambda: ready() == [True, True], what="both ready")
        await bench.cluster.scale(mail, observed, replicas=1)
        assert [w.name for w in bench.cluster.workers(KEY) if not w.stopping] == ["mail-2"]
    finally:
        os.kill(bench.cluster.workers(KEY)[0].pid, signal.SIGCONT)


async def test_the_processes_are_told_as_pods(bench: Bench) -> None:
    before = time.time()
    mail = resource()
    await bench.cluster.create(mail, secrets={}, replicas=2)
    starting = (await bench.observed(mail)).pods or ()
    assert [(pod.name, pod.ready, pod.ready_at) for pod in starting] == [
        ("mail-1", False, None),
        ("mail-2", False, None),
    ]
    two = await bench.until_ready(mail, 2)
    for pod in two.pods or ():
        assert pod.ready_at is not None
        assert before <= pod.created_at <= pod.ready_at <= time.time()
    await bench.cluster.scale(mail, two, replicas=1)
    one = await bench.observed(mail)
    assert [(pod.name, pod.ready, pod.terminating) for pod in one.pods or ()] == [
        ("mail-1", True, False),
        ("mail-2", False, True),
    ]
    await until(lambda: bench.names() == ["mail-1"], what="the end of mail-2")


async def test_the_worker_with_the_lowest_cost_goes_first(bench: Bench) -> None:
    mail = resource()
    await bench.cluster.create(mail, secrets={}, replicas=4)
    four = await bench.until_ready(mail, 4)
    await bench.cluster.set_deletion_costs(mail, {"mail-1": -100, "mail-2": -100, "mail-3": -100, "gone": -100})
    await bench.cluster.set_deletion_costs(mail, {"mail-2": None})
    costs = {pod.name: pod.deletion_cost for pod in (await bench.observed(mail)).pods or ()}
    assert costs == {"mail-1": -100, "mail-2": None, "mail-3": -100, "mail-4": None}
    await bench.cluster.scale(mail, four, replicas=2)
    assert [w.name for w in bench.cluster.workers(KEY) if not w.stopping] == ["mail-2", "mail-4"]


async def test_a_target_needs_a_cluster(bench: Bench) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
    spec = {"queues": [{"name": "mail"}], "redis": {"host": "127.0.0.1"}, "replicas": 1, "targetRef": target}
    mail = resource_of({"metadata": {"name": "mail", "uid": "1"}, "spec": spec})
    observed = await bench.observed(mail)
    assert observed.ownership is Ownership.TARGET
    assert observed.target_problem is not None
    assert observed.target_problem.reason is ConditionReason.SPEC_INVALID
    assert observed.target_problem.message.startswith("spec.targetRef: ")


async def test_a_new_template_replaces_the_workers_while_as_many_stay_ready(bench: Bench) -> None:
    old, new = resource(), resource("--say", "COLOUR", env=[{"name": "COLOUR", "value": "green"}])
    await bench.cluster.create(old, secrets={}, replicas=2)
    observed = await bench.until_ready(old, 2)
    lowest = 2

    def watch(_: Key) -> None:
        nonlocal lowest
        lowest = min(lowest, bench.cluster._groups[KEY].observe().ready)

    bench.cluster._changed = watch
    applied = await bench.cluster.apply(new, observed, secrets={})
    assert (applied.replicas, applied.rollout_complete) == (2, False)
    group = bench.cluster._groups[KEY]
    await until(lambda: group.observe().rollout_complete, what="the rollout")
    await until(lambda: len(bench.names()) == 2, what="the old ones gone")
    assert lowest == 2
    assert [line for _, line in bench.log].count("says green") == 2


async def test_a_dead_worker_is_reported_and_started_again_with_growing_pauses(bench: Bench) -> None:
    await bench.cluster.create(resource("--die"), secrets={}, replicas=1)
    await until(lambda: bench.cluster.workers(KEY)[0].restarts >= 3, what="three restarts")
    await until(lambda: bench.cluster.workers(KEY)[0].problem, what="the problem")
    observed = await bench.observed(resource("--die"))
    assert observed.present == 1
    assert observed.pod_problem is not None
    assert observed.pod_problem.reason is ConditionReason.WORKERS_NOT_READY
    assert (
        observed.pod_problem.message == "worker mail-1 ended by itself with exit status 3; it is started again in 0.4 s"
    )


async def test_a_killed_worker_comes_back_ready(bench: Bench) -> None:
    mail = resource()
    await bench.cluster.create(mail, secrets={}, replicas=1)
    await bench.until_ready(mail, 1)
    [worker] = bench.cluster.workers(KEY)
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: "SIGKILL" in (worker.problem or ""), what="the problem to say the signal")
    await bench.until_ready(mail, 1)
    assert (await bench.observed(mail)).pod_problem is None


async def test_a_program_that_is_not_there_is_a_problem_and_no_crash(bench: Bench) -> None:
    await bench.cluster.create(resource(command=["no-such-program"]), secrets={}, replicas=1)
    await until(lambda: bench.cluster.workers(KEY)[0].problem, what="the problem")
    assert "no-such-program" in bench.cluster.workers(KEY)[0].problem


async def test_a_worker_that_never_says_that_it_is_ready_is_not(bench: Bench) -> None:
    mail = resource("--not-ready")
    await bench.cluster.create(mail, secrets={}, replicas=1)
    await until(lambda: bench.log, what="the start")
    await asyncio.sleep(0.3)
    assert (await bench.observed(mail)).ready == 0


async def test_a_worker_that_ignores_sigterm_is_killed_after_its_grace_period(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queueworker_operator.cluster.local.DRAIN_MARGIN_SECONDS", 0.3)
    mail = resource("--stubborn")
    made = await bench.cluster.create(mail, secrets={}, replicas=1)
    await bench.until_ready(mail, 1)
    await bench.cluster.scale(mail, made, replicas=0)
    await until(lambda: not bench.names(), what="the end")


async def test_the_environment_is_that_of_the_pod_and_the_shell_without_the_operators_own(bench: Bench) -> None:
    bench.objects.add({"kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"token": "t0p"}})
    bench.objects.add({"kind": "ConfigMap", "metadata": {"name": "colours"}, "data": {"WALL": "white"}})
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "none", "optional": True}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ALL", "value": "$(ME) $(TOKEN) $$(ME) $(NOWHERE) $(QUEUEWORKER_REDIS_PORT) $(WALL)"},
    ]
    printed = "import os, json; print(json.dumps(dict(os.environ)))"
    mail = resource(
        "$(ME)", command=[sys.executable, "-c", printed], env=env, envFrom=[{"configMapRef": {"name": "colours"}}]
    )
    await bench.cluster.create(mail, secrets={}, replicas=1)
    await until(lambda: bench.log, what="the environment")
    seen = json.loads(bench.log[0][1])
    assert seen["ALL"] == "mail-1 t0p $(ME) $(NOWHERE) 6379 white"
    assert "NONE" not in seen
    assert "QUEUEWORKER_OPERATOR_NAMESPACES" not in seen
    assert seen["QUEUEWORKER_NAME"] == "mail-1"
    assert seen["QUEUEWORKER_HEALTH_HOST"] == "127.0.0.1"
    assert seen["QUEUEWORKER_HEALTH_PORT"] != "8080"
    assert json.loads(seen["QUEUEWORKER_QUEUES"]) == [{"name": "mail", "concurrency": 2}]
    assert seen["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"valueFrom": {"secretKeyRef": {"name": "nobody", "key": "k"}}}, "there is no Secret nobody in the files"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "spec.priority"}}}, "spec.priority does not exist outside"),
    ],
)
async def test_what_a_process_cannot_have_is_said_at_once(bench: Bench, env: dict[str, Any], sentence: str) -> None:
    mail = resource(env=[{"name": "X", **env}])
    with pytest.raises(ClusterError, match=sentence):
        await bench.cluster.create(mail, secrets={}, replicas=1)


async def test_secrets_of_a_connection_need_the_label_here_too(bench: Bench) -> None:
    bench.objects.add({"kind": "Secret", "metadata": {"name": "redis"}, "data": {"password": "cHc="}})
    with pytest.raises(ClusterError, match="needs the label") as refusal:
        await bench.cluster.secret("default", "redis")
    assert refusal.value.reason is ConditionReason.SECRET_NOT_ALLOWED
    labels = {"queueworker.dev/redis-credentials": "true"}
    bench.objects.add({"kind": "Secret", "metadata": {"name": "redis", "labels": labels}, "data": {"password": "cHc="}})
    assert (await bench.cluster.secret("default", "redis")).data == {"password": b"pw"}
    with pytest.raises(ClusterError, match="no Secret other"):
        await bench.cluster.secret("default", "other")


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent("""
        import asyncio, pathlib, sys
        from queueworker_operator.cluster.local_launch import Launch
        from queueworker_operator.cluster.local_process import LocalWorker, Patience
        async def main():
            worker = LocalWorker(name="w", revision=1, grace_seconds=5, changed=lambda: None, log=lambda *a: None,
                patience=Patience(), launch=lambda: Launch(argv=[sys.executable, "-c", "import time; time.sleep(60)"],
                environment={}, health_port=None))
            while not worker.pid: await asyncio.sleep(0.01)
            print(worker.pid, flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
        """)
    )
    process = subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, text=True)
    with process:
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not [one for one in alive if not has_ended(one)]
