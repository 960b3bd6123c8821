"""The `Link` for Sentinel and Cluster: redis-py finds the master or the node, a pool carries many commands at once."""

from __future__ import annotations

from typing import Any

import redis.exceptions as redis_errors

from queueworker.connection import connect
from queueworker.failures import EXPECTED, one_line
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.link import (
    DeniedError,
    Link,
    LinkError,
    LinkLostError,
    NoScriptError,
    RefusedError,
    ReplyError,
    Word,
    error_of,
    naming_the_key,
)
from queueworker_worker.engine.resp import RespLink

_REFUSED = (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.ReadOnlyError)


class PooledLink:
    """A `Link` on a redis-py client that never repeats a command by itself."""

    def __init__(self, settings: ConnectionSettings, *, client_name: str | None = None, connections: int = 50) -> None:
        self._address = settings.address
        self._client: Any = connect(settings, name=client_name, retries=0, max_connections=connections)

    async def execute(self, *words: Word, wait: float = 0.0) -> Any:
        """See `Link.execute`; the client's own timeout of 30 s is above every `wait` that the engine asks for."""
        if words[:2] == ("SCRIPT", "LOAD"):
            # The client looks up by this one word that every master of a cluster has to get the script.
            words = ("SCRIPT LOAD", *words[2:])
        try:
            reply = await self._client.execute_command(*words)
        except EXPECTED as error:
            failed = _link_error(error, self._address)
            raise (naming_the_key(failed, words) if isinstance(failed, DeniedError) else failed) from None
        # The client makes a dict of a hash; the thin link, like the scripts, has a flat list.
        return [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        await self._client.aclose()


def link_to(settings: ConnectionSettings, *, client_name: str | None = None, connections: int = 50) -> Link:
    """Return the link that suits the topology: the thin one for a standalone server, else redis-py's pool."""
    if settings.host is not None:
        return RespLink(settings, client_name=client_name)
    return PooledLink(settings, client_name=client_name, connections=connections)


def _link_error(error: BaseException, address: str) -> LinkError:
    text = f"Redis {address}: {one_line(error)}"
    if isinstance(error, redis_errors.NoScriptError):
        return NoScriptError(text)
    if isinstance(error, redis_errors.NoPermissionError):
        return DeniedError(text)
    if isinstance(error, _REFUSED):
        return RefusedError(text)
    # redis-py counts some answers (BUSY loading, too many clients) among the connection errors.
    if isinstance(error, redis_errors.ResponseError) and not isinstance(error, redis_errors.ConnectionError):
        return error_of(str(error), address=address)
    if isinstance(error, UnicodeError):
        return ReplyError(text)
    return LinkLostError(text)
