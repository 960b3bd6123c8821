"""Who else writes the number: as the watches told it, asked again before it counts for long."""

from collections.abc import Callable
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, Resource
from queueworker_operator.cluster.rivals import Autoscaler, Rivals
from queueworker_operator.scaling.observation import Problem

_CONFIRM_SECONDS: Final = 30.0


class Conflicts:
    """Names the other writer of a QueueWorker's number."""

    def __init__(self, requests: Requests, rivals: Rivals, *, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._rivals = rivals
        self._clock = clock
        self._confirmed: dict[Autoscaler, float] = {}

    async def of(self, resource: Resource, *, fresh: bool) -> str | None:
        """Return who writes the number of the same target and is not to be disturbed.

        `fresh`: an autoscaler must have been there within the last 30 s. A watch whose connection died in silence tells
        nothing until its time is over, minutes later, and scaling would stand still for one that is long gone.
        """
        found = self._rivals.autoscaler(resource)
        while found is not None and fresh and not await self._is_there(found):
            self._confirmed.pop(found, None)
            self._rivals.forget(found)
            found = self._rivals.autoscaler(resource)
        if found is not None:
            return found.shown
        elder = self._rivals.elder(resource)
        return f"QueueWorker {elder.key.name}" if elder is not None else None

    def unknown(self, resource: Resource) -> Problem | None:
        """Return why nobody knows whether an autoscaler writes the number; None where the watch tells."""
        why = self._rivals.unseen(resource)
        if why is None:
            return None
        message = f"whether another autoscaler writes it too is not known: {why}"
        return Problem(reason=ConditionReason.CLUSTER_DENIED, message=message)

    async def _is_there(self, autoscaler: Autoscaler) -> bool:
        now = self._clock()
        if now - self._confirmed.get(autoscaler, -_CONFIRM_SECONDS) < _CONFIRM_SECONDS:
            return True
        path = path_of("apis", "autoscaling", "v2", "namespaces", autoscaler.namespace, "horizontalpodautoscalers")
        try:
            # By a list, for which the watch has the right already.
            items = self._requests.items(
                path,
                attempt=f"look for the HorizontalPodAutoscaler {autoscaler.namespace}/{autoscaler.name}",
                fieldSelector=f"metadata.name={autoscaler.name}",
            )
            there = [item async for item in items]
        except ClusterUnavailableError:
            raise
        except ClusterError:
            return True
        self._confirmed[autoscaler] = now
        return bool(there)
