"""Errors that cross the border of a process: what they say, what they mean, and where they came from."""

from __future__ import annotations

import sys
from functools import reduce
from typing import Any

from queueworker_worker.errors import DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError
from queueworker_worker.job import storable
from queueworker_worker.raised import message_of, trace_of

_MEANINGS: tuple[type[Exception], ...] = (UnrecoverableError, DelayedError, WaitingChildrenError, RateLimitError)
_DETAILS = ("delay_ms", "until_ms", "limit_ms")


class ChildTraceback(Exception):  # noqa: N818 - it is no error, it shows where one was
    """The cause of an error that came from another process: its text is the traceback there."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class CarriedError(Exception):
    """An error from another process; its class bears the name of the original's, and is one of it where it can be."""

    def __init__(self, message: str) -> None:
        # The original's own __init__ may want anything; all that it made is in the text.
        self.message = message

    def __str__(self) -> str:
        return self.message


def encode(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON values; never fails."""
    meaning = next((one.__name__ for one in _MEANINGS if isinstance(error, one)), None)
    return {
        "module": type(error).__module__,
        "name": type(error).__qualname__,
        "message": storable(message_of(error)),
        "meaning": meaning,
        "details": _details(error) if meaning else {},
        "trace": storable(trace_of(error)),
    }


def decode(carried: dict[str, Any]) -> Exception:
    """Return the error to raise on this side: with the original's message, class name, meaning and traceback text."""
    error = _create(carried)
    for name, value in carried["details"].items():
        setattr(error, name, value)
    error.__cause__ = ChildTraceback(carried["trace"])
    return error


def _create(carried: dict[str, Any]) -> Exception:
    meaning = next((one for one in _MEANINGS if one.__name__ == carried["meaning"]), None)
    for original in (_known_here(carried["module"], carried["name"]), meaning):
        if original is not None and (meaning is None or issubclass(original, meaning)):
            try:
                return _subclass(carried, original)(carried["message"])
            except Exception:  # noqa: BLE001, S112 - foreign classes may refuse to be made in any way
                continue
    return _subclass(carried)(carried["message"])


def _subclass(carried: dict[str, Any], *bases: type[Exception]) -> type[CarriedError]:
    name = str(carried["name"])
    values = {"__module__": carried["module"], "__qualname__": name}
    return type(name.rpartition(".")[2], (CarriedError, *bases), values)


def _details(error: BaseException) -> dict[str, float | None]:
    found = {name: getattr(error, name) for name in _DETAILS if hasattr(error, name)}
    # A class of its own may hold anything there, and what is no JSON would end the attempt without a word.
    return {name: value for name, value in found.items() if value is None or isinstance(value, int | float)}


def _known_here(module: str, name: str) -> type[Exception] | None:
    """Return the class of the original where this process has loaded it; nothing is imported."""
    try:
        found = reduce(getattr, name.split("."), sys.modules.get(module))
    except AttributeError:
        return None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
