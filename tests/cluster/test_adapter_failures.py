"""The Kubernetes adapter against servers that are slow, busy, or no Kubernetes at all: real HTTP on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
from adapter_bench import SPEC
from adapter_server import Handler, serving, write_kubeconfig
from aiohttp import web

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.kubernetes.reports import API_VERSION
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.scaling.observation import Ownership


@pytest.fixture
def resource() -> Resource:
    return resource_of({"metadata": {"name": "killmail", "namespace": "a", "uid": "u"}, "spec": SPEC})


@asynccontextmanager
async def cluster_of(
    handler: Handler, directory: Path, *, timeout_seconds: float = 30.0
) -> AsyncIterator[KubernetesCluster]:
    """Serve every request by `handler`, and give an adapter on it."""
    async with serving(handler, directory) as kubeconfig:
        cluster = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig), timeout_seconds=timeout_seconds))
        try:
            yield cluster
        finally:
            await cluster.close()


async def test_a_server_that_hangs_is_given_up(tmp_path: Path, resource: Resource) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with cluster_of(hang, tmp_path, timeout_seconds=0.2) as cluster:
        with pytest.raises(
            ClusterUnavailableError, match=r"cannot read the Deployment a/killmail: no answer in 0\.2 s"
        ):
            await cluster.observe(resource)


async def test_a_busy_server_says_when_to_come_back(tmp_path: Path, resource: Resource) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(
            status=429, headers={"Retry-After": "3"}, text="Too many requests, please try again later.\n"
        )

    async with cluster_of(busy, tmp_path) as cluster:
        with pytest.raises(ClusterUnavailableError, match="Too many requests") as refused:
            await cluster.create(resource, secrets={}, replicas=1)

    assert refused.value.retry_after_seconds == 3


async def test_a_connection_that_breaks_is_unavailable(tmp_path: Path, resource: Resource) -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with cluster_of(cut, tmp_path) as cluster:
        with pytest.raises(ClusterUnavailableError, match="cannot read the Deployment"):
            await cluster.observe(resource)


@pytest.mark.parametrize(
    ("status", "said"),
    [(429, "please try again later"), (503, "please try again later"), (None, r"no answer in 0\.3 s")],
)
async def test_pods_that_cannot_be_listed_for_now_hide_no_deployment(
    tmp_path: Path, resource: Resource, monkeypatch: pytest.MonkeyPatch, status: int | None, said: str
) -> None:
    if status is None:
        monkeypatch.setattr("queueworker_operator.cluster.kubernetes.pods.LIST_SECONDS", 0.3)
    owner = {"apiVersion": API_VERSION, "kind": "QueueWorker", "name": "killmail", "uid": "u", "controller": True}
    deployment = {
        "kind": "Deployment",
        "metadata": {"namespace": "a", "name": "killmail", "uid": "d", "resourceVersion": "7", "generation": 1}
        | {"ownerReferences": [owner]},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "killmail"}}},
        "status": {"replicas": 3, "readyReplicas": 2, "observedGeneration": 1},
    }

    lists = []

    async def serve(request: web.Request) -> web.Response:
        if not request.path.endswith("/pods"):
            return web.json_response(deployment)
        lists.append(request.path)
        if status is None:
            await asyncio.sleep(60)
        return web.Response(status=status or 200, text="Too many requests, please try again later.\n")

    async with cluster_of(serve, tmp_path) as cluster:
        seen = await cluster.observe(resource, pods=True)
        assert (await cluster.observe(resource, pods=None)).ready == 2

    assert lists == ["/api/v1/namespaces/a/pods"]
    assert (seen.ownership, seen.replicas, seen.ready, seen.pods) == (Ownership.OURS, 3, 2, None)
    assert seen.pod_problem is not None
    assert seen.pod_problem.reason is ConditionReason.PENDING
    assert re.match(f"cannot list the pods of the Deployment a/killmail: .*{said}", seen.pod_problem.message)


async def test_an_answer_that_is_no_kubernetes_object_is_an_error(tmp_path: Path, resource: Resource) -> None:
    async def login_page(_: web.Request) -> web.Response:
        return web.Response(text="<html>please log in</html>", content_type="text/html")

    async with cluster_of(login_page, tmp_path) as cluster:
        with pytest.raises(ClusterError, match="no Kubernetes object"):
            await cluster.observe(resource)


async def test_no_token_is_in_any_error(tmp_path: Path, resource: Resource) -> None:
    seen = []

    async def echo(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({"message": "internal"}, status=500)

    async with cluster_of(echo, tmp_path) as cluster:
        with pytest.raises(ClusterError) as refused:
            await cluster.observe(resource)

    assert seen == ["Bearer canary-token"]
    assert "canary" not in f"{refused.value!r} {refused.value.__cause__!r}"


async def test_streams_leave_the_connections_of_the_requests_alone(tmp_path: Path) -> None:
    opened, streams = asyncio.Semaphore(0), 5

    async def serve(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"kind": "Status"})
        answer = web.StreamResponse()
        await answer.prepare(request)
        opened.release()
        await asyncio.sleep(60)
        return answer

    async def follow(requests: Requests) -> None:
        async for _ in requests.stream("/x", attempt="follow", seconds=60, watch="true"):
            pass

    async with serving(serve, tmp_path) as kubeconfig:
        requests = await Requests.connect(kubeconfig=str(kubeconfig), connections=1)
        following = [asyncio.create_task(follow(requests)) for _ in range(streams)]
        try:
            async with asyncio.timeout(60):
                for _ in range(streams):
                    await opened.acquire()
            assert await requests.get("/x", attempt="read") == {"kind": "Status"}
            assert not any(task.done() for task in following)
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)
            await requests.close()


@pytest.mark.timing
async def test_a_request_costs_less_than_a_millisecond_of_our_own_time(tmp_path: Path) -> None:
    """With the client library's own way to a request it was 1.7 ms; 5 000 QueueWorkers need 10 000 to be created."""
    answer = json.dumps({"kind": "Deployment", "metadata": {"managedFields": [{"fields": list(range(100))}] * 4}})
    body = {"spec": {"env": [{"name": f"N{n}", "value": {"deep": n}} for n in range(60)]}}
    rounds, requests = 30, 10

    def serve(ready: Queue[int], done: Event) -> None:
        asyncio.run(_serve(answer, ready, done))

    ready: Queue[int] = Queue()
    done = Event()
    server = Thread(target=serve, args=(ready, done), daemon=True)
    server.start()
    port = await asyncio.to_thread(ready.get, timeout=60)
    client = await Requests.connect(kubeconfig=str(write_kubeconfig(tmp_path, port=port)))
    took, yardstick = [], []
    # What other tests left in memory is nothing that a request costs: looking through it takes a tenth of a second.
    gc.freeze()
    try:
        await client.send("PATCH", "/x", attempt="warm up", body=body)
        for _ in range(rounds):
            began = time.thread_time()
            for _ in range(requests):
                await client.send("PATCH", "/x", attempt="measure", query={"fieldManager": "a"}, body=body)
            took.append(time.thread_time() - began)
            yardstick.append(_measured_work(answer))
    finally:
        gc.unfreeze()
        await client.close()
        done.set()
        await asyncio.to_thread(server.join, 60)

    # All requests count. Who shares our cores makes each CPU second do less: by how much tells work that is always the
    # same, done in between.
    slowdown = sum(yardstick) / rounds / min(yardstick)
    seconds = sum(took) / rounds / requests
    assert seconds / slowdown < 0.001, f"{seconds * 1e6:.0f} us a request, {slowdown:.2f} times slowed down: {took}"


def _measured_work(text: str) -> float:
    """Return the CPU seconds of work that is always the same, about 3 ms."""
    began = time.thread_time()
    for _ in range(100):
        json.dumps(json.loads(text))
    return time.thread_time() - began


async def _serve(answer: str, ready: Queue[int], done: Event) -> None:
    """In a thread of its own, so that only the client's time is counted."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=answer, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready.put(runner.addresses[0][1])
    await asyncio.to_thread(done.wait)
    await runner.cleanup()
