"""What the engine asks of a connection to Redis, and the ways in which it may fail."""

from __future__ import annotations

import random
from typing import Any, Protocol

from queueworker.errors import MEMORY_FULL

Word = str | bytes | int | float


class LinkError(Exception):
    """A command did not do what it should; the text names the server and the cause, never a secret."""


class LinkLostError(LinkError):
    """No reply came: the command may or may not have been executed."""


class RefusedError(LinkError):
    """The server does not let us: password, ACL, or it is a replica. Waiting alone seldom helps."""


class DeniedError(RefusedError):
    """The user lacks the right to this command or key; what else it may do goes on."""


class ReplyError(LinkError):
    """The server answered with an error that is none of the others: out of memory, a script's own, a wrong type."""


class MemoryFullError(ReplyError):
    """The server's memory is full: no job can be taken until there is room; what was taken can still be finished."""


class NoScriptError(ReplyError):
    """The server does not know a script by its SHA-1: load it and try again."""


class Link(Protocol):
    """A connection to Redis that reconnects by itself, once per call and never silently repeating a command."""

    async def execute(self, *words: Word, wait: float = 0.0) -> Any:
        """Send one command and return the reply: str, int, None or lists of them; raises LinkError.

        Bytes that are not UTF-8 come as surrogates and go out again as they were.

        `wait` are the seconds that the command itself may block on the server.
        """

    async def aclose(self) -> None:
        """Close the connection; calls under way end with LinkLostError."""


_REFUSED = ("NOAUTH", "WRONGPASS", "READONLY", "ERR invalid password", "ERR AUTH")
_DENIED_IN_SCRIPT = ("-NOPERM", "ACL failure in script", "can't run this command", "can't access")
_BROKEN = ("UNBLOCKED", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "ERR max number of clients")


def error_of(message: str, *, address: str) -> LinkError:
    """Turn a server's error text into the error that says what to do about it."""
    # What follows repeats the arguments of a command that the server does not know, a password's AUTH for example.
    text = f"Redis {address}: {message.partition(', with args beginning with')[0]}"
    if message.startswith("NOSCRIPT"):
        return NoScriptError(text)
    if "OOM command not allowed" in message:
        return MemoryFullError(f"Redis {address}: RedisMemoryFull: {MEMORY_FULL}")
    if message.startswith(_REFUSED) or "-READONLY" in message:
        return RefusedError(text)
    if message.startswith("NOPERM") or any(sign in message for sign in _DENIED_IN_SCRIPT):
        return DeniedError(text)
    if message.startswith(_BROKEN):
        return LinkLostError(text)
    return ReplyError(text)


def naming_the_key(error: DeniedError, words: tuple[Word, ...]) -> DeniedError:
    """Name the command and its key where the server speaks of a key and does not say which."""
    if "key" not in str(error) or len(words) < 2:
        return error
    key = words[3] if words[0] == "EVALSHA" and len(words) > 3 else words[1]
    return DeniedError(f"{error} ({', '.join(map(str, (words[0], key)))})")


class Backoff:
    """Growing pauses between tries: doubled from `first` to `cap` seconds, each shortened at random by up to half."""

    def __init__(self, *, first: float = 0.05, cap: float = 1.0) -> None:
        self._first, self._cap, self._next = first, cap, first

    def reset(self) -> None:
        """Start again from the first pause."""
        self._next = self._first

    def pause(self) -> float:
        """Return the next pause in seconds."""
        pause = self._next
        self._next = min(self._cap, pause * 2)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads the herd, protects nothing
