"""Redis servers that exist in virtual time alone, for the readers of the operator."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snapshots import empty_but_for

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.queues import Pace, Queues, Reading

BUSY = {"waiting": 3}
REDIS = ConnectionSettings(host="redis")
EPOCH_MS = 1_800_000_000_000


def clock() -> float:
    return asyncio.get_running_loop().time()


def keys(name: str) -> QueueKeys:
    return QueueKeys("bull", name)


@dataclass
class Call:
    """One call of a reader."""

    at: float
    queues: tuple[str, ...]
    horizon_ms: int | Mapping[QueueKeys, int] = 0
    block: float = 0.0
    until: float | None = None


@dataclass
class FakeServer:
    """Holds what its queues are made to hold, answers after `seconds`, and tells of events."""

    seconds: float = 0.001
    seconds_per_queue: float | None = 20e-6
    can_wait: bool = True
    error: Exception | None = None
    """What every call meets,"""
    errors: dict[str, RedisReadError] = field(default_factory=dict)
    """and what those for these queues meet."""
    wait_error: RedisReadError | None = None
    wrong_streams: set[str] = field(default_factory=set)
    """Queues for which nobody can wait, and who waits for one of them waits for none."""
    answers_early: bool = False
    """Whether a read tells what held when it began, and else what holds when it ends."""
    hangs: bool = False
    swallows_cancel: bool = False
    """Whether a read that is cancelled ends as if nothing had been."""
    reads: list[Call] = field(default_factory=list)
    details: list[Call] = field(default_factory=list)
    waits: list[Call] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    opened: int = 0
    closed: int = 0
    running: int = 0
    """Reads under way; there is never more than one."""

    def __post_init__(self) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self._events: dict[str, list[str]] = {}
        self._back_ms: dict[str, int] = {}
        self._spoke = asyncio.Event()

    def set(self, name: str, **values: Any) -> None:
        """Let the queue hold this, without an event."""
        self._values[name] = values

    def event(self, name: str, **values: Any) -> None:
        """Let the queue hold this and tell of it."""
        if values:
            self._values[name] = values
        events = self._events.setdefault(name, [])
        now_ms = self.now_ms() - self._back_ms.get(name, 0)
        last = _parts(events[-1]) if events else (0, 0)
        events.append(f"{now_ms}-{last[1] + 1 if last[0] == now_ms else 0}")
        self._spoke.set()
        self._spoke = asyncio.Event()

    def forget_events(self, name: str, *, back_ms: int) -> None:
        """Make the stream anew, with ids of a clock that was set back."""
        self._events.pop(name, None)
        self._back_ms[name] = back_ms

    def now_ms(self) -> int:
        return EPOCH_MS + round(clock() * 1000)

    def snapshot(self, queue: QueueKeys, horizon_ms: int) -> QueueSnapshot:
        values = self._values.get(queue.queue)
        events = self._events.get(queue.queue)
        known = {
            "exists": values is not None,
            "now_ms": self.now_ms(),
            "last_event_id": events[-1] if events else None,
            "horizon_ms": horizon_ms,
        }
        return empty_but_for(prefix=queue.prefix, queue=queue.queue, **{**known, **(values or {})})

    def snapshot_of(self, name: str) -> QueueSnapshot:
        return self.snapshot(keys(name), 0)

    def times(self, name: str) -> list[float]:
        """When the counts of this queue were read."""
        return [call.at for call in self.reads if name in call.queues]

    def open(self, _: ConnectionSettings) -> FakeReader:
        self.opened += 1
        return FakeReader(self)

    def news(self, after: Mapping[QueueKeys, str]) -> dict[QueueKeys, str]:
        found = {}
        for queue, than in after.items():
            events = self._events.get(queue.queue, ())
            for one in reversed(events):
                if _parts(one) <= _parts(than):
                    break
                found[queue] = one
        return found

    async def spoke(self) -> None:
        await self._spoke.wait()


class FakeReader:
    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.closed = False

    @property
    def can_wait(self) -> bool:
        return self._server.can_wait

    @property
    def server_seconds_per_queue(self) -> float | None:
        return self._server.seconds_per_queue

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int | Mapping[QueueKeys, int], deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        server = self._server
        server.reads.append(Call(clock(), tuple(queue.queue for queue in queues), horizon_ms))
        each = horizon_ms if isinstance(horizon_ms, Mapping) else dict.fromkeys(queues, horizon_ms)
        early = {one: server.snapshot(one, each[one]) for one in queues} if server.answers_early else {}
        await self._answer()
        if isinstance(server.error, RedisReadError):
            return dict.fromkeys(queues, server.error)
        return {
            one: server.errors.get(one.queue) or early.get(one) or server.snapshot(one, each[one]) for one in queues
        }

    async def read_details(
        self, queues: Sequence[QueueKeys], *, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        server = self._server
        server.details.append(Call(clock(), tuple(queue.queue for queue in queues)))
        await self._answer()
        if isinstance(server.error, RedisReadError):
            return dict.fromkeys(queues, server.error)
        return {
            one: server.errors.get(one.queue)
            or QueueDetails(prefix=one.prefix, queue=one.queue, now_ms=server.now_ms(), next_names={}, last_names={})
            for one in queues
        }

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        server = self._server
        call = Call(clock(), tuple(queue.queue for queue in after), block=block_ms / 1000)
        server.waits.append(call)
        server.waiting += 1
        server.most_waiting = max(server.most_waiting, server.waiting)
        try:
            if server.wait_error is not None:
                raise server.wait_error
            if wrong := server.wrong_streams & set(call.queues):
                raise RedisReadError(f"{wrong} hold no stream of events", reason="InvalidQueueKey")
            async with asyncio.timeout(block_ms / 1000):
                while not (found := server.news(after)):
                    await server.spoke()
            await asyncio.sleep(server.seconds)
            return found
        except TimeoutError:
            return {}
        finally:
            call.until = clock()
            server.waiting -= 1

    async def aclose(self) -> None:
        assert not self.closed
        self.closed = True
        self._server.closed += 1

    async def _answer(self) -> None:
        assert not self.closed
        server = self._server
        server.running += 1
        assert server.running == 1, "two reads at the same time are two connections"
        try:
            await asyncio.sleep(1e9 if server.hangs else server.seconds)
        except asyncio.CancelledError:
            if not server.swallows_cancel:
                raise
        finally:
            server.running -= 1
        if server.error is not None and not isinstance(server.error, RedisReadError):
            raise server.error


class Bench:
    """A registry over fake servers, by host."""

    def __init__(self, *, pace: Pace | None = None, seed: int = 1, **servers: FakeServer) -> None:

        self.servers = servers or {"redis": FakeServer()}
        self.wakes: list[tuple[float, str]] = []
        self.read_done: list[tuple[float, Mapping[QueueKeys, Reading]]] = []
        self.discarded: list[tuple[str | None, str]] = []
        self.queues: Queues[str] = Queues(
            wake=lambda key: self.wakes.append((clock(), key)),
            clock=clock,
            random=random.Random(seed).random,
            pace=pace,
            open_reader=lambda settings: self.servers[settings.host or ""].open(settings),
            read_done=lambda settings, readings, seconds: self.read_done.append((clock(), readings)),
            discarded=lambda settings, queue: self.discarded.append((settings.host, queue.queue)),
        )

    @property
    def server(self) -> FakeServer:
        return self.servers["redis"]

    def subscribe(self, *names: str, host: str = "redis", **options: Any) -> None:
        """Let each queue be the only one of a key of its name."""
        for name in names:
            self.queues.subscribe(name, ConnectionSettings(host=host), (keys(name),), **options)

    def reading(self, key: str) -> Reading:
        return self.queues.readings(key)[0]

    def woken(self, key: str) -> list[float]:
        return [at for at, one in self.wakes if one == key]


def _parts(event: str) -> tuple[int, int]:
    moment, _, sequence = event.partition("-")
    return int(moment), int(sequence)


def gaps(times: list[float]) -> list[float]:
    """Return the time between each and the next."""
    return [later - earlier for earlier, later in itertools.pairwise(times)]
