"""What can be told of an error that a processor raised: foreign classes, of which everything may fail."""

from __future__ import annotations

import traceback
from types import TracebackType


def message_of(error: BaseException) -> str:
    """Return an error's message; empty where it cannot be had."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a foreign __str__ may do anything
        return ""


def trace_of(error: BaseException) -> str:
    """Return an error's traceback from the processor on: the worker's own frames tell its author nothing."""
    return "".join(traceback.format_exception(type(error), error, _processors_own(error)))


def _processors_own(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("queueworker_worker."):
        trace = trace.tb_next
    return trace
