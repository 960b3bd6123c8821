"""What is shown of the Redis servers: what reading them costs, and the counts of their queues.

A queue is told apart by server and prefix: two of one name are two queues, and their counts do not mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter

from queueworker.keys import QueueKeys
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.metrics.families import Families

# The states of BullMQ's own exporter, and the properties of a snapshot that count them.
STATES: Mapping[str, str] = {
    "waiting": "waiting",
    "prioritized": "prioritized",
    "delayed": "delayed",
    "active": "active",
    "waiting-children": "waiting_children",
    "completed": "completed",
    "failed": "failed",
    "paused": "legacy_paused",
}
_counts = attrgetter(*STATES.values())


class ShownServer:
    """One Redis."""

    def __init__(self, families: Families, redis: str) -> None:
        self._families = families
        self._redis = redis
        self._read = False
        self._errors: set[str] = set()
        self.queues: dict[QueueKeys, tuple[int, ...] | None] = {}
        """Their jobs by state, in the order of STATES; None where they are unknown."""

    def read(self, snapshots: Mapping[QueueKeys, QueueSnapshot | None], errors: Iterable[str], seconds: float) -> None:
        """Show a read."""
        self._families.polls.labels(self._redis).observe(seconds)
        for reason in errors:
            self._errors.add(reason)
            self._families.redis_errors.labels(self._redis, reason).inc()
        for keys, snapshot in snapshots.items():
            self.queues[keys] = None if snapshot is None else _counts(snapshot)
        if any(snapshot is not None for snapshot in snapshots.values()):
            self._read = True
            self._families.last_poll.labels(self._redis).set_to_current_time()

    def forget(self) -> None:
        """Show nothing any more."""
        self._families.polls.remove(self._redis)
        if self._read:
            self._families.last_poll.remove(self._redis)
        for reason in self._errors:
            self._families.redis_errors.remove(self._redis, reason)


class ShownServers:
    """All of them, by address."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self.servers: dict[str, ShownServer] = {}

    def read(
        self, redis: str, snapshots: Mapping[QueueKeys, QueueSnapshot | None], errors: Iterable[str], *, seconds: float
    ) -> None:
        """Show a read of a Redis."""
        if redis not in self.servers:
            self.servers[redis] = ShownServer(self._families, redis)
        self.servers[redis].read(snapshots, errors, seconds)

    def discard(self, redis: str, queue: QueueKeys) -> None:
        """Show nothing of a queue any more, nor of a Redis without queues."""
        server = self.servers.get(redis)
        if server is None:
            return
        server.queues.pop(queue, None)
        if not server.queues:
            self.servers.pop(redis).forget()
