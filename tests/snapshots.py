"""The reading of a queue that is there and holds nothing, for tests of what is made of readings."""

from dataclasses import replace
from typing import Any

from queueworker.snapshot import QueueSnapshot

_EMPTY = QueueSnapshot(
    prefix="bull",
    queue="q",
    now_ms=0,
    exists=True,
    waiting=0,
    prioritized=0,
    delayed=0,
    delayed_due=0,
    delayed_due_soon=0,
    next_delayed_ms=None,
    active=0,
    waiting_children=0,
    completed=0,
    failed=0,
    legacy_paused=0,
    paused=False,
    oldest_ready_ms=None,
    global_concurrency=None,
    rate_limit_max=None,
    rate_limit_duration_ms=None,
    rate_limited_for_ms=0,
    added_count=0,
    completed_count=None,
    failed_count=None,
    next_scheduler_ms=None,
)


def empty_but_for(**values: Any) -> QueueSnapshot:
    """Return a reading of a queue that is empty but for `values`."""
    return replace(_EMPTY, **values)
