"""Messages between a worker and its child processes: JSON behind its length, over a pair of sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

_LENGTH_BYTES = 4
_LONGEST = 2 ** (8 * _LENGTH_BYTES) - 1


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as bytes; raises TypeError, ValueError or RecursionError where it is not JSON."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > _LONGEST:
        raise ValueError(f"{len(body)} bytes are more than a message may have")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Return the next message; None where the other side has gone."""
    try:
        length = await reader.readexactly(_LENGTH_BYTES)
        body = await reader.readexactly(int.from_bytes(length, "big"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    found: dict[str, Any] = json.loads(body)
    return found
