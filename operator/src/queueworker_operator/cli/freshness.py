"""Whether a status is of the present: an operator that is down leaves the last one standing (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queueworker_operator.cluster.port import JsonObject

LATE_SECONDS = 30.0
"""How long an operator that runs may need to answer to a spec."""
LATE_MOMENT_SECONDS = 600.0
"""The same of a moment that is over: that it came later is a mere number, and of those five statuses a second are
written, of all QueueWorkers together."""
NOT_YET = "the operator has not looked at it yet: is it running, and does it serve this namespace?"
_ASK = "is the operator running, and does it serve this namespace?"


def staleness(document: JsonObject, *, now: datetime) -> str | None:
    """Return why the status of a QueueWorker says nothing of the present; None where it is as it should be.

    At rest no status is written, so its age tells nothing. What tells is a spec that changed since, or a moment that
    the status itself names and that is over. The API server keeps the time of a change in metadata.managedFields.
    """
    metadata, status = document["metadata"], document.get("status") or {}
    if "deletionTimestamp" in metadata:
        return None
    if not status:
        return NOT_YET if _is_late(time_of(metadata.get("creationTimestamp")), now) else None
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if generation is not None and observed is not None and observed < generation:
        late = _is_late(_changed_at(metadata), now)
        return f"the status is of an older spec, generation {observed} of {generation}: {_ASK}" if late else None
    over = min((at for at in _moments(status) if _is_late(at, now, LATE_MOMENT_SECONDS)), default=None)
    if over is None:
        return None
    return f"the status is outdated, what it waits for was over at {over.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {_ASK}"


def time_of(text: Any) -> datetime | None:
    """Return a time of the API; one without a zone is UTC."""
    if not isinstance(text, str):
        return None
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _is_late(time: datetime | None, now: datetime, seconds: float = LATE_SECONDS) -> bool:
    return time is None or (now - time).total_seconds() > seconds


def _changed_at(metadata: JsonObject) -> datetime | None:
    """Return when anything but the status was written last."""
    fields = [one for one in metadata.get("managedFields") or () if one.get("subresource") != "status"]
    return max((at for one in fields if (at := time_of(one.get("time"))) is not None), default=None)


def _moments(status: JsonObject) -> Iterator[datetime]:
    for limit in (status.get("scaling") or {}).get("limits") or ():
        if (until := time_of(limit.get("until"))) is not None:
            yield until
