"""What the watch and our own writes told last of each Deployment, so that a look need not ask."""

from collections.abc import Collection, Mapping, Set
from dataclasses import replace

from queueworker_operator.cluster.kubernetes.deployments import Deployment, deployment_of
from queueworker_operator.cluster.port import JsonObject, Key


class Watched:
    """Deployments by key, never older than what we wrote or read ourselves.

    resourceVersions of one object are compared as numbers: they are etcd's revisions, and Kubernetes promises their
    order since 1.35 (KEP-5504). Where one is no number, nothing is remembered.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, Deployment] = {}
        self._unsure: set[Key] = set()
        """Keys that must be read: a write is under way, or its end is not known."""
        self._untold: set[Key] = set()
        """Keys that requests alone have told of: as long as the watch is not open, their end is told by nobody."""
        self._listed = False

    def __len__(self) -> int:
        return len(self._seen)

    def listed(self) -> None:
        """Take note that all Deployments with our label have been seen: who is not here does not exist."""
        self._listed = True

    @property
    def untold(self) -> Set[Key]:
        """Return those of which the watch has not told yet."""
        return self._untold

    def uids(self) -> dict[Key, str]:
        """Return the uids of all that are known."""
        return {key: found.uid for key, found in self._seen.items()}

    def missed(self, before: Mapping[Key, str], *, uids: Collection[str]) -> list[Key]:
        """Forget what was known before a list that has none of its uids: it is gone. Return the keys."""
        gone = [key for key, uid in before.items() if uid not in uids and key in self._seen]
        # A successor may have been made since.
        gone = [key for key in gone if self._seen[key].uid == before[key]]
        for key in gone:
            self._drop(key)
        return gone

    def saw(self, kind: str | None, body: JsonObject) -> bool:
        """Take in what the watch told; `kind` is None for those of its list. Return whether it is news to us."""
        metadata, key = body["metadata"], key_of(body)
        self._untold.discard(key)
        known, version = self._seen.get(key), _number(metadata["resourceVersion"])
        if version is None:
            self._forget(key)
        elif kind == "DELETED":
            # The events of two objects of one name may overtake each other.
            if known is not None and known.uid != metadata["uid"] and version <= _version(known):
                return False
            self._drop(key)
        elif known is not None and version <= _version(known):
            return False
        else:
            self._seen[key] = deployment_of(body)
        return True

    def knows(self, key: Key) -> bool:
        """Whether `get` can be trusted."""
        return key not in self._unsure and (key in self._seen or self._listed)

    def get(self, key: Key) -> Deployment | None:
        """Return what was last seen; None where there is none."""
        return self._seen.get(key)

    def read(self, key: Key, found: Deployment | None) -> None:
        """Take in what a request answered; None where there is none."""
        known = self._seen.get(key)
        if found is None:
            self._drop(key)
        elif not found.watched or _number(found.resource_version) is None:
            return self._forget(key)
        elif known is None or _version(found) > _version(known):
            self._seen[key] = found
            if known is None:
                self._untold.add(key)
        self._unsure.discard(key)

    def writing(self, key: Key) -> None:
        """Trust nothing of this key from now on, until `read` or `wrote_replicas` says how it is."""
        self._unsure.add(key)

    def wrote_replicas(self, key: Key, replicas: int, *, resource_version: str) -> None:
        """Take in the answer to a write of the number, which is all of the Deployment that it tells."""
        known = self._seen.get(key)
        if known is not None and _number(resource_version) is not None:
            # The controller has not looked at the new generation yet.
            self.read(key, replace(known, replicas=replicas, resource_version=resource_version, rollout_complete=None))

    def _forget(self, key: Key) -> None:
        self._drop(key)
        self._unsure.add(key)

    def _drop(self, key: Key) -> None:
        self._seen.pop(key, None)
        self._untold.discard(key)


def key_of(body: JsonObject) -> Key:
    """Return namespace and name of an object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def _number(resource_version: str) -> int | None:
    return int(resource_version) if resource_version.isdecimal() else None


def _version(found: Deployment) -> int:
    return int(found.resource_version)
