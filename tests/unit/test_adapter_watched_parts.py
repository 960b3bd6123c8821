"""What the Kubernetes adapter remembers of Deployments, under any order of events, reads and writes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker_operator.cluster.kubernetes.deployments import deployment_of
from queueworker_operator.cluster.kubernetes.statefulsets import is_set_rolled_out
from queueworker_operator.cluster.kubernetes.watched import Watched
from queueworker_operator.cluster.port import Key

KEY = Key("jobs", "mail")
LABEL = {"queueworker.dev/queueworker": "mail"}


def body(
    version: int | str, *, replicas: int = 1, uid: str = "1", labels: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "jobs",
            "name": "mail",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": LABEL if labels is None else labels,
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": LABEL}},
    }


def replicas(watched: Watched) -> int | None:
    found = watched.get(KEY)
    return found.replicas if found else None


@given(st.permutations(range(1, 7)))
def test_the_newest_of_all_events_stays_in_any_order(order: list[int]) -> None:
    watched = Watched()
    for version in order:
        watched.saw("MODIFIED", body(version, replicas=version))
    assert (watched.knows(KEY), replicas(watched)) == (True, 6)


@given(before=st.lists(st.integers(1, 9)), after=st.lists(st.integers(1, 20)))
def test_nothing_is_known_while_a_write_is_under_way_and_nothing_older_than_it_afterwards(
    before: list[int], after: list[int]
) -> None:
    watched = Watched()
    watched.read(KEY, deployment_of(body(1, replicas=1)))
    watched.writing(KEY)
    for version in before:
        watched.saw("MODIFIED", body(version, replicas=version))
        assert not watched.knows(KEY)
    watched.wrote_replicas(KEY, 10, resource_version="10")
    for version in after:
        watched.saw("MODIFIED", body(version, replicas=version))
        assert watched.knows(KEY)
        assert (replicas(watched) or 0) >= 10


def test_an_event_that_overtook_the_answer_of_the_write_stays() -> None:
    watched = Watched()
    watched.read(KEY, deployment_of(body(1)))
    watched.writing(KEY)
    watched.saw("MODIFIED", body(12, replicas=7))
    watched.wrote_replicas(KEY, 3, resource_version="11")
    assert (watched.knows(KEY), replicas(watched)) == (True, 7)


def test_what_we_know_already_is_no_news() -> None:
    watched = Watched()
    assert watched.saw(None, body(3))
    assert not watched.saw("ADDED", body(3))
    watched.writing(KEY)
    watched.read(KEY, deployment_of(body(4)))
    assert not watched.saw("MODIFIED", body(4))
    assert watched.saw("MODIFIED", body(5))
    assert not watched.saw("DELETED", body(2, uid="0"))
    assert watched.saw("DELETED", body(6))
    assert watched.saw("ADDED", body(7, uid="2"))


def test_after_a_write_of_what_was_never_seen_a_request_is_needed() -> None:
    watched = Watched()
    watched.listed()
    watched.writing(KEY)
    watched.wrote_replicas(KEY, 3, resource_version="11")
    assert not watched.knows(KEY)
    watched.read(KEY, None)
    assert (watched.knows(KEY), watched.get(KEY)) == (True, None)


def test_the_late_end_of_an_earlier_deployment_does_not_remove_its_successor() -> None:
    watched = Watched()
    watched.saw("ADDED", body(9, uid="2"))
    watched.saw("DELETED", body(8, uid="1"))
    assert watched.get(KEY) is not None
    watched.saw("DELETED", body(9, uid="2"))
    assert watched.get(KEY) is None


def test_what_was_deleted_before_the_watch_told_of_it_is_forgotten_once_a_list_lacks_it() -> None:
    watched = Watched()
    watched.read(KEY, deployment_of(body(3)))
    watched.listed()
    assert watched.untold == {KEY}
    assert watched.missed(watched.uids(), uids={"1"}) == []
    assert watched.untold == {KEY}, "it may be deleted yet before the watch is open"

    assert watched.missed(watched.uids(), uids=set()) == [KEY]
    assert (watched.knows(KEY), watched.get(KEY), watched.untold) == (True, None, set())


def test_what_the_watch_told_of_is_forgotten_too_once_a_list_lacks_it() -> None:
    watched = Watched()
    watched.listed()
    watched.saw("ADDED", body(3))
    assert watched.missed(watched.uids(), uids={"1"}) == []
    assert watched.missed(watched.uids(), uids=set()) == [KEY]
    assert (watched.knows(KEY), watched.get(KEY)) == (True, None)


def test_nothing_that_was_made_after_the_list_began_is_missed() -> None:
    watched = Watched()
    watched.read(KEY, deployment_of(body(3)))
    before = watched.uids()
    watched.read(KEY, None)
    watched.read(KEY, deployment_of(body(5, uid="2")))
    assert watched.missed(before, uids=set()) == []
    assert watched.untold == {KEY}
    assert watched.uids() == {KEY: "2"}


@given(st.lists(st.sampled_from(["ADDED", "MODIFIED", None, "DELETED"]), min_size=1))
def test_what_the_watch_has_told_of_is_not_looked_for(kinds: list[str | None]) -> None:
    watched = Watched()
    watched.read(KEY, deployment_of(body(3)))
    for version, kind in enumerate(kinds, 3):
        watched.saw(kind, body(version))
        assert watched.untold == set()
    watched.read(KEY, deployment_of(body(100)))
    assert watched.untold == ({KEY} if kinds[-1] == "DELETED" else set())


def test_only_what_the_watch_tells_of_is_remembered() -> None:
    watched = Watched()
    watched.listed()
    watched.read(KEY, deployment_of(body(3, labels={})))
    assert not watched.knows(KEY), "nobody would tell of its changes"


@pytest.mark.parametrize("version", ["", "a1", "-1"])
def test_versions_that_have_no_order_are_not_remembered(version: str) -> None:
    watched = Watched()
    watched.saw("ADDED", body(version))
    assert not watched.knows(KEY)
    watched.saw("ADDED", body(3))
    watched.read(KEY, deployment_of(body(version)))
    assert not watched.knows(KEY)


def test_a_deployment_is_small_in_memory() -> None:
    entries = [{"manager": "m", "operation": "Apply", "fieldsV1": {f"f:{n}": {} for n in range(200)}}]
    found = body(1)
    found["metadata"] |= {"managedFields": entries, "annotations": {"queueworker.dev/fingerprint": "f" * 64}}
    seen = deployment_of(found)
    held = sum(sys.getsizeof(getattr(seen, name)) for name in seen.__slots__)
    assert sys.getsizeof(seen) + held < 2048


def stateful(*, current: str = "a", updated: int = 3, observed: int = 1, **strategy: Any) -> dict[str, Any]:
    status = {
        "observedGeneration": observed,
        "replicas": 3,
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": "b",
    }
    return {"metadata": {"generation": 1}, "spec": {"replicas": 3, "updateStrategy": strategy}, "status": status}


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (stateful(current="b"), True),
        (stateful(updated=2), False),
        (stateful(updated=3), True),
        (stateful(updated=0, observed=0), None),
        (stateful(updated=0, type="OnDelete"), True),
        (stateful(updated=1, type="RollingUpdate", rollingUpdate={"partition": 2}), True),
        (stateful(updated=0, type="RollingUpdate", rollingUpdate={"partition": 2}), False),
        (stateful(updated=0, type="RollingUpdate", rollingUpdate={"partition": 5}), True),
    ],
)
def test_how_far_the_rollout_of_a_stateful_set_is(found: dict[str, Any], complete: bool | None) -> None:
    assert is_set_rolled_out(found) is complete
