"""Resolving a host's name without the loop's threads."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress


async def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name, resolved in a thread of our own; raises OSError.

    The loop's threads may all be busy with what processors gave `to_thread`.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def resolve() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            _tell(loop, found, [str(address[0]) for *_, address in infos], None)
        except (OSError, UnicodeError) as error:
            _tell(loop, found, [], OSError(str(error)))

    threading.Thread(target=resolve, name=f"resolver of {host}", daemon=True).start()
    return await found


def _tell(
    loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[str]], hosts: list[str], error: OSError | None
) -> None:
    def settle() -> None:
        if found.done():
            return
        found.set_result(hosts) if error is None else found.set_exception(error)

    with suppress(RuntimeError):
        # The loop may have ended meanwhile.
        loop.call_soon_threadsafe(settle)
