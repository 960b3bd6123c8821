"""Who cares about which queues, and the readers that serve them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from queueworker.keys import QueueKeys
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings
from queueworker_operator.queues.poller import OpenReader, Pace, Poller, Reader, Reading

K = TypeVar("K", bound=Hashable)
ReadDone = Callable[[ConnectionSettings, Mapping[QueueKeys, Reading], float], None]


def open_reader(settings: ConnectionSettings) -> Reader:
    """Return a reader with a connection of its own. It does not retry: the next read is the retry."""
    return QueueReader.open(settings, name="queueworker-operator")


@dataclass(slots=True)
class _Server(Generic[K]):
    poller: Poller
    task: asyncio.Task[None]
    subscribers: dict[QueueKeys, set[K]] = field(default_factory=dict)


class Queues(Generic[K]):
    """Reads each queue once, whoever subscribes to it, and wakes its subscribers when a reading says something new.

    Needs a running event loop. A server that does not answer delays no other.
    """

    def __init__(
        self,
        *,
        wake: Callable[[K], None],
        clock: Callable[[], float],
        random: Callable[[], float],
        pace: Pace | None = None,
        open_reader: OpenReader = open_reader,
        read_done: ReadDone | None = None,
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._random = random
        self._pace = pace or Pace()
        self._open_reader = open_reader
        self._read_done = read_done
        self._servers: dict[ConnectionSettings, _Server[K]] = {}
        self._subscriptions: dict[K, tuple[ConnectionSettings, tuple[QueueKeys, ...]]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def subscribe(self, key: K, settings: ConnectionSettings, queues: tuple[QueueKeys, ...]) -> None:
        """Let the key hear of these queues, and of no others any more."""
        if self._subscriptions.get(key) == (settings, queues):
            return
        old = self._subscriptions.get(key)
        self._subscriptions[key] = (settings, queues)
        server = self._server(settings)
        for queue in queues:
            server.subscribers.setdefault(queue, set()).add(key)
            server.poller.add(queue)
        if old is not None:
            self._leave(key, *old)

    def unsubscribe(self, key: K) -> None:
        """Let the key hear of nothing any more."""
        old = self._subscriptions.pop(key, None)
        if old is not None:
            self._leave(key, *old)

    def readings(self, key: K) -> tuple[Reading, ...]:
        """Return what is known of the key's queues, in the order in which they were subscribed to; else nothing."""
        if key not in self._subscriptions:
            return ()
        settings, queues = self._subscriptions[key]
        readings = self._servers[settings].poller.readings
        return tuple(readings[queue] for queue in queues)

    def wake_after_next_read(self, key: K) -> None:
        """Wake the key after the next read of its queues, also if nothing is new."""
        if key not in self._subscriptions:
            return
        settings, queues = self._subscriptions[key]
        for queue in queues:
            self._servers[settings].poller.announce_next(queue)

    def changed(self, settings: ConnectionSettings, queue: QueueKeys) -> None:
        """Wake everybody who subscribed to the queue."""
        server = self._servers.get(settings)
        for key in server.subscribers.get(queue, ()) if server else ():
            self._wake(key)

    def read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        """Hand on what a read found and how long it took."""
        if self._read_done is not None:
            self._read_done(settings, readings, seconds)

    async def close(self) -> None:
        """End all readers."""
        self._subscriptions.clear()
        for settings in list(self._servers):
            self._end(settings)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _server(self, settings: ConnectionSettings) -> _Server[K]:
        server = self._servers.get(settings)
        if server is None:
            poller = Poller(
                settings,
                open_reader=self._open_reader,
                watch=self,
                pace=self._pace,
                clock=self._clock,
                phase=self._random(),
            )
            task = asyncio.create_task(poller.run(), name=f"reader of {settings.address}")
            server = self._servers[settings] = _Server(poller, task)
        return server

    def _leave(self, key: K, settings: ConnectionSettings, queues: tuple[QueueKeys, ...]) -> None:
        now_settings, now_queues = self._subscriptions.get(key, (None, ()))
        server = self._servers[settings]
        for queue in queues:
            if now_settings == settings and queue in now_queues:
                continue
            server.subscribers[queue].discard(key)
            if not server.subscribers[queue]:
                del server.subscribers[queue]
                server.poller.discard(queue)
        if not server.subscribers:
            self._end(settings)

    def _end(self, settings: ConnectionSettings) -> None:
        task = self._servers.pop(settings).task
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
