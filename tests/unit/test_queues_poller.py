"""The reader of one Redis in virtual time: never more often than configured, together where possible, never dead."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st
from reconciler_world import FakeRedis, clock

from queueworker.errors import RedisReadError, SettingsError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues import Pace, Queues

REDIS = ConnectionSettings(host="redis")


class Reader:
    """Writes down what is asked for and answers from a FakeRedis."""

    def __init__(self, redis: FakeRedis, asked: list[tuple[float, tuple[str, ...]]]) -> None:
        self._redis = redis
        self._asked = asked
        self.closed = False

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        assert not self.closed
        self._asked.append((clock(), tuple(keys.queue for keys in queues)))
        await asyncio.sleep(0.01)
        if isinstance(self._redis.error, Exception) and not isinstance(self._redis.error, RedisReadError):
            raise self._redis.error
        return {keys: self._redis.error or self._redis.snapshot(keys) for keys in queues}

    async def aclose(self) -> None:
        self.closed = True


class Bench:
    def __init__(self, *, phase: float = 0.3) -> None:
        self.redis = FakeRedis()
        self.asked: list[tuple[float, tuple[str, ...]]] = []
        self.opened: list[Reader] = []
        self.woken: list[str] = []
        self.queues: Queues[str] = Queues(
            wake=self.woken.append, clock=clock, random=lambda: phase, pace=Pace(), open_reader=self._open
        )

    def _open(self, _: ConnectionSettings) -> Any:
        reader = Reader(self.redis, self.asked)
        self.opened.append(reader)
        return reader

    def times(self, queue: str) -> list[float]:
        return [at for at, names in self.asked if queue in names]

    def subscribe(self, *names: str) -> None:
        for name in names:
            self.queues.subscribe(name, REDIS, (QueueKeys("bull", name),))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abcd"), st.integers(0, 2)), max_size=12),
    st.floats(0, 1, exclude_max=True),
)
def test_no_queue_is_ever_read_more_often_than_its_interval(
    changes: list[tuple[float, str, int]], phase: float
) -> None:
    async def main() -> None:
        bench = Bench(phase=phase)
        bench.subscribe("a", "b", "c", "d")
        for pause, queue, waiting in changes:
            bench.redis.queues[queue] = {"waiting": waiting}
            await asyncio.sleep(pause)
        await asyncio.sleep(20)
        for queue in "abcd":
            gaps = [later - earlier for earlier, later in itertools.pairwise(bench.times(queue))]
            assert min(gaps) > 0.999
            assert max(gaps) < 5.3
        await bench.queues.close()

    virtual_time.run(main())


def test_a_thousand_queues_are_read_together() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe(*(f"q{number}" for number in range(1000)))
        await asyncio.sleep(60)
        assert len(bench.asked) <= 14
        assert len(bench.asked[-1][1]) == 1000
        await bench.queues.close()

    virtual_time.run(main())


def test_a_hung_read_ends_at_the_deadline_and_the_client_is_made_anew() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(1)

        async def hang(*_: object, **__: object) -> Mapping[QueueKeys, QueueSnapshot]:
            await asyncio.sleep(1e6)
            return {}

        bench.opened[0].read = hang  # type: ignore[method-assign, assignment]
        await asyncio.sleep(20)
        assert bench.opened[0].closed
        assert len(bench.opened) == 2
        assert bench.queues.readings("a")[0].problem is None
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("what"), ConditionReason.REDIS_UNREACHABLE),
        (SettingsError("TLS: the CA file x cannot be used"), ConditionReason.REDIS_TLS_ERROR),
        (RedisReadError("no", reason="SomethingNew"), ConditionReason.REDIS_UNREACHABLE),
        (RedisReadError("no", reason="InvalidQueueKey"), ConditionReason.INVALID_QUEUE_KEY),
    ],
)
def test_whatever_a_read_raises_is_a_problem_and_the_reader_goes_on(error: Exception, reason: ConditionReason) -> None:
    logging.disable(logging.CRITICAL)

    async def main() -> None:
        bench = Bench()
        bench.redis.error = error  # type: ignore[assignment]
        bench.subscribe("a")
        await asyncio.sleep(30)
        reading = bench.queues.readings("a")[0]
        assert reading.problem is not None
        assert reading.problem.reason is reason
        assert reading.failures == len(bench.asked) > 5
        assert len(bench.woken) == 2, "the first failure, and the one that makes it unreachable"
        bench.redis.error = None
        await asyncio.sleep(6)
        assert bench.queues.readings("a")[0].problem is None
        await bench.queues.close()

    try:
        virtual_time.run(main())
    finally:
        logging.disable(logging.NOTSET)


def test_other_settings_are_another_reader_and_the_old_one_ends() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(1)
        bench.queues.subscribe("a", ConnectionSettings(host="redis", username="new"), (QueueKeys("bull", "a"),))
        assert not bench.queues.readings("a")[0].tried
        await asyncio.sleep(1)
        assert [reader.closed for reader in bench.opened] == [True, False]
        assert bench.queues.readings("a")[0].tried
        bench.queues.unsubscribe("a")
        await asyncio.sleep(0.1)
        assert bench.opened[1].closed
        assert bench.queues.readings("a") == ()
        bench.queues.wake_after_next_read("a")
        await bench.queues.close()

    virtual_time.run(main())
