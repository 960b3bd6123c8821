"""Lay `worker.podTemplate` over a pod template, much as a strategic merge patch does."""

from collections.abc import Mapping
from typing import Any, Final

_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_WHOLE: Final = frozenset({"env", "volumes"})
"""Lists of one-of-many: an item replaces its namesake, else a variable would get both value and valueFrom."""


def overlay(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `patch` laid over it; neither is changed.

    Maps are merged, and null removes a field. Containers, variables and volumes match by name, mounts by path, ports
    by number; other lists are replaced. What does not match follows in the order of the patch.
    """
    merged = dict(base)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(name, merged.get(name), value)
    return merged


def _merged(name: str, base: Any, patch: Any) -> Any:
    if isinstance(patch, Mapping):
        return overlay(base if isinstance(base, Mapping) else {}, patch)
    key = _KEYS.get(name)
    if key is None or not _is_keyed(patch, key):
        return patch
    return _merged_list(base if _is_keyed(base, key) else [], patch, key=key, whole=name in _WHOLE)


def _is_keyed(items: Any, key: str) -> bool:
    return isinstance(items, list) and all(isinstance(item, Mapping) and key in item for item in items)


def _merged_list(
    base: list[Mapping[str, Any]], patch: list[Mapping[str, Any]], *, key: str, whole: bool
) -> list[dict[str, Any]]:
    merged = [dict(item) for item in base]
    for item in patch:
        at = next((index for index, known in enumerate(merged) if known[key] == item[key]), None)
        if at is None:
            merged.append(overlay({}, item))
        else:
            merged[at] = overlay({} if whole else merged[at], item)
    return merged
