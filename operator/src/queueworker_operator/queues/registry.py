"""Who cares about which queues, and the readers that serve them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from queueworker.keys import QueueKeys
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings
from queueworker_operator.queues.door import Door
from queueworker_operator.queues.pace import Pace
from queueworker_operator.queues.poller import Poller
from queueworker_operator.queues.port import OpenReader, Reader
from queueworker_operator.queues.reading import Reading
from queueworker_operator.queues.sharing import Sharing
from queueworker_operator.scaling.observation import HORIZON_SECONDS

K = TypeVar("K", bound=Hashable)
ReadDone = Callable[[ConnectionSettings, Mapping[QueueKeys, Reading], float], None]
Discarded = Callable[[ConnectionSettings, QueueKeys], None]


def open_reader(settings: ConnectionSettings) -> Reader:
    """Return a reader with connections of its own. It does not retry: the next read is the retry."""
    return QueueReader.open(settings, name="queueworker-operator")


class _Server(Generic[K]):
    """One Redis as one user sees it: its reader, and who subscribed to which of its queues how far ahead."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        wake: Callable[[K], None],
        read_done: ReadDone | None,
        discarded: Discarded | None,
    ) -> None:
        self.settings = settings
        self._wake = wake
        self._read_done = read_done
        self._discarded = discarded
        self.subscribers: dict[QueueKeys, dict[K, float]] = {}
        self.poller: Poller
        self.task: asyncio.Task[None]

    def start(self, poller: Poller) -> None:
        """Read from now on."""
        self.poller = poller
        self.task = asyncio.create_task(poller.run(), name=f"reader of {self.settings.address}")

    def enter(self, key: K, queues: Sequence[QueueKeys], horizon: float) -> None:
        """Let the key hear of these queues."""
        for queue in queues:
            horizons = self.subscribers.setdefault(queue, {})
            horizons[key] = horizon
            self.poller.add(queue, horizon=max(horizons.values()))

    def leave(self, key: K, queues: Sequence[QueueKeys]) -> None:
        """Let the key hear of these queues no more."""
        for queue in queues:
            horizons = self.subscribers[queue]
            del horizons[key]
            if horizons:
                self.poller.add(queue, horizon=max(horizons.values()))
            else:
                del self.subscribers[queue]
                self.poller.discard(queue)
                if self._discarded is not None:
                    self._discarded(self.settings, queue)

    def changed(self, queues: Sequence[QueueKeys]) -> None:
        """Wake everybody who subscribed to one of the queues, once."""
        for key in dict.fromkeys(key for queue in queues for key in self.subscribers.get(queue, ())):
            self._wake(key)

    def read_done(self, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        """Hand on what a read found and how long it took."""
        if self._read_done is not None:
            self._read_done(self.settings, readings, seconds)


@dataclass(frozen=True, slots=True)
class _Subscription(Generic[K]):
    server: _Server[K]
    queues: tuple[QueueKeys, ...]
    horizon: float


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
        discarded: Discarded | None = None,
    ) -> None:
        """`read_done` is called after each read, `discarded` with each queue that is read no more."""
        self._wake = wake
        self._clock = clock
        self._random = random
        self._pace = pace or Pace()
        self._open_reader = open_reader
        self._read_done = read_done
        self._discarded = discarded
        self._door = Door()
        self._servers: dict[ConnectionSettings, _Server[K]] = {}
        self._subscriptions: dict[K, _Subscription[K]] = {}
        self._sharing: Sharing[K] = Sharing()
        self._ending: set[asyncio.Task[None]] = set()

    def subscribe(
        self,
        key: K,
        settings: ConnectionSettings,
        queues: tuple[QueueKeys, ...],
        *,
        horizon_seconds: float = HORIZON_SECONDS,
    ) -> None:
        """Let the key hear of these queues, and of no others any more.

        Delayed jobs are counted `horizon_seconds` ahead, or further where another key of the queue asks for that.
        """
        old = self._subscriptions.get(key)
        same = old is not None and old.queues == queues and _same(old.server.settings, settings)
        if same and old is not None and old.horizon == horizon_seconds:
            return
        server = old.server if same and old is not None else self._server(settings)
        self._subscriptions[key] = _Subscription(server, queues, horizon_seconds)
        # First in, then out: what is read further on is not read anew, and its reader lives on.
        server.enter(key, queues, horizon_seconds)
        if old is not None and not same:
            kept = queues if old.server is server else ()
            self._leave(key, old, tuple(queue for queue in old.queues if queue not in kept))
        if not same:
            self._wake_others(key, self._sharing.enter(key, settings, queues))

    def unsubscribe(self, key: K) -> None:
        """Let the key hear of nothing any more."""
        old = self._subscriptions.pop(key, None)
        if old is not None:
            self._leave(key, old, old.queues)

    def readings(self, key: K) -> tuple[Reading, ...]:
        """Return what is known of the key's queues, in the order in which they were subscribed to; else nothing."""
        subscription = self._subscriptions.get(key)
        if subscription is None:
            return ()
        return tuple(map(subscription.server.poller.reading, subscription.queues))

    def sharers(self, key: K, queue: QueueKeys) -> tuple[K, ...]:
        """Return the other keys that subscribed to this very queue, by whichever user they read it."""
        subscription = self._subscriptions.get(key)
        if subscription is None:
            return ()
        return self._sharing.others(key, subscription.server.settings, queue)

    async def refresh(self, key: K, *, details: bool = False, within: float = 2.0) -> bool:
        """Read the key's queues now, the details too where asked for.

        Returns whether all were read when it ends, with success or not: `readings` tells. It ends after `within`
        seconds at the latest, and at once for a key that is not subscribed and while the server is known to be down.
        """
        subscription = self._subscriptions.get(key)
        if subscription is None:
            return False
        return await subscription.server.poller.refresh(subscription.queues, details=details, within=within)

    def wake_after_next_read(self, key: K) -> None:
        """Read the key's queues as soon as busy ones, and wake it then, also if nothing is new."""
        subscription = self._subscriptions.get(key)
        if subscription is not None:
            for queue in subscription.queues:
                subscription.server.poller.announce_next(queue)

    async def close(self) -> None:
        """End all readers."""
        self._subscriptions.clear()
        for server in list(self._servers.values()):
            self._end(server)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _server(self, settings: ConnectionSettings) -> _Server[K]:
        server = self._servers.get(settings)
        if server is None:
            server = self._servers[settings] = _Server(
                settings, wake=self._wake, read_done=self._read_done, discarded=self._discarded
            )
            server.start(
                Poller(
                    settings,
                    open_reader=self._open_reader,
                    watch=server,
                    pace=self._pace,
                    clock=self._clock,
                    random=self._random,
                    door=self._door,
                )
            )
        return server

    def _leave(self, key: K, old: _Subscription[K], queues: tuple[QueueKeys, ...]) -> None:
        old.server.leave(key, queues)
        self._wake_others(key, self._sharing.leave(key, old.server.settings, old.queues))
        if not old.server.subscribers:
            self._end(old.server)

    def _wake_others(self, key: K, others: set[K]) -> None:
        """Let those hear of it with whom the key shares a queue, or no longer does."""
        for other in others - {key}:
            self._wake(other)

    def _end(self, server: _Server[K]) -> None:
        del self._servers[server.settings]
        server.task.cancel()
        self._ending.add(server.task)
        server.task.add_done_callback(self._ending.discard)


def _same(one: ConnectionSettings, other: ConnectionSettings) -> bool:
    return one is other or one == other
