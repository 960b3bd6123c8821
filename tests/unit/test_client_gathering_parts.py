"""Sending together: nobody is forgotten, and no request grows without bound."""

from __future__ import annotations

import asyncio

import pytest

from queueworker.errors import RedisWriteError
from queueworker.gathering import Gathering, Results
from queueworker.jobs import Job
from queueworker.keys import QueueKeys
from queueworker.outcome import Attempt, Enqueued, Outcome

KEYS = QueueKeys("bull", "q")


def attempt(size: int = 1) -> Attempt:
    job = Job.create("n", "x" * size)
    return Attempt(job, job.call(KEYS, timestamp_ms=1), KEYS, 1, resent=False)


class Server:
    """Answers all requests under way at one moment, as a loop does that finds several replies at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.sizes: list[int] = []

    async def send(self, attempts: list[Attempt]) -> Results:
        self.sizes.append(sum(len(one.job.payload) for one in attempts))
        await self.gate.wait()
        return [Enqueued(one.job.id, Outcome.ADDED) for one in attempts]


async def until_sent(server: Server, requests: int) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(server.sizes) == requests


async def test_who_adds_again_as_all_requests_end_is_not_forgotten() -> None:
    server = Server()
    gathering = Gathering(server.send, most=500, most_characters=1000)

    async def add(times: int) -> None:
        for _ in range(times):
            await gathering.add(attempt())

    twice = asyncio.create_task(add(2))
    await until_sent(server, 1)
    once = asyncio.create_task(add(1))
    await until_sent(server, 2)
    server.gate.set()
    await asyncio.wait_for(asyncio.gather(twice, once), 30)
    assert len(server.sizes) == 3


async def test_a_request_holds_so_many_characters_at_most() -> None:
    server = Server()
    server.gate.set()
    gathering = Gathering(server.send, most=500, most_characters=1000)
    await asyncio.gather(*(gathering.add(attempt(298)) for _ in range(20)), gathering.add(attempt(5000)))
    assert sum(server.sizes) == 20 * 300 + 5002
    assert sorted(server.sizes)[-1] == 5002, "what is larger alone goes alone"
    assert sorted(server.sizes)[-2] <= 1000


async def test_so_many_jobs_at_most_go_together() -> None:
    sent: list[int] = []

    async def send(attempts: list[Attempt]) -> Results:
        sent.append(len(attempts))
        await asyncio.sleep(0)
        return [Enqueued(one.job.id, Outcome.ADDED) for one in attempts]

    gathering = Gathering(send, most=3, most_characters=10**9)
    await asyncio.gather(*(gathering.add(attempt()) for _ in range(10)))
    assert sum(sent) == 10
    assert max(sent) == 3


async def test_the_end_waits_for_who_waits_and_gives_up_the_rest() -> None:
    server = Server()
    gathering = Gathering(server.send, most=1, most_characters=1000)
    gone, waits = (asyncio.create_task(gathering.add(attempt())) for _ in range(2))
    await until_sent(server, 2)
    gone.cancel()
    end = asyncio.create_task(gathering.aclose())
    await asyncio.sleep(0.01)
    assert not end.done()
    server.gate.set()
    await asyncio.wait_for(end, 30)
    assert (await waits).added
    assert gone.cancelled()


async def test_the_end_takes_no_longer_than_its_callers_have_patience() -> None:
    server = Server()
    gathering = Gathering(server.send, most=500, most_characters=1000)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gathering.add(attempt()), 0.01)
    await asyncio.wait_for(gathering.aclose(), 30)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_adds_while_it_ends_has_an_answer_too() -> None:
    server = Server()
    gathering = Gathering(server.send, most=1, most_characters=1000)
    first = [asyncio.create_task(gathering.add(attempt())) for _ in range(3)]
    await until_sent(server, 2)
    end = asyncio.create_task(gathering.aclose())
    await asyncio.sleep(0)
    late = [asyncio.create_task(gathering.add(attempt())) for _ in range(4)]
    await asyncio.sleep(0)
    server.gate.set()
    added = await asyncio.wait_for(asyncio.gather(*first, *late), 30)
    await asyncio.wait_for(end, 30)
    assert all(one.added for one in added)


async def test_where_the_end_is_cut_short_callers_are_told() -> None:
    server = Server()
    gathering = Gathering(server.send, most=1, most_characters=1000)
    callers = [asyncio.create_task(gathering.add(attempt())) for _ in range(4)]
    await until_sent(server, 2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gathering.aclose(), 0.01)
    errors = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 30)
    assert [type(error) for error in errors] == [RedisWriteError] * 4
    assert str(errors[0]) == "the queue was closed before Redis answered: the job may have been added"
