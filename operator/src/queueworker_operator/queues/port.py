"""What the readers of the operator need of a connection, and whom they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.queues.reading import Reading


class Reader(Protocol):
    """An open connection that reads queues."""

    @property
    def can_wait(self) -> bool:
        """Whether `wait` can be used: not on a Cluster, and not where XREAD is denied."""
        ...

    @property
    def server_seconds_per_queue(self) -> float | None:
        """How long the server works for the counts of one queue; None where that is not known."""
        ...

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int | Mapping[QueueKeys, int], deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        """Read the counts of all queues in one go; one that cannot be read gives its error."""
        ...

    async def read_details(
        self, queues: Sequence[QueueKeys], *, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        """Read what lies behind the counts, likewise."""
        ...

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        """Wait for entries of the `events` streams that come after these ids.

        Returns the queues that have some with the id of the first, nothing when the time is over. Raises
        RedisReadError.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connection."""
        ...


class Watch(Protocol):
    """Who wants to hear of the reads of one Redis."""

    def changed(self, queues: Sequence[QueueKeys]) -> None:
        """Take note that one read said something new of these queues."""
        ...

    def read_done(self, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        """Take note of what one read found and how long it took."""
        ...


OpenReader = Callable[[ConnectionSettings], Reader]
