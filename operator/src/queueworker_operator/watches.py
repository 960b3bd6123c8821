"""kopf, which watches QueueWorkers and their Deployments and tells the door what it sees, from its start to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import kopf

from queueworker.settings import Node
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.answers import NO_EVENT
from queueworker_operator.cluster.kubernetes.errors import one_line, strange_answer
from queueworker_operator.cluster.port import ClusterError
from queueworker_operator.handlers import Door, kopf_settings, register

_ENDING_SECONDS = 1.0
"""What kopf gets to end in order: its watches take up to half a second."""


async def watch(
    door: Door,
    namespaces: Sequence[str],
    *,
    stop: asyncio.Event,
    ready: asyncio.Event,
    end: Callable[..., Awaitable[None]],
) -> None:
    """Watch, in all namespaces where none is named, until `stop` is set or a signal comes.

    `ready` is set once kopf runs, `end` is called before it closes its connections. Raises ClusterError where it may
    not watch any more.
    """
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(_login)
    kopf.on.cleanup(registry=registry, id="end")(end)
    register(registry, door)
    stopped = asyncio.create_task(stop.wait(), name="stopped")
    others = asyncio.all_tasks()
    roots = await kopf.spawn_tasks(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )
    watching = asyncio.create_task(kopf.run_tasks(roots, ignored=others), name="kopf")
    await _until_stopped(watching, stopped)
    error = _failure((*roots, watching))
    if error is not None:
        # kopf gives up a watch that is refused, by errors that have no public names.
        raise broken(error) from error


def broken(error: BaseException) -> ClusterError:
    """Return what an error means that ended kopf: it takes an answer apart before it looks at it."""
    if isinstance(error, ValueError | KeyError | TypeError | aiohttp.ContentTypeError):
        what = f"{NO_EVENT} ({type(error).__name__}: {one_line(str(error))})"
        return strange_answer("watch the QueueWorkers and their Deployments", what)
    message = f"the watches broke: {error}; are the CRD and the operator's rights still there?"
    return ClusterError(message, reason=ConditionReason.CLUSTER_DENIED)


async def _until_stopped(watching: asyncio.Task[None], stopped: asyncio.Task[Any]) -> None:
    """Wait for kopf, and once told to stop no longer than it needs.

    Where it is stopped while it asks what kinds there are, it leaves those requests behind, closes their connections,
    and waits 5 s for them while they try again.
    """
    try:
        await asyncio.wait((watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((watching,), timeout=_ENDING_SECONDS)
    finally:
        for task in (watching, stopped):
            task.cancel()
        await asyncio.gather(watching, stopped, return_exceptions=True)


def _failure(tasks: Collection[asyncio.Task[Any]]) -> BaseException | None:
    """Return what a task of kopf's ended by, which kopf itself raises too late where it waits for others."""
    ended = (task.exception() for task in tasks if task.done() and not task.cancelled())
    return next((error for error in ended if error is not None), None)


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    account = kopf.login_with_service_account(**kwargs)
    if account is None:
        return kopf.login_with_kubeconfig(**kwargs)
    # kopf asks DNS for the API server; the kubelet's variables hold before DNS does, and are what our requests use.
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return replace(account, server=f"https://{Node(host=host, port=int(port))}") if host else account
