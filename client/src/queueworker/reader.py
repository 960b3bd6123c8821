"""Reading many queues of one Redis at once.

A failed, late or partial reading is an error for the queues that it concerns, never a count of zero.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import AskError

from queueworker import detailplain, detailsample, plain, sample
from queueworker.connection import Client, connect, drop_idle_connections, named_master, require_decoding
from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error, ask_again, wrong_type_error
from queueworker.keys import QueueKeys
from queueworker.nodes import Nodes
from queueworker.rounds import CommandFailed, Run
from queueworker.serverstate import ServerState
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker.waiting import Waiter
from queueworker.ways import Asked, Raw, Ways

_EVENTS_AGAIN_SECONDS = 300
# Below the usual deadline: a server without TLS says nothing at all to a handshake.
_HANDSHAKE_SECONDS = 1.5

Outcome = QueueSnapshot | RedisReadError
T = TypeVar("T", QueueSnapshot, QueueDetails)
_Decode = Callable[[QueueKeys, list[Any]], T]


class QueueReader:
    """Reads queues with one read-only script call each, or by plain commands where scripts are refused.

    The client is not closed by `aclose` unless `open` made it.
    """

    def __init__(self, client: Client, *, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = require_decoding(client)
        self._address = address
        self._clock = clock
        self._owned = False
        self._ways = Ways(client, clock=clock)
        # What may be read is not the same for both.
        self._detail_ways = Ways(client, clock=clock)
        self._nodes = Nodes(client, address=address) if isinstance(client, RedisCluster) else None
        self._waiter = Waiter(client, address=address)
        self._states: defaultdict[str, ServerState] = defaultdict(partial(ServerState, address=address, clock=clock))
        self._events_again_at = float("-inf")

    @classmethod
    def open(cls, settings: ConnectionSettings, *, name: str | None = None) -> Self:
        """Return a reader with a client of its own; `name` shows in CLIENT LIST."""
        # Retries are the reader's own, so that a cause is told and not the deadline; a Cluster client needs one itself.
        client = connect(
            settings,
            name=name,
            retries=0 if settings.cluster is None else 1,
            handshake_seconds=_HANDSHAKE_SECONDS,
        )
        reader = cls(client, address=settings.address)
        reader._owned = True
        return reader

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that this reader opened."""
        await self._waiter.aclose()
        if self._owned:
            await self._client.aclose()

    @property
    def uses_scripts(self) -> bool:
        """Whether the last reading went by script: one moment per queue, and about four times faster."""
        return self._ways.name != "plain"

    @property
    def server_seconds_per_queue(self) -> float | None:
        """What a reading of one queue cost the server lately, where scripts and INFO are allowed; None until known.

        It is the mean over all calls of EVALSHA_RO (EVALSHA on Redis 6.2) between two looks at `INFO commandstats`,
        30 s apart at least: details, and the scripts of others that use the same command, are in it. On a Cluster it
        is that of the node that takes longest.
        """
        found = [state.seconds_per_call(self._ways.name) for state in self._states.values()]
        return max((one for one in found if one is not None), default=None)

    @property
    def can_wait(self) -> bool:
        """Whether `wait` can be used: not on a Cluster, where queues lie on several servers."""
        return self._waiter.can_wait

    async def read(
        self,
        queues: Sequence[QueueKeys],
        *,
        horizon_ms: int | Mapping[QueueKeys, int] = 0,
        deadline_seconds: float = 2.0,
    ) -> Mapping[QueueKeys, Outcome]:
        """Return a snapshot or an error for every queue asked for; raises nothing for a Redis that fails.

        `horizon_ms` is how far ahead `delayed_due_soon` looks, for all queues or for each; 0 for one that is not named.
        A server whose role is not master, and one whose memory is full (looked at once a second), is an error for all
        queues, because its numbers are old or its workers cannot work; where ROLE or INFO are denied to this user, that
        is not known and not reported. Where XREVRANGE is denied, `last_event_id` is None.
        """
        wanted = list(dict.fromkeys(queues))
        horizons = _horizons(wanted, horizon_ms)

        def decode(keys: QueueKeys, values: list[Any]) -> QueueSnapshot:
            if sample.events_are_denied(values):
                # Not asked again for a while: each denial is a line in the server's ACL log.
                self._events_again_at = self._clock() + _EVENTS_AGAIN_SECONDS
            return sample.snapshot_of(keys, values, horizon_ms=horizons[keys])

        return await self._within(deadline_seconds, wanted, self._ways, self._snapshots(horizons), decode)

    async def read_details(
        self, queues: Sequence[QueueKeys], *, deadline_seconds: float = 2.0
    ) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        """Return details or an error for every queue asked for; raises nothing for a Redis that fails.

        It costs the server up to some milliseconds for a queue with 2 000 active jobs, and never reads what jobs carry
        or return. Role and memory of the server count as in `read`.
        """
        asked = Asked(script=detailsample.script(), arguments=detailsample.script_arguments, plain=detailplain.read)
        wanted = list(dict.fromkeys(queues))
        return await self._within(deadline_seconds, wanted, self._detail_ways, asked, detailsample.details_of)

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        """Return the queues in whose stream of events something came after the id given, with the first such id.

        Empty when nothing came within `block_ms` (at least 1). For at most 500 queues; several may wait at once, each
        on a connection of its own, and a task that waits may be cancelled at any moment. Raises RedisReadError: with
        the reason RedisDenied where this user may not XREAD all of them, with InvalidQueueKey where one of the streams
        is none, with RedisUnreachable also where the server does not end the block within 2 s. ValueError on a Cluster.

        Give `QueueSnapshot.news_after` of the queue's newest snapshot, never an id of your own or the greater of two:
        a stream that was flushed, or came with a failover, may go on with smaller ids, of which nothing is told until
        the id is that of a snapshot again. So a queue is to be read now and then although nothing comes.
        """
        return await self._waiter.wait(after, block_ms=block_ms)

    def _snapshots(self, horizons: Mapping[QueueKeys, int]) -> Asked:
        events = self._clock() >= self._events_again_at

        def arguments(keys: QueueKeys) -> list[str | int]:
            return sample.script_arguments(keys, horizon_ms=horizons[keys], events=events)

        async def read(
            run: Run, queues: Sequence[QueueKeys], now_ms: int
        ) -> dict[QueueKeys, list[Any] | CommandFailed]:
            return await plain.read(run, queues, now_ms=now_ms, horizons=horizons, events=events)

        return Asked(script=sample.script(), arguments=arguments, plain=read)

    async def _within(
        self, seconds: float, queues: list[QueueKeys], ways: Ways, asked: Asked, decode: _Decode[T]
    ) -> dict[QueueKeys, T | RedisReadError]:
        """Read, and once more where a pooled connection had died unnoticed; all other patience is the caller's."""

        async def ask(some: list[QueueKeys]) -> dict[QueueKeys, T | RedisReadError]:
            return await self._read(some, ways, asked, decode)

        if self._nodes is not None:
            results = await self._nodes.read(queues, ask, seconds=seconds)
            for gone in self._states.keys() - self._nodes.names:
                del self._states[gone]
            return results
        try:
            async with asyncio.timeout(seconds):
                return await ask_again(partial(ask, queues))
        except TimeoutError:
            late = f"Redis {self._address}: no whole answer within {seconds:g} s{named_master(self._client)}"
            failure = RedisReadError(late)
        except EXPECTED as error:
            failure = access_error(RedisReadError, error, address=self._address)
        return dict.fromkeys(queues, failure)

    async def _read(
        self, queues: list[QueueKeys], ways: Ways, asked: Asked, decode: _Decode[T]
    ) -> dict[QueueKeys, T | RedisReadError]:
        state = self._states[self._nodes.name_of(queues[0]) if self._nodes is not None and queues else ""]
        beside = state.commands()
        raw, replies = await ways.read(asked, queues, beside=beside)
        failure = state.failure(beside, replies)
        if failure is not None and failure.reason == "RoleNotMaster":
            await drop_idle_connections(self._client)
        if failure is not None:
            return dict.fromkeys(queues, failure)
        results = {keys: self._outcome(keys, raw[keys], decode) for keys in queues}
        if len(queues) > 1:
            for keys in [keys for keys in queues if _is_elsewhere(raw[keys])]:
                results[keys] = await self._read_alone(keys, ways, asked, decode)
        return results

    async def _read_alone(self, keys: QueueKeys, ways: Ways, asked: Asked, decode: _Decode[T]) -> T | RedisReadError:
        """Read one queue, by which the client learns where its slot is now; a failure is none of the other queues'."""
        try:
            return (await self._read([keys], ways, asked, decode))[keys]
        except EXPECTED as error:
            return access_error(RedisReadError, error, address=self._address)

    def _outcome(self, keys: QueueKeys, raw: Raw, decode: _Decode[T]) -> T | RedisReadError:
        if isinstance(raw, CommandFailed) and raw.wrong_type:
            return wrong_type_error(raw.key, address=self._address)
        if isinstance(raw, CommandFailed):
            raw = raw.error
        if isinstance(raw, BaseException):
            return access_error(RedisReadError, raw, address=self._address)
        try:
            return decode(keys, raw)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Redis {self._address}: queue {keys.queue} holds a value that BullMQ does not write: {error}"
            return RedisReadError(message, reason="InvalidQueueKey")


def _is_elsewhere(raw: Raw) -> bool:
    """Whether a node of a Cluster said that the queue is on another one."""
    return isinstance(raw.error if isinstance(raw, CommandFailed) else raw, AskError)


def _horizons(queues: Sequence[QueueKeys], horizon_ms: int | Mapping[QueueKeys, int]) -> dict[QueueKeys, int]:
    if isinstance(horizon_ms, int):
        return dict.fromkeys(queues, max(0, horizon_ms))
    return {keys: max(0, horizon_ms.get(keys, 0)) for keys in queues}
