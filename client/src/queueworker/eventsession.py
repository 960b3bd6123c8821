"""What a stream of events asks over one connection."""

from __future__ import annotations

from typing import Any

import redis.exceptions as redis_errors

from queueworker import eventrecords
from queueworker.eventposition import START, Position
from queueworker.eventrecords import QueueEvent, StreamId
from queueworker.ownlink import OwnLink


class Session:
    """A connection and what is asked over it; raises redis-py's errors."""

    def __init__(self, link: OwnLink, key: str, *, reply_seconds: float) -> None:
        self._link, self._key, self._reply_seconds = link, key, reply_seconds
        self._asks_role = True

    async def start(self) -> None:
        """Connect, and make sure that this is a master where this user may know."""
        await self._link.connect()
        self._check_role(await self._link.ask(("ROLE",), timeout=self._reply_seconds))

    async def end(self) -> Position:
        """Return the place after the last event, or, where this user may not look there, that of the server's time."""
        last = await self._link.ask(("XREVRANGE", self._key, "+", "-", "COUNT", 1), timeout=self._reply_seconds)
        if not isinstance(last, redis_errors.NoPermissionError):
            return Position.after(StreamId.parse(_answered(last)[0][0]) if _answered(last) else START)
        now = await self._link.ask(("TIME",), timeout=self._reply_seconds)
        if isinstance(now, BaseException):
            raise last
        return Position(StreamId.before_ms(int(now[0]) * 1000 + int(now[1]) // 1000))

    async def read(self, position: Position, *, block_seconds: float) -> tuple[list[QueueEvent], StreamId | None]:
        """Wait for events behind a place; return them and the id that stands at its anchor then."""
        commands = position.commands(self._key, block_ms=int(block_seconds * 1000))
        role = [("ROLE",)] if self._asks_role else []
        timeouts = (block_seconds + self._reply_seconds, self._reply_seconds)
        new, *others = await self._link.ask_all([*commands, *role], timeouts=timeouts)
        if role:
            self._check_role(others.pop())
        found = eventrecords.entries(_answered(others[0])) if others else []
        events = [eventrecords.decode(*entry) for entry in eventrecords.entries(_answered(new))]
        return events, StreamId.parse(found[0][0]) if found else None

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    def _check_role(self, role: Any) -> None:
        if isinstance(role, redis_errors.NoPermissionError):
            # Not asked again: each denial is a line in the server's ACL log.
            self._asks_role = False
        elif str(_answered(role)[0]) != "master":
            raise redis_errors.ReadOnlyError("this server is a replica")


async def behind_gap(session: Session, position: Position, at_anchor: StreamId | None) -> Position:
    """Return the place to go on from where events behind `position` are gone; raises redis-py's errors."""
    if position.anchor is not None and at_anchor is None:
        # Nothing as new as the anchor is left, so what comes next may well have an older id.
        end = await session.end()
        if end.last < position.last:
            return end
    return Position(position.last)


def _answered(reply: Any) -> Any:
    if isinstance(reply, BaseException):
        raise reply
    return reply
