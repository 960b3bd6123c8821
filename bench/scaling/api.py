"""Requests to the API server of the measurements: many at a time, and watches, with as little of our own as can be."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from controlplane import ControlPlane

Object = dict[str, Any]
_PARALLEL = 20


class Api:
    """The API server as its administrator."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def of(cls, plane: ControlPlane) -> AsyncIterator[Self]:
        """Yield it with connections of its own."""
        headers = {"Authorization": f"Bearer {plane.access.token}"}
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=plane.access.ca_file), limit=100)
        async with aiohttp.ClientSession(plane.access.server, headers=headers, connector=connector) as session:
            yield cls(session)

    async def get(self, path: str) -> Object:
        """Read an object or a list."""
        async with self._session.get(path) as answer:
            return await _checked(answer)

    async def patch(self, path: str, body: Object) -> Object:
        """Merge into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(path, json=body, headers=headers) as answer:
            return await _checked(answer)

    async def create(self, path: str, body: Object) -> Object:
        """Make an object."""
        async with self._session.post(path, json=body) as answer:
            return await _checked(answer)

    async def create_all(self, path: str, bodies: Iterable[Object]) -> None:
        """Make many objects, some at a time."""
        waiting = iter(list(bodies))

        async def work() -> None:
            for body in waiting:
                await self.create(path, body)

        await asyncio.gather(*(work() for _ in range(_PARALLEL)))

    async def count(self, path: str) -> int:
        """Return how many objects a list has, at the least cost to the server, which counts what it does not send."""
        async with self._session.get(path, params={"limit": "1"}) as answer:
            found = await _checked(answer)
            return len(found["items"] or ()) + int(found["metadata"].get("remainingItemCount", 0))

    async def watch(self, path: str, name: str, see: Callable[[float, Object], None]) -> None:
        """Hand on one object of a list whenever it changes, with the moment (monotonic); until cancelled.

        The server ends a watch that does not keep up: with all objects of the list it would be a thousand at once.
        """
        timeout = aiohttp.ClientTimeout(total=None)
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        # Lines of whole objects: longer than what the stream takes by itself.
        async with self._session.get(path, params=params, timeout=timeout) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                at = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise SystemExit(f"watch {path}: {event['object'].get('message')}")
                    see(at, event["object"])


async def _checked(answer: aiohttp.ClientResponse) -> Object:
    body = await answer.json()
    if answer.status >= 400:
        raise SystemExit(f"{answer.method} {answer.url.path}: {answer.status} {body.get('message')}")
    return dict(body)
