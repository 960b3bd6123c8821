"""The start of the operator: what it reads first, when it gives up to wait, and what it looks for from then on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient
from operator_waiting import until

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes import Requests
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, JsonObject, Key, Resource
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.handlers import Door
from queueworker_operator.process import Operator
from queueworker_operator.settings import OperatorSettings
from queueworker_operator.start import Start


def body(name: str) -> dict[str, Any]:
    spec = {"queues": [{"name": name}], "redis": {"host": "redis"}, "worker": {"image": "mail"}, "replicas": 1}
    return {"metadata": {"namespace": "jobs", "name": name, "uid": name}, "spec": spec}


class Server:
    """What the API server has, and what is known of whose Deployments."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.workers = set(names)
        self.known: set[str] = set()
        """Whose Deployments were listed,"""
        self.untold: set[str] = set()
        """and of which of these the watch has not told."""
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails: list[Exception] = []
        self.lists = 0

    @property
    def workers_untold(self) -> bool:
        return bool(self.untold)

    def watch(self) -> None:
        """Tell of all Deployments."""
        self.untold.clear()

    async def queueworkers(self, namespaces: Sequence[str]) -> AsyncIterator[JsonObject]:
        self.lists += 1
        await self.answers.wait()
        for error in self._failing():
            raise error
        for name in sorted(self.names):
            yield body(name)

    async def queueworker_uids(self, namespaces: Sequence[str]) -> set[str]:
        return {found["metadata"]["uid"] async for found in self.queueworkers(namespaces)}

    async def list_workers(self, namespaces: Sequence[str]) -> None:
        self.known |= self.workers
        self.untold |= self.workers

    async def missed_workers(self, namespaces: Sequence[str]) -> list[Key]:
        gone = self.known - self.workers
        self.known -= gone
        self.untold -= gone
        return [Key("jobs", name) for name in gone]

    async def list_autoscalers(self) -> None:
        pass

    def _failing(self) -> Iterator[Exception]:
        while self.fails:
            yield self.fails.pop()


class Bench:
    def __init__(
        self, server: Server, *, clock: Callable[[], float] = time.monotonic, sweep_seconds: float = 300
    ) -> None:
        self.store: dict[Key, Resource] = {}
        self.changed: list[Key] = []
        self.decided: set[Key] = set()
        self.stop = asyncio.Event()
        self.door = Door(
            store=self.store,
            wake=lambda key, *, fresh=False: None,
            workers_changed=self.changed.append,
            workers_seen=lambda kind, body: True,
            rivals=Rivals(self.store),
        )
        self.start = Start(
            cluster=server,
            door=self.door,
            list_autoscalers=server.list_autoscalers,
            is_decided=self.decided.__contains__,
            progress=lambda: len(self.decided),
            namespaces=(),
            stop=self.stop,
            clock=clock,
            idle_seconds=0.05,
            told_seconds=0.05,
            sweep_seconds=sweep_seconds,
            random=lambda: 0.0,
        )

    def names(self) -> set[str]:
        return {key.name for key in self.store}

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        following = asyncio.create_task(self.start.follow())
        try:
            yield
            assert not following.done()
        finally:
            following.cancel()
            await asyncio.wait([following])


async def test_what_is_deleted_at_any_time_before_the_watch_is_open_is_let_go() -> None:
    server = Server("kept", "early", "late")
    bench = Bench(server)
    await bench.start.read()
    async with bench.following():
        server.names.discard("early")
        await until(lambda: bench.names() == {"kept", "late"}, what="the first is let go")
        before = server.lists
        await until(lambda: server.lists > before, what="another look")
        server.names.discard("late")
        await until(lambda: bench.names() == {"kept"}, what="the other is let go, though it was there before")


async def test_what_is_deleted_while_no_watch_was_open_is_let_go_at_any_later_time() -> None:
    server = Server("kept", "gone", "gone later")
    bench = Bench(server, sweep_seconds=0.05)
    await bench.start.read()
    for name in ("kept", "gone", "gone later"):
        bench.door.queueworker(None, body(name))
    server.watch()
    async with bench.following():
        # As after a watch that began too far back: the list that follows tells what is there, not what is gone.
        for name in ("gone", "gone later"):
            server.names.discard(name)
            await until(lambda name=name: name not in bench.names(), what=f"{name} is let go")
    assert bench.names() == {"kept"}
    assert bench.changed == []


async def test_a_deployment_that_is_deleted_before_the_watch_is_open_wakes_its_queueworker() -> None:
    server = Server("kept", "gone")
    bench = Bench(server)
    await bench.start.read()
    for name in ("kept", "gone"):
        bench.door.queueworker(None, body(name))
    server.workers = {"kept"}
    async with bench.following():
        await until(lambda: bench.changed, what="it is looked at again")
    assert bench.changed == [Key("jobs", "gone")]


async def test_a_deployment_that_is_deleted_while_no_watch_was_open_wakes_its_queueworker() -> None:
    server = Server("kept", "gone")
    bench = Bench(server, sweep_seconds=0.05)
    await bench.start.read()
    for name in ("kept", "gone"):
        bench.door.queueworker(None, body(name))
    server.watch()
    async with bench.following():
        server.workers = {"kept"}
        await until(lambda: bench.changed, what="it is looked at again")
    assert bench.changed == [Key("jobs", "gone")]


async def test_a_server_that_fails_is_asked_again() -> None:
    server = Server("gone")
    bench = Bench(server)
    await bench.start.read()
    server.names, server.workers = set(), set()
    server.fails = [ClusterUnavailableError("busy"), ClusterUnavailableError("busy")]
    async with bench.following():
        await until(lambda: not bench.store, what="it is let go")
    assert server.lists == 4


async def test_where_all_is_told_in_time_nothing_is_asked_until_the_sweep() -> None:
    server = Server("kept")
    bench = Bench(server)
    await bench.start.read()
    async with bench.following():
        await asyncio.sleep(0)
        bench.door.queueworker(None, body("kept"))
        server.watch()
        await asyncio.sleep(0.2)
    assert server.lists == 1


async def test_the_first_read_ends_where_it_is_stopped() -> None:
    server = Server("mail")
    server.answers.clear()
    bench = Bench(server)
    reading = asyncio.create_task(bench.start.read())
    await until(lambda: server.lists, what="it reads")
    assert not reading.done()
    bench.stop.set()
    await asyncio.wait_for(reading, 30)
    assert len(asyncio.all_tasks()) == 1, "nothing of it goes on"


async def test_what_is_missing_is_said_with_what_to_do() -> None:
    server = Server()
    server.fails = [ClusterError("cannot list", reason=ConditionReason.CLUSTER_DENIED)]
    with pytest.raises(ClusterError, match=r"cannot list; are the CRD .* `queueworker crd`"):
        await Bench(server).start.read()


class BrokenRequests(Requests):
    """Has a fault of ours in it."""

    async def send(self, *_: Any, **__: Any) -> JsonObject:
        raise ZeroDivisionError("ours")


async def test_a_fault_of_ours_is_not_said_to_be_one_of_the_watches(tmp_path: Path) -> None:
    requests = BrokenRequests(ApiClient())
    settings = OperatorSettings(metrics_host="127.0.0.1", metrics_port=0)
    try:
        with pytest.raises(ZeroDivisionError, match="ours"):
            await Operator(requests, settings, directory=tmp_path).serve()
    finally:
        await requests.close()


async def test_the_watches_wait_until_all_are_decided() -> None:
    bench = Bench(Server("one", "two"), clock=lambda: 0.0)
    await bench.start.read()
    waiting = asyncio.create_task(bench.start.decide())
    bench.decided.add(Key("jobs", "one"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    bench.decided.add(Key("jobs", "two"))
    await asyncio.wait_for(waiting, 30)


async def test_the_watches_wait_while_thousands_are_looked_at_and_none_is_decided_yet() -> None:
    bench = Bench(Server("one"), clock=lambda: looks * 0.8 * bench.start.idle_seconds)
    await bench.start.read()
    looks = 0

    def progress() -> int:
        nonlocal looks
        looks += 1
        if looks == 10:
            bench.decided.add(Key("jobs", "one"))
        return looks

    await asyncio.wait_for(replace(bench.start, progress=progress).decide(), 30)
    assert looks == 10


async def test_the_watches_wait_for_nobody_who_keeps_them_waiting() -> None:
    bench = Bench(Server("one", "two"))
    await bench.start.read()
    bench.decided.add(Key("jobs", "one"))
    await asyncio.wait_for(bench.start.decide(), 30)


async def test_the_wait_for_decisions_ends_where_it_is_stopped() -> None:
    bench = Bench(Server("one"), clock=lambda: 0.0)
    await bench.start.read()
    waiting = asyncio.create_task(bench.start.decide())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    bench.stop.set()
    await asyncio.wait_for(waiting, 30)


async def test_it_is_ready_once_the_watch_has_told_of_all_that_was_listed(tmp_path: Path) -> None:
    requests = Requests(ApiClient())
    try:
        operator = Operator(requests, OperatorSettings(), directory=tmp_path)
        operator._door.listed(body("mail"))
        assert operator._unready() is not None
        operator._watching.set()
        assert operator._unready() is not None, "kopf says so before it has asked the server for anything"
        operator._door.queueworker(None, body("mail"))
        assert operator._unready() is None
    finally:
        await requests.close()
