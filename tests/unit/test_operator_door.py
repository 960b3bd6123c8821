"""The door to the cluster: which events wake which key, and what the store holds afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.handlers import Door, kopf_settings

KEY = Key("jobs", "mail")


class Bench:
    def __init__(self) -> None:
        self.store: dict[Key, Resource] = {}
        self.woken: list[tuple[Key, bool]] = []
        self.stale: list[Key] = []
        self.door = Door(store=self.store, wake=self._wake, workers_changed=self.stale.append)

    def _wake(self, key: Key, *, fresh: bool = False) -> None:
        self.woken.append((key, fresh))

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


def test_an_invalid_object_comes_in_with_its_error(bench: Bench) -> None:
    bench.door.queueworker("ADDED", {"metadata": {"namespace": "jobs", "name": "mail"}, "spec": {"queues": "mail"}})
    assert bench.store[KEY].spec is None
    assert bench.store[KEY].spec_error is not None
    assert bench.store[KEY].spec_error.startswith("spec.queues: ")


def test_a_deployment_wakes_the_queueworker_of_its_label_alone(bench: Bench) -> None:
    bench.see("ADDED")
    bench.door.deployment({"namespace": "jobs", "name": "mail", "labels": {"queueworker.dev/queueworker": "mail"}})
    bench.door.deployment({"namespace": "else", "name": "mail", "labels": {"queueworker.dev/queueworker": "mail"}})
    assert bench.stale == [KEY]
    assert bench.woken[1:] == [(KEY, False)]


def test_kopf_writes_nothing_and_its_watches_end() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.watching.server_timeout < settings.watching.client_timeout
