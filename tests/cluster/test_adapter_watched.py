"""What the Kubernetes adapter answers without asking: never older than its own writes, and what others wrote."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from adapter_bench import Bench, deployment_path, open_bench

from controlplane import ControlPlane
from queueworker_operator.cluster.kubernetes.requests import METADATA_LIST
from queueworker_operator.cluster.port import ClusterUnavailableError, ConflictError, Key, Resource
from queueworker_operator.scaling.observation import Ownership

Eventually = Callable[..., Any]
Event = tuple[str, dict[str, Any]]


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


class Watch:
    """Every event of the Deployments of one namespace, from now on."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.events: list[Event] = []
        path = f"{deployment_path(namespace).rpartition('/')[0]}?watch=true"
        self._process = subprocess.Popen(
            [str(plane.binary), "kubectl", "get", "--raw", path],
            env=plane.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self.events.append((event["type"], event["object"]))

    def has_passed(self, version: str) -> bool:
        return any(int(body["metadata"]["resourceVersion"]) >= int(version) for _, body in self.events)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._thread.join(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def watch(control_plane: ControlPlane, bench: Bench) -> Iterator[Watch]:
    opened = Watch(control_plane, bench.namespace)
    yield opened
    opened.close()


def asked(bench: Bench) -> list[tuple[str, str]]:
    sent = list(bench.requests.sent)
    bench.requests.sent.clear()
    return sent


async def test_what_the_watch_told_answers_without_a_request(
    bench: Bench, watch: Watch, eventually: Eventually
) -> None:
    resource = bench.add()
    other = await bench.other()
    made = await bench.cluster.create(resource, secrets={}, replicas=2)
    bench.scale_by_hand(5)
    version = bench.deployment()["metadata"]["resourceVersion"]
    eventually(lambda: watch.has_passed(version), what="the watch tells of the foreign write")

    for kind, body in watch.events:
        other.saw(kind, body)

    seen = await other.observe(resource, fresh=False)
    assert other._requests.sent == []
    assert (seen.ownership, seen.replicas, seen.uid) == (Ownership.OURS, 5, made.uid)
    assert (seen.fingerprint, seen.applied_fields) == (made.fingerprint, made.applied_fields)


async def test_nothing_from_before_our_own_write_is_answered(
    bench: Bench, watch: Watch, eventually: Eventually
) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=2)
    eventually(lambda: watch.events, what="the watch is open")
    await scale(bench, resource, 3)
    version = bench.deployment()["metadata"]["resourceVersion"]
    eventually(lambda: watch.has_passed(version), what="the watch tells of our write")
    asked(bench)

    for kind, body in watch.events:
        bench.cluster.saw(kind, body)
        seen = await bench.cluster.observe(resource, fresh=False)
        assert seen.replicas == 3, f"after the event of version {body['metadata']['resourceVersion']}"
    assert asked(bench) == []


async def test_a_write_whose_end_is_not_known_is_followed_by_a_request(bench: Bench) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=2)
    await scale(bench, resource, 2)
    observed = await bench.cluster.observe(resource)
    assert (await bench.cluster.observe(resource, fresh=False)).replicas == 2
    bench.scale_by_hand(4)

    with pytest.raises(ConflictError):
        await bench.cluster.scale(resource, observed, replicas=1)
    assert (await bench.cluster.observe(resource, fresh=False)).replicas == 4

    bench.requests.fail = ClusterUnavailableError("cut off")
    with pytest.raises(ClusterUnavailableError):
        await bench.cluster.scale(resource, await bench.cluster.observe(resource, fresh=False), replicas=1)
    bench.requests.fail = None
    asked(bench)
    await bench.cluster.observe(resource, fresh=False)
    assert ("GET", deployment_path(bench.namespace)) in asked(bench)


async def test_what_is_deleted_is_absent_without_a_request_once_all_were_listed(
    bench: Bench, watch: Watch, eventually: Eventually
) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=0)
    other = await bench.other()
    assert not other._watched.knows(resource.key)

    await other.list_workers([bench.namespace])
    assert (await other.observe(resource, fresh=False)).ownership is Ownership.OURS
    eventually(lambda: watch.events, what="the watch is open")
    bench.api.delete(deployment_path(bench.namespace))
    eventually(lambda: "DELETED" in [kind for kind, _ in watch.events], what="the watch tells of the end")
    for kind, body in watch.events:
        other.saw(kind, body)

    assert (await other.observe(resource, fresh=False)).ownership is Ownership.ABSENT
    assert not len(other._watched)
    assert other._requests.sent == [("GET", deployment_path(bench.namespace).rpartition("/")[0])]


async def test_what_is_deleted_before_the_watch_is_open_is_absent_once_it_was_looked_for(bench: Bench) -> None:
    await bench.cluster.create(bench.add("kept"), secrets={}, replicas=0)
    await bench.cluster.create(resource := bench.add(), secrets={}, replicas=0)
    other = await bench.other()
    await other.list_workers([bench.namespace])
    bench.api.delete(deployment_path(bench.namespace))
    assert (await other.observe(resource, fresh=False)).ownership is Ownership.OURS, "nobody told"

    assert await other.missed_workers([bench.namespace]) == [resource.key]

    assert (await other.observe(resource, fresh=False)).ownership is Ownership.ABSENT
    assert len(other._watched) == 1
    assert other.workers_untold
    other.saw(None, bench.deployment("kept"))
    assert not other.workers_untold

    bench.api.delete(deployment_path(bench.namespace, "kept"))
    assert await other.missed_workers([bench.namespace]) == [Key(bench.namespace, "kept")], "told of, and its end not"
    assert not len(other._watched)


async def test_all_queueworkers_are_looked_for_by_their_metadata_alone(bench: Bench) -> None:
    assert await bench.cluster.queueworker_uids([bench.namespace]) == set()
    uids = {bench.add(name).uid for name in ("one", "two")}
    assert await bench.cluster.queueworker_uids([bench.namespace]) == uids
    path = bench.queueworkers
    page = await anext(aiter(bench.requests.pages(path, attempt="list", accept=METADATA_LIST, limit="1")))
    assert page["kind"] == "PartialObjectMetadataList"
    assert ["spec" in item for item in page["items"]] == [False], "and in pages"
    assert page["metadata"]["continue"]


async def test_absent_in_the_list_and_there_after_all_is_found_by_the_refusal(bench: Bench) -> None:
    await bench.cluster.list_workers([bench.namespace])
    resource = bench.add()
    collection = deployment_path(bench.namespace).rpartition("/")[0]
    labels = {"app": "somebody-elses"}
    container = {"name": "x", "image": "registry.invalid/x:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    bench.api.create(collection, {"metadata": {"name": "killmail"}, "spec": spec})
    assert (await bench.cluster.observe(resource, fresh=False)).ownership is Ownership.ABSENT

    with pytest.raises(ConflictError):
        await bench.cluster.create(resource, secrets={}, replicas=1)

    for _ in range(2):
        assert (await bench.cluster.observe(resource, fresh=False)).ownership is Ownership.FOREIGN


async def scale(bench: Bench, resource: Resource, replicas: int) -> None:
    """Scale as the reconciler does: look again when the controller wrote the status in between."""
    for _ in range(20):
        with contextlib.suppress(ConflictError):
            return await bench.cluster.scale(resource, await bench.cluster.observe(resource), replicas=replicas)
    pytest.fail("20 conflicts in a row")
