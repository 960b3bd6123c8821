"""A small synchronous client for the Kubernetes API: JSON objects in and out, nothing cached."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlencode, urlsplit

from controlplane.errors import ClusterError
from controlplane.kubeconfig import Access

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(ClusterError):
    """The API server answered with an error; `status` is the HTTP status, `reason` and `message` are its words."""

    def __init__(self, method: str, path: str, status: int, body: Object) -> None:
        self.status = status
        self.reason = str(body.get("reason", ""))
        self.message = str(body.get("message", ""))
        super().__init__(f"{method} {path}: {status} {self.reason}: {self.message}")


class Api:
    """Requests to one API server as one user. Every call opens its own connection: a few ms, no shared state."""

    def __init__(self, access: Access, *, timeout: float = 30.0) -> None:
        parts = urlsplit(access.server)
        self._host, self._port = parts.hostname or "", parts.port
        self._token = access.token
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=access.ca_file)

    def get(self, path: str, **query: str) -> Object:
        """Read an object or a list, with `labelSelector` and the like as keywords."""
        return self._json("GET", path, query=query)

    def create(self, path: str, body: Object) -> Object:
        """POST an object to its collection."""
        return self._json("POST", path, body=body)

    def replace(self, path: str, body: Object) -> Object:
        """PUT an object."""
        return self._json("PUT", path, body=body)

    def patch(self, path: str, body: Object, *, content_type: str = MERGE_PATCH) -> Object:
        """Patch an object, by default with a JSON merge patch."""
        return self._json("PATCH", path, body=body, content_type=content_type)

    def apply(self, path: str, body: Object, *, manager: str = "tests") -> Object:
        """Apply an object on the server's side, taking over fields of others."""
        query = {"fieldManager": manager, "force": "true"}
        return self._json("PATCH", path, query=query, body=body, content_type=APPLY_PATCH)

    def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete an object, with DeleteOptions as the body."""
        return self._json("DELETE", path, body=body)

    def text(self, path: str) -> str:
        """Read a path that does not answer JSON, such as /readyz."""
        status, content = self._request("GET", path)
        if status >= 400:
            raise ApiError("GET", path, status, {"message": content.decode(errors="replace")})
        return content.decode()

    def _json(self, method: str, path: str, *, query: dict[str, str] | None = None, **request: Any) -> Object:
        status, content = self._request(method, f"{path}?{urlencode(query)}" if query else path, **request)
        body: Object = _decode(content)
        if status >= 400:
            raise ApiError(method, path, status, body)
        return body

    def _request(
        self, method: str, target: str, *, body: Object | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Content-Type": content_type}
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=self._timeout)
        try:
            connection.request(method, target, body=None if body is None else json.dumps(body), headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _decode(content: bytes) -> Object:
    try:
        decoded = json.loads(content)
    except ValueError:
        return {"message": content.decode(errors="replace")}
    return decoded if isinstance(decoded, dict) else {"message": str(decoded)}
