"""Reading from the nodes of a Cluster side by side: one that does not answer costs the others nothing but time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException, SlotNotCoveredError

from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error, ask_again
from queueworker.keys import QueueKeys, missing_hash_tag

DISCOVERY_SECONDS = 0.4
"""So long the first try may take to learn where the slots are: redis-py waits for a silent node as for any answer.

A try that is given up closes its connections, so the next one gets twice the time: from afar, connecting takes long.
"""

T = TypeVar("T")
Ask = Callable[[list[QueueKeys]], Awaitable[Mapping[QueueKeys, T | RedisReadError]]]


class Nodes:
    """The nodes of a Cluster, each asked once for all its queues."""

    def __init__(self, client: RedisCluster, *, address: str) -> None:
        self._client = client
        self._address = address
        self._doubtful: str | None = None
        self._patience = DISCOVERY_SECONDS

    @property
    def names(self) -> frozenset[str]:
        """The names of the nodes that are known."""
        return frozenset(str(node.name) for node in self._client.get_nodes())

    def name_of(self, queue: QueueKeys) -> str:
        """Return the name of the node that has the queue; raises SlotNotCoveredError where none has."""
        node = self._client.get_node_from_key(queue.base)
        return "" if node is None else str(node.name)

    async def read(
        self, queues: Sequence[QueueKeys], ask: Ask[T], *, seconds: float
    ) -> dict[QueueKeys, T | RedisReadError]:
        """Return for each queue what `ask` returns for it, or why its node could not be asked within `seconds`.

        `ask` is called once for each node. Where no node of the Cluster answers, all queues have the very same error.
        """
        tagged = [keys for keys in queues if keys.has_hash_tag]
        read = await self._read(tagged, ask, asyncio.get_running_loop().time() + seconds, seconds)
        untagged = [keys for keys in queues if not keys.has_hash_tag]
        return {**read, **{keys: self._error(missing_hash_tag(keys), reason="InvalidQueueKey") for keys in untagged}}

    async def _read(
        self, queues: Sequence[QueueKeys], ask: Ask[T], ends_at: float, seconds: float
    ) -> dict[QueueKeys, T | RedisReadError]:
        try:
            await self._discover(ends_at)
            told = await self._look_again(ends_at)
        except TimeoutError:
            return dict.fromkeys(queues, self._error(f"no node told within {seconds:g} s where the slots are"))
        except EXPECTED as error:
            return dict.fromkeys(queues, access_error(RedisReadError, error, address=self._address))
        groups = self._by_node(queues)
        answers = await asyncio.gather(*(self._ask(name, of, ask, ends_at, seconds) for name, of in groups.items()))
        return _of_all(list(zip(groups.values(), answers, strict=True)), is_down=not told)

    async def _ask(
        self, name: str, queues: list[QueueKeys], ask: Ask[T], ends_at: float, seconds: float
    ) -> Mapping[QueueKeys, T | RedisReadError] | RedisReadError:
        """Ask one node, and once more where a pooled connection had died or another node took over."""
        try:
            async with asyncio.timeout_at(ends_at):
                return await ask_again(partial(ask, queues))
        except TimeoutError:
            self._doubtful = name
            return self._error(f"no whole answer from the node {name} within {seconds:g} s")
        except EXPECTED as error:
            if isinstance(error, RedisClusterException):
                self._doubtful = name
            return access_error(RedisReadError, error, address=self._address)

    async def _discover(self, ends_at: float) -> None:
        """Learn where the slots are where that is not known; raises what redis-py does, and TimeoutError."""
        loop, seconds = asyncio.get_running_loop(), DISCOVERY_SECONDS
        # redis-py asks one node after another, in an order drawn anew but for the last one.
        for last in itertools.cycle([node.name for node in self._client.nodes_manager.startup_nodes.values()]):
            try:
                async with asyncio.timeout(slice_of(ends_at - loop.time(), seconds)):
                    await self._client.initialize(last_failed_node_name=last)
                self._patience = max(self._patience, seconds)
                return
            except TimeoutError:
                if loop.time() >= ends_at:
                    raise
            seconds *= 2

    async def _look_again(self, ends_at: float) -> bool:
        """Learn anew where the slots are where a node was silent; return whether no node was, or another one told."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is None:
            return True
        # Whatever comes of it, the other nodes are to be read in the time that is left.
        seconds = min(self._patience, (ends_at - asyncio.get_running_loop().time()) / 2)
        try:
            async with asyncio.timeout(seconds):
                await self._client.nodes_manager.initialize(last_failed_node_name=doubtful)
        except TimeoutError:
            self._patience = max(DISCOVERY_SECONDS, 2 * seconds)
            return False
        except EXPECTED:
            return False
        return True

    def _by_node(self, queues: Sequence[QueueKeys]) -> dict[str, list[QueueKeys]]:
        groups: dict[str, list[QueueKeys]] = {}
        for keys in queues:
            try:
                name = self.name_of(keys)
            except SlotNotCoveredError:
                name = ""
            groups.setdefault(name, []).append(keys)
        return groups

    def _error(self, what: str, *, reason: str = "RedisUnreachable") -> RedisReadError:
        return RedisReadError(f"Redis {self._address}: {what}", reason=reason)


def slice_of(left: float, seconds: float) -> float:
    """Return how much of the time left a try gets that is to take `seconds`; all where a longer one has no room."""
    return seconds if left > 2 * seconds else left


def _of_all(
    answers: Sequence[tuple[list[QueueKeys], Mapping[QueueKeys, T | RedisReadError] | RedisReadError]],
    *,
    is_down: bool,
) -> dict[QueueKeys, T | RedisReadError]:
    """Return the answers of all nodes as one; where none answered and the Cluster is down, with one error for all."""
    failures = [answer for _, answer in answers if isinstance(answer, RedisReadError)]
    if is_down and failures and len(failures) == len(answers):
        return dict.fromkeys((keys for queues, _ in answers for keys in queues), failures[0])
    results: dict[QueueKeys, T | RedisReadError] = {}
    for queues, answer in answers:
        results.update(_each(queues, answer) if isinstance(answer, RedisReadError) else answer)
    return results


def _each(queues: Sequence[QueueKeys], error: RedisReadError) -> dict[QueueKeys, RedisReadError]:
    """Return an error of its own for each queue: it says nothing of other nodes."""
    return {keys: RedisReadError(str(error), reason=error.reason) for keys in queues}
