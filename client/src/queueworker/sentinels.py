"""Asking a group of Sentinels where the master is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from queueworker.failures import SentinelAuthenticationError, one_line
from queueworker.settings import Node

PATIENCE_SECONDS = 0.25
"""So long the others are waited for once one Sentinel may have answered: a host that is gone never says so."""
SILENCE_SECONDS = 30
"""So long one that was silent is not waited for. It may be back, and know more than one that was cut off."""

Address = tuple[str, int]
_State = Mapping[str, Any]


class Sentinels:
    """The Sentinels of one master, asked all at once; needs a running event loop."""

    def __init__(self, clients: Sequence[tuple[Node, Redis]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clients = dict(clients)
        self._clock = clock
        self._silent_until: dict[Node, float] = {}

    async def discover_master(self, name: str) -> Address:
        """Return host and port of the master of that name, as the Sentinel with the newest configuration has it.

        Sentinels count failovers (`config-epoch`): one that was cut off goes on to name the master of before. Raises
        redis-py's MasterNotFoundError, which tells what each said, or what they refused with.
        """
        tasks = {node: asyncio.create_task(_ask(client, name)) for node, client in self._clients.items()}
        try:
            await self._wait(tasks)
            ended = {node: task for node, task in tasks.items() if task.done()}
        finally:
            await _cancel(tasks.values())
        failures = [(node, error) for node, task in ended.items() if (error := task.exception()) is not None]
        states = [task.result() for task in ended.values() if task.exception() is None]
        if not states:
            raise _failure(name, failures)
        newest = max(states, key=lambda state: int(state["config-epoch"]))
        return str(newest["ip"]), int(newest["port"])

    async def aclose(self) -> None:
        """Close the connections to the Sentinels."""
        for client in self._clients.values():
            await client.aclose()

    async def _wait(self, tasks: Mapping[Node, asyncio.Task[_State]]) -> None:
        """Wait for an answer, and a moment longer for those that were not silent lately."""
        now = self._clock()
        spoken = {node: task for node, task in tasks.items() if now >= self._silent_until.get(node, now)}
        if spoken:
            await asyncio.wait(spoken.values(), timeout=PATIENCE_SECONDS)
        waiting = set(tasks.values())
        while waiting and not any(task.done() and task.exception() is None for task in tasks.values()):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for node, task in tasks.items():
            if task.done():
                self._silent_until.pop(node, None)
            elif node in spoken:
                # Of the others the time goes on to run: cut off each time, they connect anew and may well be the last.
                self._silent_until[node] = now + SILENCE_SECONDS


async def _ask(sentinel: Redis, name: str) -> _State:
    masters: Any = await sentinel.sentinel_masters()
    state: _State | None = masters.get(name)
    if state is None:
        raise MasterNotFoundError("does not know it")
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        raise MasterNotFoundError("says that it is down")
    return state


async def _cancel(tasks: Collection[asyncio.Task[_State]]) -> None:
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        # Python 3.11's wait_for, by which redis-py connects, swallows a cancel that comes as it ends: it is said again.
        _, waiting = await asyncio.wait(waiting, timeout=0.02)
    # Errors that nobody looked at are written to the log otherwise.
    await asyncio.gather(*tasks, return_exceptions=True)


def _failure(name: str, failures: Sequence[tuple[Node, BaseException]]) -> BaseException:
    """Return the failure of all as one, with the cause that tells most: who refuses can be reached."""
    errors = [error for _, error in failures]
    unexpected = next((error for error in errors if not isinstance(error, RedisError | OSError)), None)
    if unexpected is not None:
        return unexpected
    refused = next((error for error in errors if isinstance(error, AuthenticationError)), None)
    if refused is not None:
        return _caused(SentinelAuthenticationError("the Sentinels refuse the login"), refused)
    denied = next((error for error in errors if isinstance(error, NoPermissionError)), None)
    if denied is not None:
        return denied
    said = ", ".join(f"{node} {_words(error)}" for node, error in failures)
    return _caused(MasterNotFoundError(f"no Sentinel names the master {name}: {said}"), errors[0])


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, MasterNotFoundError):
        return str(error)
    if isinstance(error, ResponseError) and "unknown command" in str(error).lower():
        return "is no Sentinel"
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return "does not answer"
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno is not None:
        # redis-py's text repeats the address twice, and there may be five of them on the line.
        return f"cannot be asked ({os.strerror(cause.errno) if cause.errno > 0 else cause.strerror})"
    return f"cannot be asked ({one_line(error)})"
