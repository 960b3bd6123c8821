"""Requests to the API server: JSON objects in and out, one deadline each, and only ClusterErrors."""

import json
import os
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.errors import refusal
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, JsonObject

TIMEOUT_SECONDS: Final = 10.0
APPLY: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"


class Requests:
    """The API server as one user.

    The objects are read as the server sends them: the typed models of the client library would lose what they do not
    know, and take longer than the request itself.
    """

    def __init__(self, client: ApiClient, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

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
        configuration = Configuration()
        try:
            if kubeconfig is None and context is None:
                await _load_default(configuration)
            else:
                await _load(configuration, kubeconfig=kubeconfig, context=context)
        except (ConfigException, OSError) as error:
            message = f"no way to the cluster: {error}; name a kubeconfig, or run in a pod with a service account"
            raise ClusterError(message, reason=ConditionReason.CLUSTER_DENIED) from error
        configuration.connection_pool_maxsize = connections
        return cls(ApiClient(configuration), timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, *, attempt: str, **query: str) -> JsonObject:
        """Read an object or a list."""
        return await self.send("GET", path, attempt=attempt, query=query)

    async def send(
        self,
        method: str,
        path: str,
        *,
        attempt: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | list[JsonObject] | None = None,
        content_type: str = "application/json",
        invalid: ConditionReason = ConditionReason.CLUSTER_DENIED,
    ) -> JsonObject:
        """Send one request and return the answer.

        Raises NotFoundError, ConflictError, ClusterUnavailableError, or ClusterError with what the server said.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            # The errors of both libraries may carry headers and bodies: none of them is handed on as a cause.
            status, headers, content = await self._exchange(method, target, body=body, content_type=content_type)
        except TimeoutError:
            raise ClusterUnavailableError(f"cannot {attempt}: no answer in {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterUnavailableError(f"cannot {attempt}: {type(error).__name__}: {error}") from None
        answer = _decoded(content)
        if status >= 400:
            raise refusal(status, answer, headers, attempt=attempt, invalid=invalid)
        if "kind" not in answer:
            raise ClusterUnavailableError(
                f"cannot {attempt}: the answer is no Kubernetes object; check the server's URL"
            )
        return answer

    async def _exchange(
        self, method: str, target: str, *, body: JsonObject | list[JsonObject] | None, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        _, url, sent, content, _ = await self._client.param_serialize(
            method, target, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = await self._client.call_api(
            method, url, header_params=sent, body=content, _request_timeout=self._timeout
        )
        return response.status, response.headers, await response.read()  # type: ignore[no-untyped-call]


def path_of(*segments: str) -> str:
    """Return a path of the API with each segment quoted."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


async def _load_default(configuration: Configuration) -> None:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        await _load(configuration, kubeconfig=None, context=None)


async def _load(configuration: Configuration, *, kubeconfig: str | None, context: str | None) -> None:
    # The library looks at KUBECONFIG when it is imported, and never again.
    path = kubeconfig or os.environ.get("KUBECONFIG") or None
    await load_kube_config(  # type: ignore[no-untyped-call]
        path, context, client_configuration=configuration, persist_config=False
    )


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        # A proxy or an overloaded server answers in plain text.
        return {"message": content[:1000].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)[:1000]}
