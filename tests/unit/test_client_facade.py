"""`Queue` is put together from parts that share one namespace."""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import Any

import pytest
import redis

from queueworker import ConnectionSettings, InvalidJobError, JobStateError, Queue, SettingsError


def test_no_two_parts_of_a_queue_define_the_same_name() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for part in Queue.__mro__[:-1]:
        for name in vars(part):
            if not (name.startswith("__") and name.endswith("__")):
                homes[name].append(part.__name__)
    # Those who add have their answers, and the getters close their streams, before the connection is closed.
    shared = {name: parts for name, parts in homes.items() if len(parts) > 1}
    assert shared == {"aclose": ["QueueAdding", "QueueGetters", "QueueBase"]}


def test_a_queue_tells_its_parameters_and_refuses_others() -> None:
    assert list(inspect.signature(Queue).parameters)[:3] == ["name", "connection", "prefix"]
    with pytest.raises(TypeError, match="prefxi"):
        Queue("q", prefxi="bull")  # type: ignore[call-arg]


@pytest.mark.parametrize("connection", ["redis://localhost", redis.Redis(decode_responses=True), object()])
def test_a_connection_of_another_kind_is_explained(connection: Any) -> None:
    with pytest.raises(SettingsError, match=r"is no client of redis\.asyncio: give ConnectionSettings"):
        Queue("q", connection)


async def test_what_is_no_job_is_refused_before_anything_is_sent() -> None:
    async with Queue("q", ConnectionSettings(host="127.0.0.1", port=1)) as queue:
        with pytest.raises(InvalidJobError, match=r"dict is no Job: make them by Job\.create"):
            await queue.enqueue_many([{"name": "n"}])  # type: ignore[list-item]
        for name, options in (("\ud800", {}), ("s", {"attempts": 2**70})):
            with pytest.raises(InvalidJobError, match="cannot be sent"):
                await queue.schedule(name, every=1000, **options)  # type: ignore[arg-type]
        with pytest.raises(JobStateError, match="is no state of a job"):
            await queue.clear(["failed"])  # type: ignore[arg-type]
