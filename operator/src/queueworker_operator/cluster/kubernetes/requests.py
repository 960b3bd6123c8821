"""Requests to the API server: JSON objects in and out, one deadline each, and only ClusterErrors."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.answers import NO_EVENT, decoded, event_of, is_list
from queueworker_operator.cluster.kubernetes.configuration import environment_proxy, load
from queueworker_operator.cluster.kubernetes.errors import refusal, strange_answer, unreachable
from queueworker_operator.cluster.port import ClusterUnavailableError, JsonObject

TIMEOUT_SECONDS: Final = 10.0
PAGE: Final = 500
"""Items of a list that are read at once."""
_JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""A list that has of each item its metadata alone."""


class Requests:
    """The API server as one user.

    The objects are read as the server sends them: the typed models of the client library would lose what they do not
    know, and take longer than the request itself. The library loads the configuration, keeps the token fresh and sets
    up TLS; the requests go through a session of our own, as its own way to one costs twice their CPU time (it walks
    through every body, and looks for proxies and a netrc file in a thread each time).
    """

    def __init__(
        self, client: ApiClient, *, timeout_seconds: float = TIMEOUT_SECONDS, login: str | None = None
    ) -> None:
        """`login` says what to check where the server does not accept the credentials."""
        self._client = client
        self._refusal = refusal if login is None else partial(refusal, login=login)
        self._configuration: Configuration = client.configuration
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._proxy = self._configuration.proxy or environment_proxy(self._configuration.host)
        self._opened: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connections: int = 100,
    ) -> Self:
        """Return requests by a kubeconfig, else by the pod's own service account, else by the default kubeconfig.

        Raises ClusterError where there is none or it cannot be read.
        """
        way = await load(kubeconfig=kubeconfig, context=context)
        way.configuration.connection_pool_maxsize = connections
        return cls(ApiClient(way.configuration), timeout_seconds=timeout_seconds, login=way.login)

    async def close(self) -> None:
        """Close the connections."""
        for session in (self._opened, self._streams):
            if session is not None:
                await session.close()
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, *, attempt: str, accept: str = _JSON, **query: str) -> JsonObject:
        """Read an object or a list."""
        return await self.send("GET", path, attempt=attempt, query=query, accept=accept)

    async def items(self, path: str, *, attempt: str, accept: str = _JSON, **query: str) -> AsyncIterator[JsonObject]:
        """Read the items of a list, page by page; raises ConflictError where it changed too much meanwhile."""
        async for page in self.pages(path, attempt=attempt, accept=accept, **query):
            for item in page["items"] or ():
                yield item

    async def pages(self, path: str, *, attempt: str, accept: str = _JSON, **query: str) -> AsyncIterator[JsonObject]:
        """Read a list page by page; raises ConflictError where it changed too much meanwhile."""
        asked = {"limit": str(PAGE), **query}
        while True:
            answer = await self.get(path, attempt=attempt, accept=accept, **asked)
            if not is_list(answer):
                raise strange_answer(attempt, "no list")
            yield answer
            following = answer["metadata"].get("continue")
            if not following:
                return
            asked["continue"] = following

    async def stream(self, path: str, *, attempt: str, seconds: int, **query: str) -> AsyncGenerator[JsonObject, None]:
        """Read the events of a watch, for so many seconds at most; each has a type and an object.

        Raises as `send` does.
        """
        target = f"{path}?{urlencode({**query, 'timeoutSeconds': str(seconds)})}"
        try:
            async with AsyncExitStack() as opened:
                response = await self._open_stream(opened, target, seconds=seconds, attempt=attempt)
                if response.status >= 400:
                    answer, invalid = decoded(await response.read()), ConditionReason.CLUSTER_DENIED
                    raise self._refusal(response.status, answer, response.headers, attempt=attempt, invalid=invalid)
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield event_of(line, attempt=attempt)
                if rest:
                    raise strange_answer(attempt, NO_EVENT)
        except TimeoutError:
            raise ClusterUnavailableError(f"cannot {attempt}: the server fell silent") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, attempt=attempt) from None

    async def _open_stream(
        self, opened: AsyncExitStack, target: str, *, seconds: int, attempt: str
    ) -> aiohttp.ClientResponse:
        if self._streams is None:
            # There may be more streams than connections, and each keeps its own: requests must not wait for them.
            self._streams = self._new_session(connections=0)
        # A little after the server, should it fall silent without an error.
        timeout, headers = aiohttp.ClientTimeout(total=seconds + 10), await self._authorization()
        request = self._request("GET", target, headers, session=self._streams, timeout=timeout)
        try:
            # The API server answers before there is an event; a proxy that holds a stream back does not.
            async with asyncio.timeout(self._timeout.total):
                return await opened.enter_async_context(request)
        except TimeoutError:
            message = f"cannot {attempt}: no answer in {self._timeout.total:g} s, perhaps as a proxy holds streams back"
            raise ClusterUnavailableError(message) from None

    async def send(
        self,
        method: str,
        path: str,
        *,
        attempt: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | list[JsonObject] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        invalid: ConditionReason = ConditionReason.CLUSTER_DENIED,
    ) -> JsonObject:
        """Send one request and return the answer.

        Raises NotFoundError, ConflictError, ClusterUnavailableError, or ClusterError with what the server said.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            # The errors of both libraries may carry headers and bodies: none of them is handed on as a cause.
            status, headers, content = await self._exchange(
                method, target, body=body, headers={"Content-Type": content_type, "Accept": accept}
            )
        except TimeoutError:
            raise ClusterUnavailableError(f"cannot {attempt}: no answer in {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, attempt=attempt) from None
        answer = decoded(content)
        if status >= 400:
            raise self._refusal(status, answer, headers, attempt=attempt, invalid=invalid)
        if "kind" not in answer:
            raise strange_answer(attempt, "no Kubernetes object")
        return answer

    async def _exchange(
        self, method: str, target: str, *, body: JsonObject | list[JsonObject] | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {**headers, **await self._authorization()}
        async with self._request(method, target, headers, content=content) as response:
            return response.status, response.headers, await response.read()

    def _request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        content: bytes | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return (session or self._session).request(
            method,
            self._configuration.host + target,
            headers=headers,
            data=content,
            timeout=timeout or self._timeout,
            proxy=self._proxy,
            proxy_headers=self._configuration.proxy_headers if self._proxy else None,
            server_hostname=self._configuration.tls_server_name or None,
        )

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            # Not before there is an event loop.
            self._opened = self._new_session(connections=self._configuration.connection_pool_maxsize)
        return self._opened

    def _new_session(self, *, connections: int) -> aiohttp.ClientSession:
        """Return a session with so many connections at most, 0 for as many as are asked for."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=self._client.rest_client.ssl_context),
            timeout=self._timeout,
            headers={**self._client.default_headers, "Accept": _JSON},
        )

    async def _authorization(self) -> Mapping[str, str]:
        # It reads the token again when its time is over.
        value = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": value} if value else {}


def path_of(*segments: str) -> str:
    """Return a path of the API with each segment quoted."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)
