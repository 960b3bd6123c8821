"""Who else writes the number of the same workers: other autoscalers, and QueueWorkers that are older."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from queueworker_operator.cluster.port import Key, Resource


class Target(NamedTuple):
    """What has a number of replicas; the API group of the core is empty."""

    namespace: str
    group: str
    kind: str
    name: str

    @classmethod
    def of(cls, resource: Resource) -> Target | None:
        """Return what a QueueWorker scales; None where its spec cannot be read."""
        if resource.spec is None:
            return None
        reference = resource.spec.target_ref
        if reference is None:
            return cls(resource.key.namespace, "apps", "Deployment", resource.key.name)
        return cls(resource.key.namespace, _group(reference.api_version), reference.kind, reference.name)


class Autoscaler(NamedTuple):
    """A HorizontalPodAutoscaler."""

    namespace: str
    name: str
    target: Target
    shown: str
    """As the user knows it: `ScaledObject mail (HorizontalPodAutoscaler keda-hpa-mail)`."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Autoscaler:
        """Read an object of the API; raises ValueError where it is none."""
        try:
            metadata, reference = body["metadata"], body["spec"]["scaleTargetRef"]
            namespace, name, kind = metadata["namespace"], metadata["name"], reference["kind"]
            target = Target(namespace, _group(reference.get("apiVersion", "")), kind, reference["name"])
            shown = f"HorizontalPodAutoscaler {name}"
            for owner in metadata.get("ownerReferences") or ():
                if owner.get("controller"):
                    shown = f"{owner['kind']} {owner['name']} ({shown})"
        except (AttributeError, KeyError, TypeError):
            raise ValueError("this is no HorizontalPodAutoscaler") from None
        return cls(namespace=namespace, name=name, target=target, shown=shown)


class Rivals:
    """What the watches told of autoscalers, and which QueueWorkers have one target."""

    def __init__(self, store: Mapping[Key, Resource]) -> None:
        """`store` holds the QueueWorkers."""
        self._store = store
        self._autoscalers: dict[tuple[str, str], Autoscaler] = {}
        self._of_target: dict[Target, dict[tuple[str, str], Autoscaler]] = {}
        self._keys: dict[Target, set[Key]] = {}
        self._taken: dict[Key, tuple[Target, bool]] = {}
        """By QueueWorker its target, and whether it writes the number."""
        self._unseen: dict[str | None, str] = {}
        """In which namespaces, or None for all, autoscalers may not be seen, and why."""
        self.look_again: Callable[[Key], None] = lambda key: None
        """Called with a QueueWorker whose rivals may have changed."""

    def saw_autoscaler(self, kind: str | None, found: Autoscaler) -> None:
        """Take in an event of a HorizontalPodAutoscaler; wakes where a target got one, lost one, or another one."""
        known = self._autoscalers.get((found.namespace, found.name))
        if kind == "DELETED":
            self.forget(found)
        elif found != known:
            self._drop(known)
            self._autoscalers[found.namespace, found.name] = found
            self._of_target.setdefault(found.target, {})[found.namespace, found.name] = found
            self._wake(found.target)

    def listed(self, namespace: str | None, names: Collection[tuple[str, str]]) -> None:
        """Take note that these, by namespace and name, are all that there are in a namespace, or in all of them."""
        for known in [one for one in self._autoscalers.values() if namespace in (None, one.namespace)]:
            if (known.namespace, known.name) not in names:
                self.forget(known)

    def forget(self, autoscaler: Autoscaler) -> None:
        """Take note that an autoscaler is gone."""
        self._drop(self._autoscalers.pop((autoscaler.namespace, autoscaler.name), None))

    def may_not_see(self, namespace: str | None, why: str) -> None:
        """Take note that the autoscalers of a namespace, or of all, may not be seen; those seen before stay."""
        self._unseen[namespace] = why
        self._wake_all(namespace)

    def may_see(self, namespace: str | None) -> None:
        """Take note that they are seen again."""
        if self._unseen.pop(namespace, None) is not None:
            self._wake_all(namespace)

    def unseen(self, resource: Resource) -> str | None:
        """Return why autoscalers of its target may not be seen; None where they are."""
        return self._unseen.get(None) or self._unseen.get(resource.key.namespace)

    def took(self, resource: Resource) -> None:
        """Take note of a QueueWorker as the store holds it now."""
        target = Target.of(resource)
        taken = (target, _writes(resource)) if target is not None else None
        if taken == self._taken.get(resource.key):
            return
        self.dropped(resource.key)
        if taken is not None:
            self._taken[resource.key] = taken
            self._keys.setdefault(taken[0], set()).add(resource.key)
            self._wake(taken[0], but=resource.key)

    def dropped(self, key: Key) -> None:
        """Take note that a QueueWorker is gone, or has another target."""
        if key not in self._taken:
            return
        target, _ = self._taken.pop(key)
        self._keys[target].discard(key)
        if not self._keys[target]:
            del self._keys[target]
        self._wake(target, but=key)

    def autoscaler(self, resource: Resource) -> Autoscaler | None:
        """Return the autoscaler that has the target of a QueueWorker, the first by name."""
        target = Target.of(resource)
        found = self._of_target.get(target) if target is not None else None
        return found[min(found)] if found else None

    def elder(self, resource: Resource) -> Resource | None:
        """Return the other QueueWorker that scales the same target, if this one does not: the oldest of them does.

        One that only decides (`dryRun`) or is on its way out scales nothing.
        """
        target = Target.of(resource)
        found = [self._store.get(key) for key in self._keys.get(target, ())] if target is not None else []
        writers = [other for other in found if other is not None and _writes(other) and Target.of(other) == target]
        first = min(writers, key=_age, default=None)
        return None if first is None or first.key == resource.key else first

    def _drop(self, known: Autoscaler | None) -> None:
        if known is None:
            return
        found = self._of_target[known.target]
        del found[known.namespace, known.name]
        if not found:
            del self._of_target[known.target]
        self._wake(known.target)

    def _wake_all(self, namespace: str | None) -> None:
        for key in tuple(self._store):
            if namespace in (None, key.namespace):
                self.look_again(key)

    def _wake(self, target: Target, *, but: Key | None = None) -> None:
        for key in tuple(self._keys.get(target, ())):
            if key != but:
                self.look_again(key)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _writes(resource: Resource) -> bool:
    autoscaling = resource.spec.autoscaling if resource.spec is not None else None
    return not resource.deleting and not (autoscaling is not None and autoscaling.dry_run)


def _age(resource: Resource) -> tuple[float, Key]:
    return resource.created_at, resource.key
