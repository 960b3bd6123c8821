"""The ways to read from a server: by script, or by plain commands where scripts are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError

from queueworker.batch import run_together
from queueworker.command import Command
from queueworker.connection import Client
from queueworker.failures import is_wrong_type, refuses_scripts
from queueworker.keys import QueueKeys
from queueworker.rounds import CommandFailed, Run
from queueworker.scripts import Script

# Best first: a server that refuses one may take the next.
WAYS = ("EVALSHA_RO", "EVALSHA", "plain")
_TRY_AGAIN_SECONDS = 300

Raw = list[Any] | BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is read: a script with its arguments, and the plain commands that bring the same list of values."""

    script: Script
    arguments: Callable[[QueueKeys], Sequence[str | int]]
    plain: Callable[[Run, Sequence[QueueKeys], int], Awaitable[Mapping[QueueKeys, list[Any] | CommandFailed]]]
    """Takes what sends commands, the queues, and the server's time in Unix ms."""


class Ways:
    """Reads by the best way that the server allows; one that it refuses is tried again after five minutes."""

    def __init__(self, client: Client, *, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self.index = 0
        """Which of `WAYS` is taken,"""
        self.best_again_at = 0.0
        """and when, by the clock, the best one is tried again."""

    @property
    def name(self) -> str:
        """The way that is taken."""
        return WAYS[self.index]

    async def read(
        self, asked: Asked, queues: Sequence[QueueKeys], *, beside: Sequence[Command] = ()
    ) -> tuple[dict[QueueKeys, Raw], list[Any]]:
        """Return what each queue brought, and the replies to the commands sent `beside`; raises what redis-py does.

        On a Cluster all queues given must be of one node.
        """
        if self.index and self._clock() >= self.best_again_at:
            self.index = 0
        raw: dict[QueueKeys, Raw] = {}
        rest, others = list(queues), list[Any]()
        while True:
            way = self.name
            replies, others = await self._read_by(way, asked, rest, beside)
            raw.update(zip(rest, replies, strict=True))
            rest = [keys for keys, reply in zip(rest, replies, strict=True) if _refused(way, reply)]
            if not rest:
                break
            self._step_down(from_way=way)
        wrong = [keys for keys, reply in raw.items() if is_wrong_type(reply)]
        if wrong:
            # The script only knows that some key is wrong; the plain commands know which.
            raw.update(zip(wrong, (await self._read_plain(asked, wrong, ()))[0], strict=True))
        return raw, others

    def _step_down(self, *, from_way: str) -> None:
        # Readings of a Cluster run side by side: only the first that is refused changes the way.
        if self.name == from_way:
            self.index += 1
            self.best_again_at = self._clock() + _TRY_AGAIN_SECONDS

    async def _read_by(
        self, way: str, asked: Asked, queues: list[QueueKeys], beside: Sequence[Command]
    ) -> tuple[list[Raw], list[Any]]:
        if way == "plain":
            return await self._read_plain(asked, queues, beside)
        script = asked.script
        calls: list[Command] = [(way, script.sha1, *asked.arguments(keys)) for keys in queues]
        found = await self._run([*beside, *calls], near=queues)
        others, replies = found[: len(beside)], found[len(beside) :]
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = [("SCRIPT LOAD", script.source), *(calls[at] for at in missing)]
            loaded, *found = await self._run(again, near=queues)
            for at, reply in zip(missing, found, strict=True):
                replies[at] = loaded if isinstance(loaded, BaseException) else reply
        return replies, others

    async def _read_plain(
        self, asked: Asked, queues: list[QueueKeys], beside: Sequence[Command]
    ) -> tuple[list[Raw], list[Any]]:
        *others, now = await self._run([*beside, ("TIME",)], near=queues)
        if isinstance(now, BaseException):
            raise now

        async def run(commands: Sequence[Command]) -> list[Any]:
            return await self._run(commands, near=queues)

        found = await asked.plain(run, queues, int(now[0]) * 1000 + int(now[1]) // 1000)
        return [found[keys] for keys in queues], others

    async def _run(self, commands: Sequence[Command], *, near: Sequence[QueueKeys]) -> list[Any]:
        return await run_together(self._client, commands, near=near[0].base if near else "")


def _refused(way: str, reply: Raw) -> bool:
    # EVALSHA asks for write access to its keys, which a read-only user lacks; the other ways do not.
    return way != "plain" and (refuses_scripts(reply) or (way == "EVALSHA" and isinstance(reply, NoPermissionError)))
