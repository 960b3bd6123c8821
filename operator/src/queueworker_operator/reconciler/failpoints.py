"""Sudden death at chosen points: a hook for tests of what a restart finds, armed by an environment variable alone.

QUEUEWORKER_OPERATOR_FAILPOINT names one point. Where a change is about to pass it, the process ends at once and without
any clean-up, as by a kill; without the variable nothing happens.
"""

from __future__ import annotations

import os
from enum import StrEnum

VARIABLE = "QUEUEWORKER_OPERATOR_FAILPOINT"
EXIT_CODE = 86


class Failpoint(StrEnum):
    """Where the process may end."""

    AFTER_DECIDE = "after-decide"
    """A change is decided, nothing is written."""
    BEFORE_SCALE = "before-scale"
    """Victims bear their deletion cost, the number is not written."""
    AFTER_SCALE = "after-scale"
    """The number is written, no status tells of it."""
    BEFORE_STATUS = "before-status"
    AFTER_STATUS = "after-status"


def armed(point: Failpoint) -> bool:
    """Whether the process is to end at this point."""
    return os.environ.get(VARIABLE) == point


def reach(point: Failpoint) -> None:
    """End the process if this is the point."""
    if armed(point):
        os._exit(EXIT_CODE)
