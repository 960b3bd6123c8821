"""Packing commands with hiredis: redis-py for asyncio does it in Python, which took a third of a reading's time."""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio.connection import Connection


class Packing(Connection):
    """The part of a connection that packs its commands in C; to be put before a connection class of redis-py."""

    def pack_command(self, *args: Any) -> list[Any]:
        """Return the command as Redis reads it; a first word with spaces in it is several words."""
        try:
            return [hiredis.pack_command((*args[0].encode().split(), *args[1:]))]
        except (AttributeError, TypeError, UnicodeEncodeError):
            # A name in bytes, a type that redis-py refuses with a better text, an id that is not UTF-8.
            return super().pack_command(*args)
