"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

from queueworker.cli import codes
from queueworker.cli.output import clean, message
from queueworker.errors import QueueWorkerError


class RefusedError(QueueWorkerError):
    """Nobody said yes, or nobody could be asked."""

    exit_code = codes.REFUSED


def ask(question: str, *, yes: bool) -> None:
    """Go on if `yes`, or if somebody at a terminal says so; raises RefusedError otherwise."""
    if yes:
        return
    if not _terminal():
        raise RefusedError(f"{question} There is no terminal to ask at: add --yes")
    if _answer(f"{question} [y/N] ").lower() not in {"y", "yes"}:
        raise RefusedError("nothing was changed")


def ask_for_name(what: str, *, queue: str, confirm: str | None) -> None:
    """Go on if `confirm` is the queue's name, or if somebody types it; raises RefusedError otherwise."""
    if confirm == queue:
        return
    if confirm is not None:
        raise RefusedError(f"--confirm={confirm} is not the queue's name {queue}: nothing was changed")
    if not _terminal():
        raise RefusedError(f"{what} There is no terminal to ask at: add --confirm={queue}")
    message(what)
    if _answer(f"Type the queue's name ({clean(queue)}) to go on: ") != queue:
        raise RefusedError("that is not the queue's name: nothing was changed")


def _terminal() -> bool:
    # The question goes to stderr: where nobody sees it, nobody can answer.
    return sys.stdin.isatty() and sys.stderr.isatty()


def _answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
    return answer.strip()
