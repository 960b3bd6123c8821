"""When a burst is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from snapshots import empty_but_for

from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.snapshot import QueueSnapshot
from queueworker_worker.burst import Burst

KEYS = QueueKeys("bull", "q")


@dataclass
class Queue:
    """A worker of ours and the readings of its queue, the last one for ever; `now` moves by 10 s per reading."""

    readings: list[QueueSnapshot | RedisReadError]
    works_until: int = 0
    """Up to so many readings a job is done between two of them."""
    idle: bool = True
    read: int = 0
    now: float = 0.0
    asked: list[Sequence[QueueKeys]] = field(default_factory=list)

    @property
    def jobs_done(self) -> int:
        return min(self.read, self.works_until)

    async def snapshots(self, keys: Sequence[QueueKeys]) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        self.asked.append(keys)
        self.read += 1
        self.now += 10
        return {KEYS: self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]}

    async def work(self, monkeypatch: pytest.MonkeyPatch, *, patience: float = 60) -> Burst:
        monkeypatch.setattr("queueworker_worker.burst._LOOK_AGAIN_SECONDS", 0)
        burst = Burst([self], [KEYS], self.snapshots, patience=patience, clock=lambda: self.now)
        await asyncio.wait_for(burst.over(), 30)
        return burst


async def test_empty_queue_ends_it_and_delayed_jobs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue([empty_but_for(waiting=1), empty_but_for(delayed=5, delayed_due=2), empty_but_for(delayed=3)])
    assert (await queue.work(monkeypatch)).delayed == 3
    assert queue.read == 3


async def test_job_that_was_done_meanwhile_may_have_made_others(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue([empty_but_for()], works_until=3)
    await queue.work(monkeypatch)
    assert queue.read == 4


async def test_unknown_is_not_empty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue([*[RedisReadError("away")] * 20, empty_but_for()])
    await queue.work(monkeypatch)
    assert queue.read == 21
    assert caplog.messages == ["queue q: whether it is empty is not known: away"]


async def test_paused_queue_is_told_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue([empty_but_for(waiting=4, paused=True)])
    await queue.work(monkeypatch)
    assert queue.read == 1
    assert caplog.messages == ["queue q: 4 jobs are left: the queue is paused"]


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (empty_but_for(waiting=1, rate_limited_for_ms=90_000), "its rate limit holds for 90 s more"),
        (
            empty_but_for(prioritized=1, active=2, global_concurrency=2),
            "other workers run the 2 jobs of its global concurrency",
        ),
        (empty_but_for(waiting=1), "none could be taken for 60 s"),
    ],
)
async def test_what_may_not_be_taken_is_waited_for_and_then_told(
    reading: QueueSnapshot, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue([reading], works_until=2)
    await queue.work(monkeypatch)
    assert queue.now == pytest.approx(80, abs=10), "60 s after the last job"
    assert caplog.messages == [f"queue q: 1 jobs are left: {why}"]


async def test_queue_of_a_busy_worker_is_not_asked_about() -> None:
    queue = Queue([empty_but_for()], idle=False)
    burst = Burst([queue], [KEYS], queue.snapshots)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(burst.over(), 0.2)
    assert queue.asked == []
