"""What a server says of itself beside a reading: its role, whether its memory is full, what the readings cost it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from queueworker.command import Command
from queueworker.errors import RedisReadError

_ROLE: Command = ("ROLE",)
_MEMORY: Command = ("INFO", "memory")
_COMMANDS: Command = ("INFO", "commandstats")
# INFO takes a server longer than a queue does.
MEMORY_EVERY_SECONDS = 1.0
COMMANDS_EVERY_SECONDS = 30.0


class ServerState:
    """Decides what to ask a server beside a reading, and what its answers mean.

    The role is asked with every reading, the memory once a second, the cost twice a minute. What this user is denied
    is not known and not reported.
    """

    def __init__(self, *, address: str, clock: Callable[[], float]) -> None:
        self._address = address
        self._clock = clock
        self._memory_at = self._commands_at = float("-inf")
        self._full: RedisReadError | None = None
        self._counted: dict[str, tuple[int, int]] = {}
        self._seconds: dict[str, float] = {}

    def commands(self) -> list[Command]:
        """Return what to send now."""
        now, due = self._clock(), [_ROLE]
        if now - self._memory_at >= MEMORY_EVERY_SECONDS:
            self._memory_at = now
            due.append(_MEMORY)
        if now - self._commands_at >= COMMANDS_EVERY_SECONDS:
            self._commands_at = now
            due.append(_COMMANDS)
        return due

    def failure(self, commands: Sequence[Command], replies: Sequence[Any]) -> RedisReadError | None:
        """Return why the server must not be believed, by its replies to `commands` and what it said before."""
        answers = dict(zip(commands, replies, strict=True))
        role, memory, counts = answers.get(_ROLE), answers.get(_MEMORY), answers.get(_COMMANDS)
        if isinstance(memory, dict):
            self._full = _memory_failure(memory, address=self._address)
        if isinstance(counts, dict):
            self._count(counts)
        if isinstance(role, list | tuple) and role and str(role[0]) != "master":
            message = f"Redis {self._address}: its role is {role[0]}, not master: connect to the master"
            return RedisReadError(message, reason="RoleNotMaster")
        return self._full

    def seconds_per_call(self, command: str) -> float | None:
        """Return the mean time that the server took for a command between the last two looks; None where not known."""
        return self._seconds.get(command)

    def _count(self, statistics: Mapping[str, Any]) -> None:
        for command in ("EVALSHA_RO", "EVALSHA"):
            # A command that was never used is not listed.
            found = statistics.get(f"cmdstat_{command.lower()}", {})
            calls, microseconds = int(found.get("calls", 0)), int(found.get("usec", 0))
            calls_before, microseconds_before = self._counted.get(command, (calls, microseconds))
            self._counted[command] = calls, microseconds
            # Fewer than before: the server was restarted, or somebody reset its statistics.
            if calls > calls_before and microseconds >= microseconds_before:
                self._seconds[command] = (microseconds - microseconds_before) / (calls - calls_before) / 1e6


def _memory_failure(memory: Mapping[str, Any], *, address: str) -> RedisReadError | None:
    limit = int(memory.get("maxmemory", 0))
    counted = int(memory.get("used_memory", 0)) - int(memory.get("mem_not_counted_for_evict", 0))
    if not limit or memory.get("maxmemory_policy") != "noeviction" or counted <= limit:
        return None
    message = f"its memory is full ({limit} bytes, noeviction): raise maxmemory or remove jobs"
    return RedisReadError(f"Redis {address}: {message}", reason="RedisMemoryFull")
