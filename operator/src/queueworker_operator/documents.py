"""The documents of the files that `up` and `simulate` are given: QueueWorkers, Secrets and ConfigMaps, and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from queueworker.errors import SettingsError
from queueworker.settings import ConnectionSettings
from queueworker_operator.api.v1alpha1 import GROUP, KIND, VERSION, Redis
from queueworker_operator.cluster.local_objects import KINDS, LocalObjects
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import DEFAULT_NAMESPACE, resource_of, unknown_fields

API_VERSION = f"{GROUP}/{VERSION}"
_MOST_CHARACTERS = 10_000_000
_LISTS = ("List", f"{KIND}List")
_Placed = tuple[str, Any]
"""A document, and before it its place, for messages."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class DocumentError(SettingsError):
    """Something is wrong with the documents; `problems` has one line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What is to run on this host."""

    resources: tuple[Resource, ...]
    objects: LocalObjects

    def on_redis(self, redis: ConnectionSettings, *, keep_auth: bool) -> Documents:
        """Return the same on this Redis, whatever the specs say; user, password and TLS stay where `keep_auth`."""
        return replace(self, resources=tuple(_moved(one, redis, keep_auth=keep_auth) for one in self.resources))


def read_files(paths: Iterable[Path]) -> Documents:
    """Read YAML files with one or more documents; raises DocumentError with all that is wrong in them."""
    found: list[_Placed] = []
    problems: list[str] = []
    for path in paths:
        try:
            found += _placed(path)
        except DocumentError as error:
            problems += error.problems
    return of_documents(found, known_problems=problems)


def read_queueworker(path: Path, name: str | None) -> Resource:
    """Return one QueueWorker of a YAML file, of which nothing else needs to be right; `name` may be `namespace/name`.

    Raises DocumentError with all that is wrong with it, or where it is not clear which one is meant.
    """
    found = [(where, one) for where, one in _placed(path) if not isinstance(one, Mapping) or one.get("kind") == KIND]
    keys = {where: _key_of(document) for where, document in found}
    chosen = [(where, one) for where, one in found if name is None or name in (keys[where].name, str(keys[where]))]
    meant = {keys[where] for where, _ in chosen if keys[where].name}
    if name is not None and not chosen:
        names = ", ".join(sorted({key.name for key in keys.values() if key.name})) or "none at all"
        raise DocumentError([f"{path} has no QueueWorker {name}, but {names}"])
    if len(meant) > 1:
        are_told_apart = len({key.name for key in meant}) == len(meant)
        names = ", ".join(sorted(key.name if are_told_apart else str(key) for key in meant))
        raise DocumentError([f"{path} has the QueueWorkers {names}: choose one by --name"])
    [resource] = of_documents(chosen).resources
    return resource


def _key_of(document: Any) -> Key:
    """Return the namespace and name that a document gives itself, however wrong it may be."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    given = metadata if isinstance(metadata, Mapping) else {}
    return Key(str(given.get("namespace") or DEFAULT_NAMESPACE), str(given.get("name") or ""))


def _placed(path: Path) -> list[_Placed]:
    """Return the documents of a file with their places; those of a List, as kubectl prints it, one by one."""
    placed: list[_Placed] = []
    for number, document in enumerate(_documents_of(path), 1):
        where = f"{path}, document {number}"
        if isinstance(document, Mapping) and document.get("kind") in _LISTS:
            items = document.get("items")
            if not isinstance(items, list):
                raise DocumentError([f"{where}: items: is a list of objects"])
            placed += [(f"{where}, item {n}", item) for n, item in enumerate(items, 1)]
        elif document:
            placed.append((where, document))
    return placed


def _documents_of(path: Path) -> list[Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MOST_CHARACTERS + 1)
        if len(text) > _MOST_CHARACTERS:
            raise DocumentError(
                [f"{path}: has more than {_MOST_CHARACTERS // 1_000_000} MB: name a file of QueueWorkers"]
            )
        return list(yaml.load_all(text, Loader=_Loader))
    except UnicodeDecodeError:
        raise DocumentError([f"{path}: is not YAML: it is not UTF-8"]) from None
    except OSError as error:
        raise DocumentError([f"{path}: cannot be read: {error.strerror}"]) from None
    except yaml.YAMLError as error:
        raise DocumentError([f"{path}: is not YAML: {_yaml_fault(error)}"]) from None
    except RecursionError:
        raise DocumentError([f"{path}: is nested too deeply"]) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, as kubectl does: the first would be lost without a word."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def of_documents(found: Iterable[_Placed], *, known_problems: Iterable[str] = ()) -> Documents:
    """Check documents, each with its place for messages; raises DocumentError with all that is wrong in them."""
    resources: dict[Key, Resource] = {}
    objects = LocalObjects()
    problems = list(known_problems)
    for where, document in found:
        faults = list(_faults_of_shape(document))
        if not faults and document["kind"] in KINDS:
            faults = _add(objects, document)
        elif not faults:
            resource = resource_of(document)
            faults = list(_faults_of_resource(document, resource, known=resources))
            resources[resource.key] = replace(resource, uid=str(resource.key), generation=1)
        problems += [f"{where}: {fault}" for fault in faults]
    if not resources and not problems:
        problems.append(f"there is no {KIND} in the files")
    if problems:
        raise DocumentError(problems)
    return Documents(resources=tuple(resources.values()), objects=objects)


def _faults_of_shape(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        yield "is no object: apiVersion, kind and metadata are needed"
        return
    kind, version = document.get("kind"), document.get("apiVersion")
    expected = {KIND: API_VERSION, **dict.fromkeys(KINDS, "v1")}
    if kind not in expected:
        yield f"kind {kind}: only {', '.join(expected)} run on this host"
        return
    if version != expected[kind]:
        yield f"apiVersion {version}: a {kind} has {expected[kind]}"
    yield from _faults_of_metadata(document.get("metadata"))
    if kind == KIND and not isinstance(document.get("spec"), Mapping):
        yield "spec: is needed"


def _faults_of_metadata(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, Mapping) or metadata.get("name") is None:
        yield "metadata.name: is needed"
        return
    for field in ("name", "namespace"):
        value = metadata.get(field)
        if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
            yield f"metadata.{field}: has lower-case letters, digits and dashes alone, and no dash at an end"
    for field in ("labels", "annotations"):
        values = metadata.get(field)
        if values is not None and not _are_texts(values):
            yield f"metadata.{field}: is an object of texts: put numbers and true or false in quotes"


def _are_texts(values: Any) -> bool:
    return isinstance(values, Mapping) and all(isinstance(value, str) for value in values.values())


def _faults_of_resource(
    document: Mapping[str, Any], resource: Resource, *, known: Mapping[Key, Resource]
) -> Iterator[str]:
    if resource.key in known:
        yield f"metadata.name: there are two QueueWorkers {resource.key}: rename one of them, or name its file once"
    if resource.spec_error is not None:
        yield resource.spec_error
    if resource.spec is not None:
        yield from unknown_fields(document, resource.spec)


def _add(objects: LocalObjects, document: Mapping[str, Any]) -> list[str]:
    try:
        objects.add(document)
    except ValueError as error:
        return [str(error)]
    return []


def _yaml_fault(error: yaml.YAMLError) -> str:
    """Say what and where; the error's own text repeats the line, which may hold a password."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{problem or 'it cannot be parsed'}{where}"


def _moved(resource: Resource, redis: ConnectionSettings, *, keep_auth: bool) -> Resource:
    if resource.spec is None:
        return resource
    before = resource.spec.redis if keep_auth else Redis()
    after = before.model_copy(
        update={"host": redis.host, "port": redis.port, "db": redis.db, "sentinel": None, "cluster": None}
    )
    return replace(resource, spec=resource.spec.model_copy(update={"redis": after}))
