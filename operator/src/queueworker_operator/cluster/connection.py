"""From `spec.redis` and its Secrets to settings that can be connected with, and the guard before the connect."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import Redis
from queueworker_operator.cluster.port import ClusterError, Secret
from queueworker_operator.manifests.addresses import refused_address, refused_hosts
from queueworker_operator.manifests.connection import operator_connection
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.queues.port import Reader
from queueworker_operator.queues.registry import open_reader


def connection_settings(
    redis: Redis, secrets: Mapping[str, Secret], *, directory: Path, for_operator: bool
) -> ConnectionSettings:
    """Return how the operator, or a worker of this host, reaches this Redis; TLS files are written below `directory`.

    Their directory is named after what is in them, so that other certificates make other settings. Raises ClusterError
    where a Secret lacks a key.
    """
    seen = redis if for_operator else redis.model_copy(update={"operator_auth": None})
    try:
        found = operator_connection(seen, secrets, tls_directory=str(directory))
        if found.files:
            found = operator_connection(seen, secrets, tls_directory=str(_write(found.files, directory)))
        return found.settings
    except ManifestError as error:
        raise ClusterError(str(error), reason=error.reason) from error


def refuse_local_hosts(redis: Redis) -> None:
    """Raise ClusterError where a host is by its name the operator's own machine or a metadata service."""
    sentences = refused_hosts(redis)
    if sentences:
        raise ClusterError("; ".join(sentences), reason=ConditionReason.SPEC_INVALID)


def open_guarded_reader(settings: ConnectionSettings) -> Reader:
    """Return a reader that looks up the hosts first and refuses those that lead to the operator's own machine."""
    return _GuardedReader(settings)


class _GuardedReader:
    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._reader = open_reader(settings)
        self._checked = False

    @property
    def can_wait(self) -> bool:
        """That of the reader behind."""
        return self._reader.can_wait

    @property
    def server_seconds_per_queue(self) -> float | None:
        """That of the reader behind."""
        return self._reader.server_seconds_per_queue

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int | Mapping[QueueKeys, int], deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        """Read as the reader behind does, once the addresses are known to be fit."""
        await self._check_once()
        return await self._reader.read(queues, horizon_ms=horizon_ms, deadline_seconds=deadline_seconds)

    async def read_details(
        self, queues: Sequence[QueueKeys], *, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        """Likewise."""
        await self._check_once()
        return await self._reader.read_details(queues, deadline_seconds=deadline_seconds)

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        """Likewise."""
        await self._check_once()
        return await self._reader.wait(after, block_ms=block_ms)

    async def aclose(self) -> None:
        """Close the reader behind."""
        await self._reader.aclose()

    async def _check_once(self) -> None:
        if not self._checked:
            await self._check()
            self._checked = True

    async def _check(self) -> None:
        for host in _hosts(self._settings):
            try:
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except OSError as error:
                raise RedisReadError(f"Redis {self._settings.address}: {host} has no address: {error}") from None
            for _, _, _, _, address in found:
                sentence = refused_address(str(address[0]))
                if sentence is not None:
                    raise RedisReadError(f"{host}: {sentence}", reason=ConditionReason.SPEC_INVALID)


def _hosts(settings: ConnectionSettings) -> list[str]:
    group = settings.sentinel or settings.cluster
    return [node.host for node in group.nodes] if group is not None else [settings.host or ""]


def _write(files: Mapping[str, bytes], root: Path) -> Path:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    directory = root / digest.hexdigest()[:32]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in files.items():
        if not (directory / name).exists():
            part = directory / f"{name}.part"
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            part.replace(directory / name)
    return directory
