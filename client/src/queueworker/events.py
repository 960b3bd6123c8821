"""A queue's events as they happen, without a gap that is not told.

The stream is read by blocks shorter than any timeout of the connection, from an id that is always known, so that
nothing between two reads is missed. With each read goes a second one that looks whether the entry read last is still
there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import redis.exceptions as redis_errors

from queueworker.base import ATTEMPTS
from queueworker.connection import Client
from queueworker.errors import RedisReadError
from queueworker.eventposition import Position
from queueworker.eventrecords import EventsLost, QueueEvent, StreamId
from queueworker.eventsession import Session, behind_gap
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.keys import QueueKeys
from queueworker.ownlink import open_link

CURRENT_END = "$"
_log = logging.getLogger(__name__)
_BACKOFF_SECONDS = 0.1
_BACKOFF_CAP_SECONDS = 5.0
_PASSING = (
    redis_errors.AskError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    redis_errors.SlotNotCoveredError,
    redis_errors.TryAgainError,
)
_PASSING_WORDS = ("UNBLOCKED", "BUSY")


class EventStream:
    """The events of one queue, in their order: `QueueEvent`, and `EventsLost` where some may be missing.

    A lost connection, a failover and a restart are bridged: it connects again with growing pauses of at most 5 s and
    goes on after the event that it read last. `EventsLost` comes where that event is gone by then, because the stream
    was trimmed (BullMQ keeps about 10 000 events), flushed, or is another server's, and where the connection was lost
    before there was any event. Afterwards it goes on with what there is; after a failover some may come again.

    A wrong password, a missing permission and a server that cannot be reached at the start raise RedisReadError; later
    it tries for ever, or for `give_up_seconds`. It has a connection of its own. One task reads it; any may close it,
    which ends the iteration.
    """

    def __init__(
        self,
        client: Client,
        keys: QueueKeys,
        *,
        address: str,
        last_id: str = CURRENT_END,
        block_seconds: float = 5.0,
        reply_seconds: float = 5.0,
        give_up_seconds: float | None = None,
        on_close: Callable[[EventStream], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if block_seconds < 0.001 or reply_seconds <= 0:
            raise ValueError("block_seconds must be at least 0.001, reply_seconds above 0")
        self._client, self._address = client, address
        self._key = keys.of("events")
        self._block_seconds, self._reply_seconds = block_seconds, reply_seconds
        self._give_up_seconds = give_up_seconds
        self._on_close, self._clock = on_close, clock
        self._position = None if last_id == CURRENT_END else Position.after(StreamId.parse(last_id))
        self._last_id = None if self._position is None else str(self._position.last)
        if self._position is not None:
            # An event that somebody remembers from earlier is looked for before anything is waited for.
            self._position.interrupted = self._position.anchor is not None
        self._ready: deque[QueueEvent | EventsLost] = deque()
        self._session: Session | None = None
        self._was_connected = False
        self._failing_since: float | None = None
        self._failures = 0
        self._scope: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._closed = False

    @property
    def last_id(self) -> str | None:
        """The id of the last event given out, to be passed to `Queue.events` to go on later; None before the start."""
        return self._last_id

    async def __aenter__(self) -> Self:
        """Connect and settle what "now" is; raises RedisReadError."""
        await self._while_open(self._connected)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> QueueEvent | EventsLost:
        while not self._ready and not self._closed:
            await self._while_open(self._read)
        if self._closed:
            raise StopAsyncIteration
        event = self._ready.popleft()
        if isinstance(event, QueueEvent):
            self._last_id = event.id
        return event

    async def aclose(self) -> None:
        """End the iteration, at once, and close the connection."""
        self._closed = True
        if self._on_close is not None:
            self._on_close(self)
        if self._scope is not None:
            # The task that reads ends first: with its connection taken away in a request, redis-py fails in odd ways.
            if not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())
            await self._idle.wait()
        await self._disconnect()

    async def _while_open(self, step: Callable[[], Awaitable[object]]) -> None:
        """Do one step, which `aclose` may end from another task."""
        if self._scope is not None:
            raise RuntimeError("another task reads this stream of events: give each task its own")
        self._idle.clear()
        try:
            async with asyncio.timeout(None) as self._scope:
                await self._persist(step)
        except TimeoutError:
            if not self._closed:
                raise
        except BaseException:
            # What was being read may have been cut in the middle.
            await self._disconnect()
            raise
        finally:
            self._scope = None
            self._idle.set()

    async def _persist(self, step: Callable[[], Awaitable[object]]) -> None:
        """Do one step, and again while its failures may pass; raises RedisReadError for one that does not."""
        while True:
            try:
                await step()
            except EXPECTED as error:
                await self._disconnect()
                self._count_failure(error)
            else:
                break
            pause = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2 ** min(self._failures, 10))
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter, no secret
        if self._failing_since is not None:
            _log.info("events of %s: Redis %s answers again", self._key, self._address)
        self._failing_since, self._failures = None, 0

    def _count_failure(self, error: BaseException) -> None:
        failure = access_error(RedisReadError, error, address=self._address)
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
            _log.warning("events of %s: %s; trying again", self._key, failure)
        self._failures += 1
        if self._position is not None and self._was_connected:
            self._position.interrupted = True
        too_long = self._give_up_seconds is not None and now - self._failing_since >= self._give_up_seconds
        at_start = not self._was_connected and self._failures >= ATTEMPTS
        if too_long or at_start or not _passes(error):
            raise failure from error

    async def _connected(self) -> tuple[Session, Position]:
        if self._session is None:
            link = await open_link(self._client, self._key)
            self._session = Session(link, self._key, reply_seconds=self._reply_seconds)
            await self._session.start()
        if self._position is None:
            self._position = await self._session.end()
            self._last_id = str(self._position.last)
        self._was_connected = True
        return self._session, self._position

    async def _read(self) -> None:
        """Wait for events and take them, once."""
        session, position = await self._connected()
        new, at_anchor = await session.read(position, block_seconds=self._block_seconds)
        gap = position.gap(at_anchor)
        if gap is not None:
            _log.warning("events of %s: some after %s may be lost: %s", self._key, position.last, gap)
            self._ready.append(EventsLost(str(position.last), gap))
            position = self._position = await behind_gap(session, position, at_anchor)
        position.advance([StreamId.parse(event.id) for event in new])
        self._ready.extend(new)

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _passes(error: BaseException) -> bool:
    """Tell whether trying again may help: the way to the server, its state or its role is at fault."""
    return may_pass(error) or isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS)
