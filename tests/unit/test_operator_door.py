"""The door to the cluster: which events wake which key, and what the store holds afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import ContentTypeError, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.handlers import Door, kopf_settings
from queueworker_operator.watches import broken

KEY = Key("jobs", "mail")
ASKED = RequestInfo(URL("https://server/"), "GET", CIMultiDictProxy(CIMultiDict()))


class Bench:
    def __init__(self) -> None:
        self.store: dict[Key, Resource] = {}
        self.woken: list[tuple[Key, bool]] = []
        self.stale: list[Key] = []
        self.seen: list[tuple[str | None, dict[str, Any]]] = []
        self.news = True
        self.rivals = Rivals(self.store)
        self.rivals.look_again = self.stale.append
        self.door = Door(
            store=self.store,
            wake=self._wake,
            workers_changed=self.stale.append,
            workers_seen=self._workers_seen,
            rivals=self.rivals,
        )

    def _wake(self, key: Key, *, fresh: bool = False) -> None:
        self.woken.append((key, fresh))

    def _workers_seen(self, kind: str | None, body: dict[str, Any]) -> bool:
        self.seen.append((kind, body))
        return self.news

    def see(self, kind: str | None, *, uid: str = "1", generation: int = 1, **metadata: Any) -> None:
        spec = {
            "queues": [{"name": "mail"}],
            "redis": {"host": "redis"},
            "worker": {"image": "mail"},
            "replicas": 1,
        }
        head = {"namespace": "jobs", "name": "mail", "uid": uid, "generation": generation, **metadata}
        self.door.queueworker(kind, {"metadata": head, "spec": spec, "status": {"replicas": generation}})


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_list_fills_the_store_and_wakes(bench: Bench) -> None:
    bench.see(None)
    assert bench.store[KEY].spec is not None
    assert bench.woken == [(KEY, True)]


def test_a_status_that_we_wrote_ourselves_wakes_nobody(bench: Bench) -> None:
    bench.see("ADDED")
    bench.see("MODIFIED")
    assert len(bench.woken) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"annotations": {"queueworker.dev/paused": "true"}},
        {"deletionTimestamp": "now"},
        {"uid": "2"},
    ],
)
def test_a_change_of_anything_else_wakes(bench: Bench, change: dict[str, Any]) -> None:
    bench.see("ADDED")
    bench.see("MODIFIED", **change)
    assert bench.woken == [(KEY, True)] * 2


def test_a_deleted_queueworker_leaves_the_store(bench: Bench) -> None:
    bench.see("ADDED")
    bench.see("DELETED")
    assert bench.store == {}
    assert len(bench.woken) == 2


def test_the_late_end_of_an_earlier_object_does_not_remove_its_successor(bench: Bench) -> None:
    bench.see("ADDED", uid="1")
    bench.see("ADDED", uid="2")
    bench.see("DELETED", uid="1")
    assert bench.store[KEY].uid == "2"


def test_what_was_deleted_between_the_list_and_the_watch_is_let_go(bench: Bench) -> None:
    def body(name: str) -> dict[str, Any]:
        spec = {"queues": [{"name": name}], "redis": {"host": "redis"}, "worker": {"image": "mail"}, "replicas": 1}
        return {"metadata": {"namespace": "jobs", "name": name, "uid": name}, "spec": spec}

    for name in ("told", "late", "gone", "new"):
        bench.door.listed(body(name))
    bench.door.queueworker(None, body("told"))
    again = body("new")
    again["metadata"]["uid"] = "newer"
    bench.door.queueworker("ADDED", again)
    assert bench.door.untold == {Key("jobs", "late"), Key("jobs", "gone")}

    bench.door.missed(bench.door.uids(), uids={"told", "late", "newer"})
    assert {key.name for key in bench.store} == {"told", "late", "new"}
    assert bench.woken[-1] == (Key("jobs", "gone"), True)
    assert bench.door.untold == {Key("jobs", "late")}, "it may be deleted yet before the watch is open"

    bench.door.missed(bench.door.uids(), uids={"told", "newer"})
    assert {key.name for key in bench.store} == {"told", "new"}
    assert bench.woken[-1] == (Key("jobs", "late"), True)
    assert not bench.door.untold


def test_what_came_after_the_list_began_is_not_let_go(bench: Bench) -> None:
    bench.see("ADDED", uid="1")
    before = bench.door.uids()
    bench.see("ADDED", uid="2")
    bench.see("ADDED", uid="3", name="other")
    woken = list(bench.woken)
    bench.door.missed(before, uids=set())
    assert {key.name: resource.uid for key, resource in bench.store.items()} == {"mail": "2", "other": "3"}
    assert bench.woken == woken


def test_the_rivals_of_a_queueworker_that_is_let_go_hear_of_it(bench: Bench) -> None:
    bench.see("ADDED", uid="1")
    before = bench.door.uids()
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
    bench.door.queueworker("ADDED", pointing("other", target))
    bench.stale.clear()
    bench.door.missed(before, uids={"other"})
    assert bench.stale == [Key("jobs", "other")]


def test_an_invalid_object_comes_in_with_its_error(bench: Bench) -> None:
    bench.door.queueworker("ADDED", {"metadata": {"namespace": "jobs", "name": "mail"}, "spec": {"queues": "mail"}})
    assert bench.store[KEY].spec is None
    assert bench.store[KEY].spec_error is not None
    assert bench.store[KEY].spec_error.startswith("spec.queues: ")


def pointing(name: str, target: dict[str, str]) -> dict[str, Any]:
    spec = {"queues": [{"name": "a"}], "redis": {"host": "redis"}, "targetRef": target, "replicas": 1}
    return {"metadata": {"namespace": "jobs", "name": name, "uid": name}, "spec": spec}


def deployment(namespace: str) -> dict[str, Any]:
    labels = {"queueworker.dev/queueworker": "mail"}
    return {"metadata": {"namespace": namespace, "name": "mail", "labels": labels}}


def test_a_deployment_is_told_to_the_queueworker_of_its_label_alone(bench: Bench) -> None:
    bench.see("ADDED")
    for namespace in ("jobs", "else"):
        bench.door.deployment("MODIFIED", deployment(namespace))
    assert [body["metadata"]["namespace"] for _, body in bench.seen] == ["jobs", "else"]
    assert bench.stale == [KEY]


def test_a_deployment_as_we_made_it_is_told_to_nobody(bench: Bench) -> None:
    bench.see("ADDED")
    bench.news = False
    bench.door.deployment("ADDED", deployment("jobs"))
    assert len(bench.seen) == 1
    assert bench.stale == []


def test_the_rivals_of_a_queueworker_hear_that_it_came_and_went(bench: Bench) -> None:
    bench.see("ADDED")
    document = pointing("other", {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"})
    bench.door.queueworker("ADDED", document)
    assert bench.stale == [KEY]
    bench.door.queueworker("DELETED", document)
    assert bench.stale == [KEY, KEY]


def page(error: type[Exception], text: str) -> Exception:
    """Return what kopf fails by where a proxy answers in the server's place."""
    try:
        json.loads(text)["type"]
    except error as raised:
        return raised
    raise AssertionError(f"{text} is an event")


@pytest.mark.parametrize(
    "error",
    [
        page(json.JSONDecodeError, "<html>"),
        page(KeyError, "{}"),
        page(TypeError, "[]"),
        ContentTypeError(ASKED, (), status=200, message="unexpected mimetype: text/html"),
    ],
)
def test_a_watch_that_gets_something_else_says_where_to_look(error: Exception) -> None:
    said = str(broken(error))
    assert said.startswith(
        "cannot watch the QueueWorkers and their Deployments: the answer is no watch event, or a cut one "
        f"({type(error).__name__}: "
    )
    assert said.endswith("); check the server's URL, and what stands before it")
    assert "\n" not in said


def test_a_watch_that_is_refused_says_by_what() -> None:
    said = str(broken(PermissionError("queueworkers is forbidden")))
    assert said == ("the watches broke: queueworkers is forbidden; are the CRD and the operator's rights still there?")


def test_kopf_writes_nothing_and_its_watches_end() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.watching.server_timeout < settings.watching.client_timeout
