"""The Kubernetes adapter against servers that are slow, busy, or no Kubernetes at all: real HTTP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from adapter_bench import SPEC
from aiohttp import web

from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, Resource
from queueworker_operator.cluster.resource import resource_of


@pytest.fixture
def resource() -> Resource:
    return resource_of({"metadata": {"name": "killmail", "namespace": "a", "uid": "u"}, "spec": SPEC})


@asynccontextmanager
async def cluster_of(
    handler: object, directory: Path, *, timeout_seconds: float = 5.0
) -> AsyncIterator[KubernetesCluster]:
    """Serve every request by `handler`, and give an adapter on it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(kubeconfig_for(f"http://127.0.0.1:{runner.addresses[0][1]}")))
    cluster = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig), timeout_seconds=timeout_seconds))
    try:
        yield cluster
    finally:
        await cluster.close()
        await runner.cleanup()


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


def kubeconfig_for(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "canary-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
