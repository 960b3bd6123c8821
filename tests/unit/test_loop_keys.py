"""The loop in virtual time: fairness between keys, wakes, pauses after failures, and a clean end."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError
from queueworker_operator.loop import Loop, LoopSettings

pytestmark = pytest.mark.usefixtures("no_logs")


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running(reconcile: Callable[[str], Awaitable[float | None]], **options: Any):
    loop = Loop(reconcile, clock=now, random=lambda: 0.5, settings=LoopSettings(**options))
    task = asyncio.create_task(loop.run())
    yield loop
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_looks_leave_nothing_behind() -> None:
    async def main() -> int:
        async def reconcile(key: str) -> float | None:
            return 300.0

        async with running(reconcile) as loop:
            for _ in range(20_000):
                loop.wake("busy")
                await asyncio.sleep(0.001)
            return len(loop._queue)

    assert virtual_time.run(main()) <= 1_003


def test_a_stuck_key_does_not_delay_another() -> None:
    async def main() -> Counter[str]:
        calls: Counter[str] = Counter()

        async def reconcile(key: str) -> float | None:
            calls[key] += 1
            if key == "stuck":
                await asyncio.sleep(10_000)
            return 1.0

        async with running(reconcile, deadline=1e9) as loop:
            loop.wake("stuck")
            loop.wake("good")
            await asyncio.sleep(10.5)
        return calls

    assert virtual_time.run(main()) == {"stuck": 1, "good": 11}


def test_a_stuck_key_fails_at_its_deadline() -> None:
    async def main() -> list[float]:
        started: list[float] = []

        async def reconcile(key: str) -> float | None:
            started.append(now())
            await asyncio.sleep(10_000)
            return None

        async with running(reconcile, deadline=60.0) as loop:
            loop.wake("stuck")
            await asyncio.sleep(124)
        return [at - started[0] for at in started]

    assert virtual_time.run(main()) == pytest.approx([0, 61, 123])


def test_a_wake_during_a_call_leads_to_one_more_call_and_never_to_two_at_once() -> None:
    async def main() -> tuple[int, int]:
        calls = most = running_now = 0

        async def reconcile(key: str) -> float | None:
            nonlocal calls, most, running_now
            calls += 1
            running_now += 1
            most = max(most, running_now)
            await asyncio.sleep(5)
            running_now -= 1
            return None

        async with running(reconcile) as loop:
            loop.wake("key")
            for _ in range(20):
                await asyncio.sleep(0.1)
                loop.wake("key")
            await asyncio.sleep(100)
        return calls, most

    assert virtual_time.run(main()) == (2, 1)


def test_pauses_after_failures_double_up_to_a_minute_and_end_with_a_success() -> None:
    async def main() -> list[float]:
        at: list[float] = []

        async def reconcile(key: str) -> float | None:
            at.append(now())
            if len(at) < 9:
                raise RuntimeError("no")
            return None if len(at) > 9 else 5.0

        async with running(reconcile) as loop:
            loop.wake("key")
            await asyncio.sleep(1000)
        return [round(later - earlier, 3) for earlier, later in itertools.pairwise(at)]

    assert virtual_time.run(main()) == [1, 2, 4, 8, 16, 32, 60, 60, 5]


def test_wakes_do_not_shorten_the_pause_unless_the_object_changed() -> None:
    async def main() -> list[float]:
        at: list[float] = []

        async def reconcile(key: str) -> float | None:
            at.append(now() - 1000)
            raise RuntimeError("no")

        async with running(reconcile) as loop:
            loop.wake("key")
            for _ in range(65):
                await asyncio.sleep(0.1)
                loop.wake("key")
            loop.wake("key", fresh=True)
            await asyncio.sleep(0.9)
        return at

    assert virtual_time.run(main()) == pytest.approx([0, 1, 3, 6.5])


def test_the_cluster_says_how_long_to_wait() -> None:
    async def main() -> list[float]:
        at: list[float] = []

        async def reconcile(key: str) -> float | None:
            at.append(now() - 1000)
            raise ClusterUnavailableError("too many requests", retry_after_seconds=17)

        async with running(reconcile) as loop:
            loop.wake("key")
            await asyncio.sleep(20)
        return at

    assert virtual_time.run(main()) == pytest.approx([0, 17])


def test_what_the_cluster_refuses_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def reconcile(key: str) -> float | None:
            raise ClusterError("get deployments: forbidden", reason=ConditionReason.CLUSTER_DENIED)

        async with running(reconcile) as loop:
            loop.wake("shop/mail")
            await asyncio.sleep(0.1)

    logging.disable(logging.NOTSET)
    virtual_time.run(main())
    (said,) = caplog.records
    assert said.getMessage().startswith("shop/mail: get deployments: forbidden; again in")
    assert said.exc_info is None


def test_no_more_calls_at_once_than_allowed_and_every_key_has_its_turn() -> None:
    async def main() -> tuple[int, int]:
        done: set[str] = set()
        most = running_now = 0

        async def reconcile(key: str) -> float | None:
            nonlocal most, running_now
            running_now += 1
            most = max(most, running_now)
            await asyncio.sleep(1)
            running_now -= 1
            done.add(key)
            return None

        async with running(reconcile, concurrency=4) as loop:
            for number in range(40):
                loop.wake(str(number))
            await asyncio.sleep(11)
        return most, len(done)

    assert virtual_time.run(main()) == (4, 40)


def test_the_heartbeat_goes_on_without_work_and_the_end_cancels_what_runs() -> None:
    async def main() -> tuple[float, bool]:
        cancelled = False

        async def reconcile(key: str) -> float | None:
            nonlocal cancelled
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                cancelled = True
                raise
            return None

        async with running(reconcile, deadline=1e9) as loop:
            loop.wake("key")
            await asyncio.sleep(100)
            age = now() - loop.heartbeat
        return age, cancelled

    age, cancelled = virtual_time.run(main())
    assert age <= 5
    assert cancelled


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=30))
def test_the_soonest_of_all_wakes_of_a_key_is_kept(wakes: list[tuple[str, float]]) -> None:
    async def main() -> dict[str, float]:
        first: dict[str, float] = {}

        async def reconcile(key: str) -> float | None:
            first.setdefault(key, now() - 1000)
            return None

        async with running(reconcile) as loop:
            for key, seconds in wakes:
                loop.wake_in(key, seconds)
            await asyncio.sleep(30)
        return first

    expected: dict[str, float] = {}
    for key, seconds in wakes:
        expected[key] = min(seconds, expected.get(key, seconds))
    assert virtual_time.run(main()) == pytest.approx(expected, abs=1e-6)


def test_urgent_keys_overtake_all_others_and_have_places_of_their_own() -> None:
    async def main() -> tuple[list[str], int]:
        began: list[str] = []
        most = running_now = 0

        async def reconcile(key: str) -> float | None:
            nonlocal most, running_now
            running_now += 1
            most = max(most, running_now)
            began.append(key)
            await asyncio.sleep(1)
            running_now -= 1
            return None

        async with running(reconcile, concurrency=4, urgent_concurrency=2) as loop:
            for number in range(40):
                loop.wake(str(number))
            await asyncio.sleep(0.5)
            for number in (39, 38, 37):
                loop.wake(str(number), urgent=True)
            await asyncio.sleep(12)
        return began, most

    began, most = virtual_time.run(main())
    assert began[4:6] == ["39", "38"], "at once, beside those at work"
    assert began[6] == "37", "as soon as a place is free"
    assert most == 6
    assert sorted(began) == sorted(str(number) for number in range(40)), "each once"


def test_an_urgent_key_at_work_is_looked_at_again_before_the_others() -> None:
    async def main() -> list[str]:
        began: list[str] = []

        async def reconcile(key: str) -> float | None:
            began.append(key)
            await asyncio.sleep(1)
            return None

        async with running(reconcile, concurrency=1, urgent_concurrency=0) as loop:
            for key in "abc":
                loop.wake(key)
            await asyncio.sleep(0.5)
            loop.wake("a", urgent=True)
            await asyncio.sleep(5)
        return began

    assert virtual_time.run(main()) == ["a", "a", "b", "c"]


def test_an_urgent_wake_does_not_shorten_the_pause_after_a_failure() -> None:
    async def main() -> list[float]:
        at: list[float] = []

        async def reconcile(key: str) -> float | None:
            at.append(now() - 1000)
            raise RuntimeError("no")

        async with running(reconcile) as loop:
            loop.wake("key")
            await asyncio.sleep(0.1)
            loop.wake("key", urgent=True)
            await asyncio.sleep(1.5)
        return at

    assert virtual_time.run(main()) == pytest.approx([0, 1])
