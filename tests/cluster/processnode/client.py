"""Requests of the node agent to the API server: JSON objects in and out, as they stand on the wire."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp

from controlplane import Access

Object = dict[str, Any]

STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
# The server ends a watch after this time; a stream that is silent for longer than that has lost its server.
_WATCH_SECONDS = 20
_SILENCE_SECONDS = 25.0
_LINE_BYTES = 1 << 20


class RequestError(Exception):
    """The API server refused: `status` is the HTTP status, 0 when it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class Client:
    """One user's connection to one API server."""

    def __init__(self, access: Access) -> None:
        self._server = access.server
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {access.token}", "Accept": "application/json"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=access.ca_file), limit=0),
            timeout=aiohttp.ClientTimeout(total=10),
            read_bufsize=_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str, **query: str) -> Object:
        return await self._request("GET", path, query=query)

    async def create(self, path: str, body: Object) -> Object:
        return await self._request("POST", path, body=body)

    async def patch(self, path: str, body: Object) -> Object:
        return await self._request("PATCH", path, body=body, content_type=STRATEGIC_MERGE_PATCH)

    async def delete(self, path: str, body: Object | None = None) -> Object:
        return await self._request("DELETE", path, body=body)

    async def watch(self, path: str, *, version: str, **query: str) -> AsyncIterator[Object]:
        """Yield the events after `version` until the server ends the stream; an ERROR event is an error."""
        query = {**query, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_SECONDS)
        try:
            async with self._session.get(self._server + path, params=query, timeout=timeout) as response:
                await _raise_for(response)
                while line := await response.content.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RequestError(int(event["object"]["code"]), str(event["object"]["message"]))
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestError(0, f"{path}: {error!r}") from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        try:
            async with self._session.request(
                method, self._server + path, params=query, data=data, headers=headers
            ) as response:
                await _raise_for(response)
                answer: Object = await response.json()
                return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestError(0, f"{method} {path}: {error!r}") from error


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        text = await response.text()
        raise RequestError(response.status, f"{response.method} {response.url.path}: {text}")
