"""The watch of HorizontalPodAutoscalers. kopf's would end the operator where the right to see them is taken away."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.answers import NO_EVENT
from queueworker_operator.cluster.kubernetes.errors import NotFoundError, refusal, strange_answer
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError, JsonObject
from queueworker_operator.cluster.rivals import Autoscaler, Rivals

logger = logging.getLogger(__name__)

_WATCH_SECONDS: Final = 300
_AGAIN_SECONDS: Final = 1.0
"""After a watch that the server ended, which it may do at once, and one that began too far back."""
_FIRST_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 60.0
_PLURAL: Final = "horizontalpodautoscalers"


class AutoscalerWatch:
    """Keeps `Rivals` up to date. Where autoscalers may not be seen it says so once, and asks again every minute."""

    def __init__(
        self,
        requests: Requests,
        rivals: Rivals,
        namespaces: Sequence[str],
        *,
        first_seconds: float = _FIRST_SECONDS,
        longest_seconds: float = _LONGEST_SECONDS,
        watch_seconds: int = _WATCH_SECONDS,
    ) -> None:
        """Without namespaces it is those of all. After failures it waits from `first_seconds` to `longest_seconds`."""
        self._requests = requests
        self._rivals = rivals
        self._failures = _Failures(rivals, first_seconds=first_seconds, longest_seconds=longest_seconds)
        self._watch_seconds = watch_seconds
        self._versions: dict[str | None, str | None] = dict.fromkeys(namespaces or (None,))
        """Up to where each namespace is known; None where it has to be listed."""

    async def list(self) -> None:
        """List them all, where that is allowed, so that no look begins without them.

        Raises ClusterUnavailableError.
        """
        for namespace in self._versions:
            try:
                await self._list(namespace)
            except ClusterUnavailableError:
                raise
            except ClusterError as error:
                self._failures.add(namespace, error)

    async def run(self) -> None:
        """Follow them for ever."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._versions:
                tasks.create_task(self._follow(namespace))

    async def _follow(self, namespace: str | None) -> None:
        while True:
            try:
                if self._versions[namespace] is None:
                    await self._list(namespace)
                await self._watch(namespace)
                pause = _AGAIN_SECONDS
            except ClusterError as error:
                # What it missed meanwhile is told by a list alone.
                self._versions[namespace] = None
                pause = self._failures.add(namespace, error)
            await asyncio.sleep(pause)

    async def _list(self, namespace: str | None) -> None:
        names, version = set(), None
        attempt = f"list the HorizontalPodAutoscalers {_where(namespace)}"
        async for page in self._requests.pages(_path(namespace), attempt=attempt):
            # All pages are of one moment.
            version = page["metadata"]["resourceVersion"]
            for item in page["items"] or ():
                found = _autoscaler(item, attempt=attempt, instead="no list of them")
                self._rivals.saw_autoscaler(None, found)
                names.add((found.namespace, found.name))
        self._rivals.listed(namespace, names)
        self._versions[namespace] = version

    async def _watch(self, namespace: str | None) -> None:
        """Take in what is told until the watch ends; raises ClusterError where it told nothing, or began too far back.

        One that told something and broke goes on from there: a server that is gone refuses the next one.
        """
        attempt, told = f"watch the HorizontalPodAutoscalers {_where(namespace)}", False
        events = self._requests.stream(
            _path(namespace),
            attempt=attempt,
            seconds=self._watch_seconds,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._versions[namespace] or "",
        )
        try:
            async with aclosing(events):
                async for event in events:
                    self._saw(namespace, event, attempt=attempt)
                    told = True
        except ClusterUnavailableError:
            if not told:
                raise
        self._failures.end(namespace)

    def _saw(self, namespace: str | None, event: JsonObject, *, attempt: str) -> None:
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            # The status that the answer would have had, had it not begun: 410 where the version is no longer there.
            code = body["code"] if isinstance(body.get("code"), int) else 500
            raise refusal(code, body, {}, attempt=attempt, invalid=ConditionReason.CLUSTER_DENIED)
        if kind != "BOOKMARK":
            self._rivals.saw_autoscaler(kind, _autoscaler(body, attempt=attempt, instead=NO_EVENT))
        self._versions[namespace] = _version(body, attempt=attempt)
        self._failures.end(namespace)


class _Failures:
    """Failures in a row of each namespace: how long to wait after them, and what to say of them once."""

    def __init__(self, rivals: Rivals, *, first_seconds: float, longest_seconds: float) -> None:
        self._rivals = rivals
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._pauses: dict[str | None, float] = {}
        """The last one, where the last attempt failed."""
        self._denied: set[str | None] = set()
        self._troubled: set[str | None] = set()

    def add(self, namespace: str | None, error: ClusterError) -> float:
        """Take note of one; return in how many seconds to go on."""
        last = self._pauses.get(namespace, 0.0)
        if _expired(error) and not last:
            pause = _AGAIN_SECONDS
        elif _expired(error) or isinstance(error, ClusterUnavailableError):
            self._trouble(namespace, error)
            pause = min(self._longest_seconds, max(self._first_seconds, 2 * last))
        else:
            self._denial(namespace, error)
            pause = self._longest_seconds
        self._pauses[namespace] = pause
        asked = error.retry_after_seconds if isinstance(error, ClusterUnavailableError) else None
        return max(pause, asked or 0.0)

    def end(self, namespace: str | None) -> None:
        """Take note that the watch works: no list shows that, as one may be allowed or let through alone."""
        self._pauses.pop(namespace, None)
        if namespace in self._denied:
            self._denied.discard(namespace)
            self._rivals.may_see(namespace)
            logger.warning("the HorizontalPodAutoscalers %s are seen again", _where(namespace))
        if namespace in self._troubled:
            self._troubled.discard(namespace)
            if not self._troubled:
                logger.warning("the watch of the HorizontalPodAutoscalers works again")

    def _trouble(self, namespace: str | None, error: ClusterError) -> None:
        # A server that is away is away for all namespaces: one line.
        if not self._troubled:
            logger.warning("%s; an autoscaler that comes or goes is seen late until the watch works again", error)
        self._troubled.add(namespace)

    def _denial(self, namespace: str | None, error: ClusterError) -> None:
        if namespace not in self._denied:
            self._denied.add(namespace)
            remedy = f"grant the operator the verbs list and watch on {_PLURAL}.autoscaling"
            self._rivals.may_not_see(namespace, f"{error}; {remedy}")
            logger.warning(
                "%s; whether another autoscaler writes the number of the same workers is not known, those seen before "
                "count as there: %s",
                error,
                remedy,
            )


def _autoscaler(body: JsonObject, *, attempt: str, instead: str) -> Autoscaler:
    try:
        return Autoscaler.of(body)
    except ValueError:
        raise strange_answer(attempt, instead) from None


def _version(body: JsonObject, *, attempt: str) -> str:
    metadata = body.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(version, str):
        raise strange_answer(attempt, NO_EVENT)
    return version


def _expired(error: ClusterError) -> bool:
    return isinstance(error, ConflictError) and not isinstance(error, NotFoundError)


def _path(namespace: str | None) -> str:
    within = ("namespaces", namespace) if namespace is not None else ()
    return path_of("apis", "autoscaling", "v2", *within, _PLURAL)


def _where(namespace: str | None) -> str:
    return "of all namespaces" if namespace is None else f"in {namespace}"
