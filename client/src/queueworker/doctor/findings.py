"""What a check found."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Status(enum.StrEnum):
    """How it stands with one thing, from harmless to not."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at."""
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is what to do, None where nothing is to be done."""

    check: str
    status: Status
    message: str
    remedy: str | None = None
    queue: str | None = None


def ok(check: str, message: str, *, queue: str | None = None) -> Finding:
    """Return a finding that is fine."""
    return Finding(check, Status.OK, message, None, queue)


def unknown(check: str, message: str, remedy: str, *, queue: str | None = None) -> Finding:
    """Return that something could not be looked at."""
    return Finding(check, Status.UNKNOWN, message, remedy, queue)


def warning(check: str, message: str, remedy: str, *, queue: str | None = None) -> Finding:
    """Return something that will hurt sooner or later."""
    return Finding(check, Status.WARNING, message, remedy, queue)


def error(check: str, message: str, remedy: str, *, queue: str | None = None) -> Finding:
    """Return something that hurts now."""
    return Finding(check, Status.ERROR, message, remedy, queue)


def worst(findings: Iterable[Finding]) -> Status:
    """Return the worst status of all; what is unknown is less bad than a warning."""
    order = list(Status)
    return max((one.status for one in findings), key=order.index, default=Status.OK)
