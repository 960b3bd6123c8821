"""One round trip of plain commands for many queues at once: each queue gets its replies, or its first failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from queueworker.command import Command
from queueworker.failures import is_wrong_type
from queueworker.keys import QueueKeys

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands together and returns one reply or exception for each."""


class CommandFailed(Exception):  # noqa: N818 - never leaves the reader
    """One command of a reading failed: which, on which key, and why."""

    def __init__(self, command: Command, error: BaseException) -> None:
        super().__init__(" ".join(map(str, command[:2])))
        self.key = str(command[1]) if len(command) > 1 else ""
        self.error = error
        self.wrong_type = is_wrong_type(error)


@dataclass(slots=True)
class Partial:
    """What is known of a queue between two round trips."""

    keys: QueueKeys
    failure: CommandFailed | None = None


P = TypeVar("P", bound=Partial)


def never(command: Command, error: BaseException) -> bool:
    """Forgive no failure."""
    return False


async def ask(
    run: Run,
    asked: Sequence[tuple[P, list[Command]]],
    keep: Callable[[P, list[Any]], None],
    *,
    forgives: Callable[[Command, BaseException], bool] = never,
) -> None:
    """Send the commands of all readings together, and hand each reading its replies or note its first failure.

    A failure that `forgives` names is handed over as a reply. Readings without commands, or with a failure, are
    passed over.
    """
    asked = [(reading, commands) for reading, commands in asked if commands and reading.failure is None]
    if not asked:
        return
    replies = await run([command for _, commands in asked for command in commands])
    start = 0
    for reading, commands in asked:
        own = replies[start : start + len(commands)]
        start += len(commands)
        reading.failure = _first_failure(commands, own, forgives)
        if reading.failure is None:
            keep(reading, own)


def _first_failure(
    commands: list[Command], replies: list[Any], forgives: Callable[[Command, BaseException], bool]
) -> CommandFailed | None:
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, BaseException) and not forgives(command, reply):
            return CommandFailed(command, reply)
    return None
