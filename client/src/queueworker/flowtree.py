"""Reading a flow back: a job, its children, their children and so on, level by level.

Sources: `FlowProducer.getFlow` and `Job.getDependencies` of BullMQ for Node. Of a parent's children, `:processed` is a
hash of key and return value, `:dependencies` a set, `:failed` a hash of key and error, `:unsuccessful` a zset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from queueworker.base import raise_first
from queueworker.command import Command
from queueworker.decoding import json_or_text, mapping, whole_number
from queueworker.errors import InvalidJobError

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]
ChildState = Literal["completed", "pending", "ignored", "failed"]

_TOGETHER = 500
_PARTS: dict[ChildState, tuple[str, str, str]] = {
    "completed": ("processed", "HLEN", "HSCAN"),
    "pending": ("dependencies", "SCARD", "SSCAN"),
    "ignored": ("failed", "HLEN", "HSCAN"),
    "failed": ("unsuccessful", "ZCARD", "ZSCAN"),
}


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children a job has, by what became of them (BullMQ: processed, unprocessed, ignored, failed)."""

    completed: int = 0
    pending: int = 0
    ignored: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.completed + self.pending + self.ignored + self.failed


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A job of a flow as it is stored. Of a job that is removed already only what its parent knows is left.

    `state` is what the parent knows of it, None for the root. `returnvalue` and `data` are decoded JSON, times Unix ms.
    `counts` are of all children, `children` those that were read.
    """

    id: str
    queue: str
    state: ChildState | None = None
    removed: bool = False
    name: str | None = None
    data: Any = None
    returnvalue: Any = None
    failed_reason: str | None = None
    timestamp: int | None = None
    processed_on: int | None = None
    finished_on: int | None = None
    counts: ChildCounts = ChildCounts()
    children: tuple[FlowNode, ...] = field(default=(), repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all children of this job were read."""
        return len(self.children) == self.counts.total


@dataclass(slots=True)
class _Scan:
    """The children of one job in one state, as far as they were read."""

    state: ChildState
    key: str
    limit: int
    cursor: int = 0
    is_open: bool = True
    found: dict[str, str | None] = field(default_factory=dict)

    @property
    def command(self) -> Command:
        part, _, scan = _PARTS[self.state]
        return (scan, f"{self.key}:{part}", self.cursor, "COUNT", self.limit)

    def take(self, reply: Any) -> None:
        cursor, items = reply
        for key, value in _entries(items, alone=self.state == "pending"):
            if len(self.found) < self.limit:
                self.found.setdefault(key, value)
        self.cursor = int(cursor)
        self.is_open = self.cursor != 0 and len(self.found) < self.limit


@dataclass(slots=True)
class _Reading:
    """One job while its tree is read."""

    key: str
    state: ChildState | None = None
    told: str | None = None
    """What the parent knows: the return value as JSON, or the error."""
    stored: Mapping[str, str] = field(default_factory=dict)
    counts: ChildCounts = ChildCounts()
    children: list[_Reading] = field(default_factory=list)


class TreeReader:
    """Reads trees of jobs of one prefix; `run` sends commands together, to where the prefix's keys are."""

    def __init__(self, run: Run, prefix: str) -> None:
        self._run = run
        self._prefix = prefix

    async def read(self, key: str, *, depth: int, max_children: int) -> FlowNode | None:
        """Return the tree below the job of a key, None if there is no such job; raises InvalidJobError."""
        if depth < 1 or max_children < 1:
            raise InvalidJobError("get_flow: depth and max_children must be at least 1")
        root = _Reading(key)
        levels = [[root]]
        while levels[-1] and len(levels) < depth:
            levels.append(await self._read_level(levels[-1], max_children))
        await self._read_level(levels[-1], 0)
        if not root.stored:
            return None
        nodes: dict[int, FlowNode] = {}
        for one in (one for level in reversed(levels) for one in level):
            nodes[id(one)] = self._node(one, tuple(nodes[id(child)] for child in one.children))
        return nodes[id(root)]

    async def _read_level(self, level: Sequence[_Reading], max_children: int) -> list[_Reading]:
        """Read the jobs of a level, and the keys of so many children of each, which are returned."""
        for start in range(0, len(level), _TOGETHER):
            await self._read_jobs(level[start : start + _TOGETHER], max_children)
        return [child for one in level for child in one.children]

    async def _read_jobs(self, jobs: Sequence[_Reading], max_children: int) -> None:
        scans = [(one, _Scan(state, one.key, max_children)) for one in jobs for state in _PARTS if max_children]
        commands: list[Command] = []
        for one in jobs:
            commands.append(("HGETALL", one.key))
            commands += [(count, f"{one.key}:{part}") for part, count, _ in _PARTS.values()]
        replies = await self._run([*commands, *(scan.command for _, scan in scans)])
        raise_first(replies)
        width = 1 + len(_PARTS)
        for i, one in enumerate(jobs):
            stored, *counts = replies[i * width : (i + 1) * width]
            one.stored = mapping(stored)
            one.counts = ChildCounts(*map(int, counts))
        _take([scan for _, scan in scans], replies[len(commands) :])
        while waiting := [scan for _, scan in scans if scan.is_open]:
            replies = await self._run([scan.command for scan in waiting])
            raise_first(replies)
            _take(waiting, replies)
        for one, scan in scans:
            one.children += [_Reading(key, scan.state, told) for key, told in scan.found.items()]

    def _node(self, one: _Reading, children: tuple[FlowNode, ...]) -> FlowNode:
        stored = one.stored
        queue, _, job_id = one.key.removeprefix(f"{self._prefix}:").rpartition(":")
        value = one.told if one.state == "completed" else None
        error = one.told if one.state == "ignored" else None
        return FlowNode(
            id=job_id,
            queue=queue,
            state=one.state,
            removed=not stored,
            name=stored.get("name"),
            data=json_or_text(stored.get("data")),
            returnvalue=json_or_text(stored.get("returnvalue", value)),
            failed_reason=stored.get("failedReason", error),
            timestamp=whole_number(stored.get("timestamp")),
            processed_on=whole_number(stored.get("processedOn")),
            finished_on=whole_number(stored.get("finishedOn")),
            counts=one.counts,
            children=children,
        )


def _take(scans: Sequence[_Scan], replies: Sequence[Any]) -> None:
    for scan, reply in zip(scans, replies, strict=True):
        scan.take(reply)


def _entries(items: Any, *, alone: bool) -> list[tuple[str, str | None]]:
    """Return what a scan found, as pairs: redis-py makes dicts and pairs of some replies, others are flat lists."""
    if isinstance(items, dict):
        return [(str(key), str(value)) for key, value in items.items()]
    if alone:
        return [(str(key), None) for key in items]
    if items and isinstance(items[0], list | tuple):
        return [(str(key), str(value)) for key, value in items]
    return [(str(key), str(value)) for key, value in zip(items[::2], items[1::2], strict=True)]
