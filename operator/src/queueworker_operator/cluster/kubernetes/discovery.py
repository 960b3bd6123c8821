"""Which resource a kind is, as the API server itself tells: its discovery documents, remembered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from queueworker_operator.api.v1alpha1 import TargetRef
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.port import JsonObject

_FOUND_SECONDS: Final = 600.0
_MISSING_SECONDS: Final = 10.0
_SCALE: Final = "/scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of object in a namespace."""

    path: tuple[str, ...]
    """Segments of the path before the namespace: apis, apps, v1."""
    group: str
    plural: str
    scales: bool
    """Whether it has a scale subresource."""

    def object(self, namespace: str, name: str) -> str:
        """Return the path of one object."""
        return path_of(*self.path, "namespaces", namespace, self.plural, name)


class Discovery:
    """The kinds of an API server."""

    def __init__(self, requests: Requests, *, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._known: dict[str, tuple[float, JsonObject]] = {}

    async def kind(self, reference: TargetRef) -> Kind | None:
        """Return the kind that a targetRef names; None where the server has none of it in namespaces.

        Raises ClusterError.
        """
        version = reference.api_version
        found = _find(await self._resources(version, within=_FOUND_SECONDS), reference)
        if found is None or not found.scales:
            # A CRD may have come, or got its scale subresource, since.
            found = _find(await self._resources(version, within=_MISSING_SECONDS), reference)
        return found

    async def _resources(self, api_version: str, *, within: float) -> JsonObject:
        read_at, known = self._known.get(api_version, (0.0, None))
        if known is None or self._clock() - read_at > within:
            try:
                known = await self._requests.get(
                    path_of(*_segments(api_version)), attempt=f"read which kinds {api_version} has"
                )
            except NotFoundError:
                known = {"resources": []}
            self._known[api_version] = (self._clock(), known)
        return known


def _find(document: JsonObject, reference: TargetRef) -> Kind | None:
    resources = [resource for resource in document["resources"] if resource["namespaced"]]
    for resource in resources:
        if resource["kind"] == reference.kind and "/" not in resource["name"]:
            return Kind(
                path=_segments(reference.api_version),
                group=reference.api_version.rpartition("/")[0],
                plural=resource["name"],
                scales=any(other["name"] == resource["name"] + _SCALE for other in resources),
            )
    return None


def _segments(api_version: str) -> tuple[str, ...]:
    group, _, version = api_version.rpartition("/")
    return ("apis", group, version) if group else ("api", version)
