"""Who else writes the number of the same workers: autoscalers that come and go, and QueueWorkers that are older."""

from __future__ import annotations

from typing import Any

import pytest

from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.cluster.rivals import Autoscaler, Rivals

MAIL = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}


class Bench:
    def __init__(self) -> None:
        self.store: dict[Key, Resource] = {}
        self.rivals = Rivals(self.store)
        self.woken: list[str] = []
        self.rivals.look_again = lambda key: self.woken.append(key.name)

    def add(self, name: str, *, second: int = 0, target: dict[str, str] | None = None, **spec: Any) -> Resource:
        whose = {"targetRef": target} if target else {"worker": {"image": "mail"}}
        born = f"2026-01-01T00:00:{second:02}Z"
        body = {"queues": [{"name": "a"}], "redis": {"host": "redis"}, **whose, **(spec or {"replicas": 1})}
        metadata = {"namespace": "jobs", "name": name, "uid": name, "creationTimestamp": born}
        resource = resource_of({"metadata": metadata, "spec": body})
        assert resource.spec is not None, resource.spec_error
        self.store[resource.key] = resource
        self.rivals.took(resource)
        return resource

    def remove(self, resource: Resource) -> None:
        del self.store[resource.key]
        self.rivals.dropped(resource.key)

    def shown(self, resource: Resource) -> str | None:
        found = self.rivals.autoscaler(resource)
        return found.shown if found else None


@pytest.fixture
def bench() -> Bench:
    return Bench()


def autoscaler(name: str = "cpu", *, owner: str | None = None, namespace: str = "jobs", **target: str) -> Autoscaler:
    owners = [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": owner, "controller": True}]
    metadata = {"namespace": namespace, "name": name, "ownerReferences": owners if owner else []}
    return Autoscaler.of({"metadata": metadata, "spec": {"scaleTargetRef": {**MAIL, **target}}})


def pointed_at(name: str) -> Autoscaler:
    found = autoscaler()
    return found._replace(target=found.target._replace(name=name))


def test_an_autoscaler_on_our_deployment_is_named_until_it_goes(bench: Bench) -> None:
    mail, other = bench.add("mail"), bench.add("other")
    assert bench.shown(mail) is None

    bench.rivals.saw_autoscaler("ADDED", autoscaler())
    assert (bench.shown(mail), bench.shown(other)) == ("HorizontalPodAutoscaler cpu", None)
    bench.rivals.saw_autoscaler("MODIFIED", autoscaler())
    assert bench.woken == ["mail"], "a new status wakes nobody"

    bench.rivals.saw_autoscaler("DELETED", autoscaler())
    assert bench.shown(mail) is None
    assert bench.woken == ["mail", "mail"]


def test_the_object_that_owns_an_autoscaler_is_what_the_user_knows(bench: Bench) -> None:
    mail = bench.add("mail")
    bench.rivals.saw_autoscaler(None, autoscaler("keda-hpa-mail", owner="mail"))
    assert bench.shown(mail) == "ScaledObject mail (HorizontalPodAutoscaler keda-hpa-mail)"


@pytest.mark.parametrize(
    "elsewhere",
    [
        autoscaler(namespace="else"),
        autoscaler(kind="StatefulSet"),
        autoscaler(apiVersion="argoproj.io/v1"),
        pointed_at("mail2"),
    ],
)
def test_an_autoscaler_of_something_else_is_none_of_ours(bench: Bench, elsewhere: Autoscaler) -> None:
    mail = bench.add("mail")
    bench.rivals.saw_autoscaler(None, elsewhere)
    assert bench.shown(mail) is None


def test_the_version_of_the_target_does_not_matter(bench: Bench) -> None:
    rollout = bench.add("r", target={"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "mail"})
    bench.rivals.saw_autoscaler(None, autoscaler(apiVersion="argoproj.io/v1", kind="Rollout"))
    assert bench.shown(rollout) == "HorizontalPodAutoscaler cpu"


def test_an_autoscaler_that_turns_to_another_target_frees_the_first(bench: Bench) -> None:
    mail, other = bench.add("mail"), bench.add("other")
    bench.rivals.saw_autoscaler(None, autoscaler())
    bench.rivals.saw_autoscaler("MODIFIED", pointed_at("other"))
    assert (bench.shown(mail), bench.shown(other)) == (None, "HorizontalPodAutoscaler cpu")
    assert bench.woken == ["mail", "mail", "other"]


def test_the_older_of_two_with_one_target_has_it(bench: Bench) -> None:
    younger = bench.add("a", second=2, target=MAIL)
    owner = bench.add("mail", second=1)
    assert bench.woken == ["a"]
    assert bench.rivals.elder(owner) is None
    assert bench.rivals.elder(younger) == owner

    bench.remove(owner)
    assert bench.rivals.elder(younger) is None
    assert bench.woken == ["a", "a"]


def test_of_two_that_are_equally_old_the_first_by_name_has_it(bench: Bench) -> None:
    second, first = bench.add("b", target=MAIL), bench.add("a", target=MAIL)
    assert (bench.rivals.elder(first), bench.rivals.elder(second)) == (None, first)


def test_one_that_only_decides_is_in_nobodys_way_and_is_told_of_the_other(bench: Bench) -> None:
    looks_on = bench.add("a", second=1, target=MAIL, autoscaling={"maxReplicas": 3, "dryRun": True})
    owner = bench.add("mail", second=2)
    assert bench.rivals.elder(owner) is None
    assert bench.rivals.elder(looks_on) == owner

    bench.woken.clear()
    bench.add("a", second=1, target=MAIL, autoscaling={"maxReplicas": 3})
    assert set(bench.woken) == {"mail"}
    assert bench.rivals.elder(owner) is not None


def test_a_queueworker_that_is_dropped_from_the_store_alone_is_no_rival(bench: Bench) -> None:
    owner, younger = bench.add("mail", second=1), bench.add("a", second=2, target=MAIL)
    del bench.store[owner.key]
    assert bench.rivals.elder(younger) is None


def test_what_a_list_does_not_hold_is_gone_in_its_namespace_alone(bench: Bench) -> None:
    mail = bench.add("mail")
    for found in (autoscaler("cpu"), autoscaler("memory"), autoscaler("far", namespace="other")):
        bench.rivals.saw_autoscaler(None, found)
    bench.rivals.listed("jobs", {("jobs", "memory")})
    assert bench.shown(mail) == "HorizontalPodAutoscaler memory"
    bench.woken.clear()
    bench.rivals.listed("other", set())
    assert bench.woken == []
    bench.rivals.listed(None, set())
    assert (bench.shown(mail), bench.woken) == (None, ["mail"])


def test_where_autoscalers_may_not_be_seen_is_told_to_all_whom_it_concerns(bench: Bench) -> None:
    mail = bench.add("mail")
    bench.rivals.may_not_see("other", "forbidden there")
    assert (bench.rivals.unseen(mail), bench.woken) == (None, [])
    bench.rivals.may_not_see("jobs", "forbidden here")
    assert (bench.rivals.unseen(mail), bench.woken) == ("forbidden here", ["mail"])
    bench.rivals.may_see("jobs")
    assert (bench.rivals.unseen(mail), bench.woken) == (None, ["mail", "mail"])
    bench.rivals.may_see("jobs")
    assert bench.woken == ["mail", "mail"]
    bench.rivals.may_not_see(None, "forbidden everywhere")
    assert (bench.rivals.unseen(mail), bench.woken) == ("forbidden everywhere", ["mail"] * 3)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": {"namespace": "jobs", "name": "cpu"}},
        {"metadata": "cpu", "spec": {"scaleTargetRef": MAIL}},
        {"metadata": {"namespace": "jobs", "name": "cpu"}, "spec": {"scaleTargetRef": "mail"}},
        {"metadata": {"namespace": "jobs", "name": "cpu"}, "spec": {"scaleTargetRef": {**MAIL, "apiVersion": None}}},
        {"metadata": {"namespace": "jobs", "name": "cpu", "ownerReferences": ["x"]}, "spec": {"scaleTargetRef": MAIL}},
    ],
)
def test_what_is_no_autoscaler_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no HorizontalPodAutoscaler"):
        Autoscaler.of(body)
