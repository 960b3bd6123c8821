"""One connection that is made when it is needed and anew when that helps, with a deadline on everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError, SettingsError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues.door import Door
from queueworker_operator.queues.port import OpenReader, Reader
from queueworker_operator.queues.reading import reason_of

logger = logging.getLogger(__name__)
T = TypeVar("T")

# After these a client that is made anew fares better: it asks DNS and the Sentinels again, and logs in again.
REOPEN = frozenset(
    {ConditionReason.REDIS_UNREACHABLE, ConditionReason.REDIS_AUTH_FAILED, ConditionReason.ROLE_NOT_MASTER}
)
_OF_THE_SERVER = REOPEN | {
    ConditionReason.REDIS_TLS_ERROR,
    ConditionReason.REDIS_MEMORY_FULL,
    ConditionReason.SPEC_INVALID,
}

_GRACE_SECONDS = 1.0
"""A process that was held up for less does not find the reader's deadline over together with the one above it."""


class Connection:
    """Reads by one reader. Whatever goes wrong is the error of each queue that was asked for; nothing is raised."""

    def __init__(self, settings: ConnectionSettings, *, open_reader: OpenReader, deadline: float, door: Door) -> None:
        self._settings = settings
        self._open_reader = open_reader
        self._deadline = deadline
        self._door = door
        self._answered = False
        self.reader: Reader | None = None

    @property
    def is_one_server(self) -> bool:
        """Whether all queues are on one server: the nodes of a Cluster fail one by one."""
        return self._settings.cluster is None

    @property
    def server_seconds(self) -> float | None:
        """What the counts of one queue cost the server, where the reader knows."""
        return None if self.reader is None else self.reader.server_seconds_per_queue

    async def read(self, horizons: Mapping[QueueKeys, int]) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        """Read the counts of these queues, the delayed jobs of each so many milliseconds ahead."""
        queues, each = list(horizons), set(horizons.values())
        horizon_ms: int | Mapping[QueueKeys, int] = each.pop() if len(each) == 1 else horizons
        return await self._ask(
            queues,
            lambda reader: reader.read(queues, horizon_ms=horizon_ms, deadline_seconds=self._deadline),
        )

    async def read_details(self, queues: Sequence[QueueKeys]) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        """Read what lies behind the counts."""
        return await self._ask(queues, lambda reader: reader.read_details(queues, deadline_seconds=self._deadline))

    async def reopen_after(self, reason: ConditionReason) -> None:
        """Let go of the client where one that is made anew fares better."""
        if reason in REOPEN:
            await self.close()

    async def close(self) -> None:
        """Let go of the client."""
        reader, self.reader = self.reader, None
        self._answered = False
        if reader is not None:
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await reader.aclose()

    async def _ask(
        self, queues: Sequence[QueueKeys], call: Callable[[Reader], Awaitable[Mapping[QueueKeys, T | RedisReadError]]]
    ) -> Mapping[QueueKeys, T | RedisReadError]:
        address = self._settings.address
        try:
            async with AsyncExitStack() as stack:
                if not self._answered:
                    await stack.enter_async_context(self._door.passing())
                # The reader has the deadline too; this one holds even where it sits in a place that does not know it.
                await stack.enter_async_context(asyncio.timeout(self._deadline + _GRACE_SECONDS))
                if self.reader is None:
                    self.reader = self._open_reader(self._settings)
                results = await call(self.reader)
                self._answered = True
                return results
        except TimeoutError:
            error = RedisReadError(f"Redis {address}: no whole answer within {self._deadline:g} s")
        except RedisReadError as known:
            error = known
        except SettingsError as unusable:
            error = RedisReadError(str(unusable), reason=ConditionReason.REDIS_TLS_ERROR)
        except Exception as surprise:
            logger.exception("Redis %s: the read failed unexpectedly", address)
            # Without this the reader would end, and its queues would stay unread for ever.
            error = RedisReadError(f"Redis {address}: {type(surprise).__name__} while reading, see the log")
        return dict.fromkeys(queues, error)


def failure_of_server(results: Mapping[QueueKeys, object]) -> RedisReadError | None:
    """Return why the server as a whole could not be read; None where a queue was, or failed for its own reason."""
    errors = set(results.values()) if all(isinstance(one, RedisReadError) for one in results.values()) else set()
    error = errors.pop() if len(errors) == 1 else None
    return error if isinstance(error, RedisReadError) and reason_of(error) in _OF_THE_SERVER else None
