"""Which keys serve the same queue."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings

K = TypeVar("K", bound=Hashable)
_Place = tuple[Hashable, QueueKeys]


class Sharing(Generic[K]):
    """The keys of each queue of each database, whichever user they log in as."""

    def __init__(self) -> None:
        self._keys: dict[_Place, dict[K, None]] = {}

    def enter(self, key: K, settings: ConnectionSettings, queues: Iterable[QueueKeys]) -> set[K]:
        """Add the key; return the others that it now shares a queue with."""
        others: set[K] = set()
        for place in _places(settings, queues):
            keys = self._keys.setdefault(place, {})
            others.update(keys)
            keys[key] = None
        return others

    def leave(self, key: K, settings: ConnectionSettings, queues: Iterable[QueueKeys]) -> set[K]:
        """Remove the key; return the others that it shared a queue with."""
        others: set[K] = set()
        for place in _places(settings, queues):
            keys = self._keys[place]
            del keys[key]
            others.update(keys)
            if not keys:
                del self._keys[place]
        return others

    def others(self, key: K, settings: ConnectionSettings, queue: QueueKeys) -> tuple[K, ...]:
        """Return the other keys of this queue, first come first."""
        (place,) = _places(settings, (queue,))
        keys = self._keys.get(place, {})
        return tuple(one for one in keys if one != key) if len(keys) > 1 else ()


def _places(settings: ConnectionSettings, queues: Iterable[QueueKeys]) -> list[_Place]:
    database: Hashable
    if settings.sentinel is not None:
        database = ("sentinel", settings.sentinel.master_name, frozenset(_nodes(settings.sentinel.nodes)), settings.db)
    elif settings.cluster is not None:
        database = ("cluster", frozenset(_nodes(settings.cluster.nodes)))
    else:
        database = (settings.host, settings.port, settings.db)
    return [(database, queue) for queue in dict.fromkeys(queues)]


def _nodes(nodes: Iterable[object]) -> list[str]:
    return [str(node).lower() for node in nodes]
