"""The watch of other autoscalers: on the real API server while the right to see them comes and goes, and bad ones."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from adapter_bench import RULES
from adapter_server import serving
from aiohttp import web

from controlplane import Api, ControlPlane
from queueworker_operator.cluster.kubernetes import Requests
from queueworker_operator.cluster.kubernetes.rivals import AutoscalerWatch
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.cluster.rivals import Rivals

BLIND = [rule for rule in RULES if rule["apiGroups"] != ["autoscaling"]]


class Watching:
    """The watch by the rights of a service account, and a QueueWorker whose rivals are asked for."""

    def __init__(self, plane: ControlPlane, namespace: str, requests: Requests) -> None:
        self.api: Api = plane.api
        self.autoscalers = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        self.role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{namespace}-watcher"
        spec = {"queues": [{"name": "q"}], "redis": {"host": "r"}, "worker": {"image": "i"}, "replicas": 1}
        self.resource = resource_of({"metadata": {"namespace": namespace, "name": "mail", "uid": "1"}, "spec": spec})
        store: dict[Key, Resource] = {self.resource.key: self.resource}
        self.rivals = Rivals(store)
        self.rivals.took(self.resource)
        self.woken = 0
        self.rivals.look_again = self._wake
        self.watch = AutoscalerWatch(requests, self.rivals, [namespace], longest_seconds=0.2, watch_seconds=1)

    def _wake(self, key: Key) -> None:
        self.woken += 1

    def add(self, name: str) -> None:
        resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
        metrics = [{"type": "Resource", "resource": resource}]
        spec = {"scaleTargetRef": reference, "maxReplicas": 5, "metrics": metrics}
        self.api.create(self.autoscalers, {"metadata": {"name": name}, "spec": spec})

    def shown(self) -> str | None:
        found = self.rivals.autoscaler(self.resource)
        return found.shown if found is not None else None

    def allow(self, rules: list[dict[str, Any]]) -> None:
        self.api.patch(self.role, {"rules": rules})


@pytest.fixture
async def seen(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Watching]:
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "watcher", [], namespaced_rules=RULES)
    requests = await Requests.connect(kubeconfig=str(kubeconfig))
    try:
        yield Watching(control_plane, namespace, requests)
    finally:
        await requests.close()


async def until(question: Callable[[], bool], what: str, *, within: float = 60.0) -> float:
    began = time.monotonic()
    while not question():
        if time.monotonic() - began > within:
            pytest.fail(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_autoscalers_are_followed_and_the_loss_of_the_right_to_see_them_ends_nothing(
    seen: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    seen.add("listed")
    await seen.watch.list()
    assert seen.shown() == "HorizontalPodAutoscaler listed"
    following = asyncio.create_task(seen.watch.run())

    seen.api.delete(f"{seen.autoscalers}/listed")
    await until(lambda: seen.shown() is None, "the end of what was listed")
    seen.add("watched")
    await until(lambda: seen.shown() is not None, "what came")
    assert seen.woken == 3

    seen.allow(BLIND)
    await until(lambda: "is not known" in caplog.text, "a word about the loss")
    seen.api.delete(f"{seen.autoscalers}/watched")
    seen.add("unseen")
    await asyncio.sleep(1)
    assert not following.done()
    assert seen.shown() == "HorizontalPodAutoscaler watched", "unknown is not gone"
    why = seen.rivals.unseen(seen.resource) or ""
    assert why.startswith("cannot ")
    assert why.endswith("; grant the operator the verbs list and watch on horizontalpodautoscalers.autoscaling")

    seen.allow(RULES)
    await until(lambda: seen.shown() == "HorizontalPodAutoscaler unseen", "what came meanwhile")
    await until(lambda: "are seen again" in caplog.text, "a word that the watch works")
    assert seen.rivals.unseen(seen.resource) is None
    told = told_in(caplog)
    assert len(told) == 2, told
    assert "grant the operator the verbs list and watch on horizontalpodautoscalers.autoscaling" in told[0]
    assert told[1].endswith("are seen again")
    following.cancel()
    await asyncio.wait([following])


async def test_without_the_right_from_the_beginning_it_is_told_once(
    seen: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    seen.allow(BLIND)
    await until_denied(seen, caplog)
    following = asyncio.create_task(seen.watch.run())
    await asyncio.sleep(1)
    assert not following.done()
    assert caplog.text.count("is not known") == 1
    following.cancel()
    await asyncio.wait([following])


async def until_denied(seen: Watching, caplog: pytest.LogCaptureFixture) -> None:
    """The authorizer takes a moment to hear of a role."""
    for _ in range(1000):
        await seen.watch.list()
        if "is not known" in caplog.text:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the right is still there")


def told_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "HorizontalPodAutoscalers" in record.getMessage()]


class BadServer:
    """Lists one autoscaler, and answers list and watch as it is told to."""

    def __init__(self) -> None:
        self.name = "cpu"
        self.lists: list[float] = []
        self.watches = 0
        self.holds_back = False
        self.let_through = asyncio.Event()
        self.refusals = 0
        """How many of the next watches get `refusal` as their one event."""
        self.refusal: dict[str, Any] = {}
        self.page: bytes | None = None
        """What a proxy answers in the server's place, with status 200: to watches,"""
        self.page_for_lists = False
        """or to lists."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists.append(time.monotonic())
            if self.page_for_lists:
                return web.Response(body=self.page)
            return web.json_response({"kind": "L", "metadata": {"resourceVersion": "1"}, "items": [self._body()]})
        self.watches += 1
        if self.holds_back:
            await self.let_through.wait()
        if self.page is not None:
            return web.Response(body=self.page)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if self.refusals:
            self.refusals -= 1
            await self._tell(answer, "ERROR", {"kind": "Status", **self.refusal})
            return answer
        await self._tell(answer, "BOOKMARK", {"metadata": {"resourceVersion": "2"}})
        await asyncio.sleep(60)
        return answer

    async def _tell(self, answer: web.StreamResponse, kind: str, body: dict[str, Any]) -> None:
        await answer.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")

    def _body(self) -> dict[str, Any]:
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
        return {"metadata": {"namespace": "jobs", "name": self.name}, "spec": {"scaleTargetRef": reference}}


@asynccontextmanager
async def followed(
    server: BadServer, directory: Path, *, timeout_seconds: float = 10, **options: Any
) -> AsyncIterator[Callable[[], str | None]]:
    """Follow what a bad server tells; gives who has the target."""
    spec = {"queues": [{"name": "q"}], "redis": {"host": "r"}, "worker": {"image": "i"}, "replicas": 1}
    resource = resource_of({"metadata": {"namespace": "jobs", "name": "mail", "uid": "1"}, "spec": spec})
    rivals = Rivals({resource.key: resource})

    def shown() -> str | None:
        found = rivals.autoscaler(resource)
        return found.name if found is not None else None

    async with serving(server.handle, directory) as kubeconfig:
        requests = await Requests.connect(kubeconfig=str(kubeconfig), timeout_seconds=timeout_seconds)
        following = asyncio.create_task(AutoscalerWatch(requests, rivals, ["jobs"], **options).run())
        try:
            yield shown
            assert not following.done()
        finally:
            following.cancel()
            await asyncio.wait([following])
            await requests.close()


@pytest.mark.parametrize("code", [429, 500, "x"])
async def test_a_server_that_refuses_each_watch_is_asked_ever_less_often_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: object
) -> None:
    server = BadServer()
    server.refusals, server.refusal = 5, {"code": code, "message": "the cache is gone"}
    async with followed(server, tmp_path, first_seconds=0.05, longest_seconds=0.4):
        await until(lambda: len(server.lists) > 5, "the lists after the refusals")
        await until(lambda: len(told_in(caplog)) == 2, "a word that the watch works")

    pauses = [later - earlier for earlier, later in pairwise(server.lists)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.4), strict=True)), pauses
    assert told_in(caplog) == [
        "cannot watch the HorizontalPodAutoscalers in jobs: the cache is gone; an autoscaler that comes or goes is "
        "seen late until the watch works again",
        "the watch of the HorizontalPodAutoscalers works again",
    ]


async def test_a_version_that_is_no_longer_there_is_listed_anew_in_silence_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = BadServer()
    server.refusals, server.refusal = 1, {"code": 410, "message": "too old resource version"}
    # The pause is not that of a failure.
    async with followed(server, tmp_path, first_seconds=60) as shown:
        await until(lambda: server.watches == 1, "the watch")
        server.name = "memory"
        await until(lambda: shown() == "memory", "what came meanwhile")
        await until(lambda: server.watches == 2, "the next watch")
    assert server.lists[1] - server.lists[0] >= 1
    assert told_in(caplog) == []


async def test_a_version_that_is_never_there_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = BadServer()
    server.refusals, server.refusal = 1000, {"code": 410, "message": "too old resource version"}
    async with followed(server, tmp_path, first_seconds=60):
        await until(lambda: "too old resource version" in caplog.text, "a word about it")
    assert len(server.lists) == 2


async def test_behind_a_proxy_that_holds_streams_back_autoscalers_are_seen_by_lists(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = BadServer()
    server.holds_back = True
    async with followed(server, tmp_path, timeout_seconds=4, first_seconds=0.05, longest_seconds=0.1) as shown:
        await until(lambda: shown() == "cpu", "what was there")
        server.name = "memory"
        await until(lambda: shown() == "memory", "what came")
        server.holds_back = False
        server.let_through.set()
        await until(lambda: len(told_in(caplog)) == 2, "a word that the watch works")
    told = told_in(caplog)
    assert "in jobs: no answer in 4 s, perhaps as a proxy holds streams back; an autoscaler" in told[0]
    assert told[1] == "the watch of the HorizontalPodAutoscalers works again"


LOGIN = b"<html><body>log in</body></html>"
BODILESS = {"metadata": {"namespace": "jobs", "name": "x", "resourceVersion": "3"}}


def event(**changes: Any) -> bytes:
    return json.dumps({"type": "ADDED", "object": BODILESS, **changes}).encode()


@pytest.mark.parametrize(
    "page",
    [
        LOGIN,
        LOGIN + b"\n",
        event(object={**BODILESS, "spec": {"scaleTargetRef": {"kind": "D", "name": "d"}}}),
        b"[]\n",
        b"{}\n",
        b'"ADDED"\n',
        b"\xff\n",
        event(type=None) + b"\n",
        event(object="Status") + b"\n",
        event(object={}) + b"\n",
        event(object={"metadata": {"name": 1}}) + b"\n",
        event(type="BOOKMARK", object={"metadata": {}}) + b"\n",
        event() + b"\n",
        event(object={**BODILESS, "spec": {"scaleTargetRef": "mail"}}) + b"\n",
    ],
)
async def test_what_is_no_watch_is_told_once_and_asked_for_ever_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, page: bytes
) -> None:
    server = BadServer()
    server.page = page
    async with followed(server, tmp_path, first_seconds=0.05, longest_seconds=0.1) as shown:
        await until(lambda: server.watches > 2, "the watches after the first")
        assert shown() == "cpu"
        server.page = None
        await until(lambda: len(told_in(caplog)) == 2, "a word that the watch works")
    pauses = [later - earlier for earlier, later in pairwise(server.lists)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1), strict=False)), pauses
    told = told_in(caplog)
    assert told[0] == (
        "cannot watch the HorizontalPodAutoscalers in jobs: the answer is no watch event, or a cut one; check the "
        "server's URL, and what stands before it; an autoscaler that comes or goes is seen late until the watch works "
        "again"
    )
    assert told[1] == "the watch of the HorizontalPodAutoscalers works again"


@pytest.mark.parametrize(
    "page",
    [LOGIN, b"[]", b'{"kind":"L"}', b'{"kind":"L","metadata":{}}', b'{"kind":"L","metadata":{},"items":["x"]}'],
)
async def test_what_is_no_list_is_told_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, page: bytes
) -> None:
    server = BadServer()
    server.page, server.page_for_lists = page, True
    async with followed(server, tmp_path, first_seconds=0.05, longest_seconds=0.1) as shown:
        await until(lambda: len(server.lists) > 3, "the lists after the first")
        server.page, server.page_for_lists = None, False
        await until(lambda: shown() == "cpu", "what is there")
        await until(lambda: len(told_in(caplog)) == 2, "a word that the watch works")
    assert told_in(caplog)[0].startswith("cannot list the HorizontalPodAutoscalers in jobs: the answer is no ")


async def test_a_line_that_is_cut_is_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = BadServer()
    bookmark = event(type="BOOKMARK", object={"metadata": {"resourceVersion": "3"}})
    server.page = bookmark + b"\n" + event()[:20]
    async with followed(server, tmp_path, first_seconds=60):
        await until(lambda: server.watches > 1, "the next watch")
    assert len(server.lists) == 1, "it goes on from there"
    assert told_in(caplog) == []
