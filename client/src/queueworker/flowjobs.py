"""A flow before it is added: a tree of jobs, checked, and laid out as the commands that add it.

Sources: `FlowProducer` of BullMQ for Node, `addParentJob-6.lua`, `includes/updateExistingJobsParent.lua`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from queueworker import scripts
from queueworker.command import Command
from queueworker.errors import InvalidJobError
from queueworker.jobs import Job
from queueworker.keys import QueueKeys
from queueworker.names import usable_queue_name
from queueworker.options import ParentOptions

_HOLD = "qw:hold"


class FlowJob:
    """A job of a flow: it is run when all of its children have completed.

    `queue` is the name of its queue; `options` are those of `queueworker.options.JobOptions`. A child says with
    `fail_parent_on_failure`, `continue_parent_on_failure`, `ignore_dependency_on_failure` or
    `remove_dependency_on_failure` what becomes of its parent when it fails for good; without them the parent waits.
    Ids are settled here, so that adding the same `FlowJob` again is harmless. Raises InvalidJobError.
    """

    __slots__ = ("children", "job", "queue")

    def __init__(
        self, name: str, queue: str, data: Any = None, *, children: Iterable[FlowJob] = (), **options: Any
    ) -> None:
        self.job = Job.create(name, data, **options)
        self.queue = usable_queue_name(queue)
        self.children = tuple(children)
        if self.children and self.job.options.deduplication is not None:
            raise self._error("deduplication cannot be used for a job with children: BullMQ needs to know its id")
        for child in self.children:
            if child.job.options.parent is not None:
                raise child._error("parent is only for the root of a flow: this job has its parent above it")
            if child.job.options.deduplication is not None:
                raise child._error("deduplication cannot be used for a child: its parent would wait for nothing")
            if ":" in child.job.id:
                raise child._error("the id of a job in a flow must not contain ':'")
        if self.children and ":" in self.job.id:
            raise self._error("the id of a job in a flow must not contain ':'")

    def __repr__(self) -> str:
        return f"FlowJob({self.job.name!r}, {self.queue!r}, id={self.job.id!r}, children={len(self.children)})"

    def _error(self, what: str) -> InvalidJobError:
        return InvalidJobError(f"flow: job {self.job.name} ({self.job.id}): {what}")


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A job of a flow with its place: its queue's keys, its parent, and its children."""

    job: Job
    keys: QueueKeys
    children: list[Placed] = field(default_factory=list, repr=False)

    @property
    def key(self) -> str:
        """The key of the job's hash."""
        return self.keys.job(self.job.id)

    def call(self, timestamp_ms: int) -> Command:
        """Return the EVALSHA that adds this job, as one that waits if it has children."""
        script = scripts.load("addParentJob") if self.children else None
        return self.job.call(self.keys, timestamp_ms=timestamp_ms, script=script)


def place(flow: FlowJob, *, prefix: str) -> list[Placed]:
    """Return the jobs of a flow, parents before their children; raises InvalidJobError if two of them have one id."""
    root = Placed(flow.job, QueueKeys(prefix, flow.queue))
    placed: list[Placed] = []
    # A stack of our own: a chain of jobs may be deeper than Python's.
    waiting = [(flow, root)]
    while waiting:
        node, here = waiting.pop()
        placed.append(here)
        parent = ParentOptions(id=here.job.id, queue=here.keys.base[:-1])
        here.children.extend(Placed(child.job.under(parent), QueueKeys(prefix, child.queue)) for child in node.children)
        waiting.extend(reversed(list(zip(node.children, here.children, strict=True))))
    seen: set[str] = set()
    for one in placed:
        if one.key in seen:
            raise InvalidJobError(f"flow: job {one.job.id} stands twice in it, in queue {one.keys.queue}")
        seen.add(one.key)
    return placed


@dataclass(frozen=True, slots=True)
class Transaction:
    """The commands that add a flow as one, and at which places among them the jobs are added."""

    commands: list[Command]
    probes: list[int]
    """Where it is asked whether the job was there before; the job is added by the command that follows."""

    @classmethod
    def of(cls, placed: Sequence[Placed], *, timestamp_ms: int) -> Transaction:
        """Lay out a flow between MULTI and EXEC; raises InvalidJobError for a job that falls due too late."""
        commands: list[Command] = []
        probes: list[int] = []
        known: set[str] = set()
        for one in placed:
            probes.append(len(commands))
            commands += [("EXISTS", one.key), _self_contained(one.call(timestamp_ms), one, known)]
            if _must_be_held(one):
                commands.append(("SADD", f"{one.key}:dependencies", _HOLD))
        for one in filter(_must_be_held, placed):
            commands += _release(one, timestamp_ms)
        return cls(commands, probes)


def _self_contained(call: Command, one: Placed, known: set[str]) -> Command:
    """Return the call with the script's text the first time that the script is needed.

    A script that the server does not know would fail alone, and a parent without its children would wait for ever.
    """
    sha1 = str(call[1])
    if sha1 in known:
        return call
    known.add(sha1)
    script = scripts.load("addParentJob") if one.children else one.job.script
    return ("EVAL", script.source, *call[2:])


def _must_be_held(one: Placed) -> bool:
    """Tell whether a child may have completed before, which would let its parent go before the others are added."""
    return len(one.children) > 1 and not all(child.job.generated_id for child in one.children)


def _release(one: Placed, timestamp_ms: int) -> Iterator[Command]:
    yield ("SREM", f"{one.key}:dependencies", _HOLD)
    if not any(child.job.generated_id for child in one.children):
        # All may have completed before. Adding one again as a duplicate makes the script look whether any is left.
        yield one.children[0].call(timestamp_ms)
