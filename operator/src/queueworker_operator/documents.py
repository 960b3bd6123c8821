"""The documents of the files that `up` is given: QueueWorkers, and the Secrets and ConfigMaps that they refer to."""

from __future__ import annotations

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
from queueworker_operator.cluster.resource import resource_of, unknown_fields

API_VERSION = f"{GROUP}/{VERSION}"


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
    found: list[tuple[str, Any]] = []
    problems: list[str] = []
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {error}")
        except yaml.YAMLError as error:
            problems.append(f"{path}: is not YAML: {_yaml_fault(error)}")
        else:
            found += [(f"{path}, document {n}", document) for n, document in enumerate(documents, 1) if document]
    return of_documents(found, known_problems=problems)


def of_documents(found: Iterable[tuple[str, Any]], *, known_problems: Iterable[str] = ()) -> Documents:
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
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        yield "metadata.name: is needed"
    if kind == KIND and not isinstance(document.get("spec"), Mapping):
        yield "spec: is needed"


def _faults_of_resource(
    document: Mapping[str, Any], resource: Resource, *, known: Mapping[Key, Resource]
) -> Iterator[str]:
    if resource.key in known:
        yield f"metadata.name: there are two QueueWorkers {resource.key}"
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
