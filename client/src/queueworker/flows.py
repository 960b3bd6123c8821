"""Flows: trees of jobs whose parents wait for their children. Adding them, and reading them back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ExecAbortError

from queueworker.base import QueueBase, raise_first
from queueworker.command import Command
from queueworker.errors import InvalidJobError, JobRefusedError, RedisReadError
from queueworker.flowjobs import FlowJob, Placed, Transaction, place
from queueworker.flowtree import FlowNode, TreeReader
from queueworker.keys import hash_tag
from queueworker.outcome import OTHER_PARENT, Enqueued, Outcome, is_ours, refusal


@dataclass(frozen=True, slots=True)
class EnqueuedFlow:
    """What became of a flow: of its root, and of all its jobs in the order of the tree, parents before children."""

    root: Enqueued
    jobs: tuple[Enqueued, ...]

    @property
    def id(self) -> str:
        """The id of the flow's root."""
        return self.root.id

    @property
    def added(self) -> bool:
        """Whether the root is a job that was not there before."""
        return self.root.added


@dataclass(frozen=True, slots=True)
class _Found:
    """What stands under the id of a job before its flow is added."""

    timestamp: str | None
    parent_key: str | None
    has_failed: bool


class QueueFlows(QueueBase):
    """The part of `Queue` that adds and reads flows; they may reach over all queues of this queue's prefix."""

    async def enqueue_flow(self, flow: FlowJob) -> EnqueuedFlow:
        """Add a tree of jobs as one: all of them or, where Redis fails before, none.

        The root may be in any queue of this prefix, and with `parent` a child of a job that is there. A job whose id is
        there already is taken into the flow as it is. The same `FlowJob` can be given again after a RedisWriteError; if
        it was added before, nothing is sent. Raises InvalidJobError, JobRefusedError, RedisWriteError.
        """
        timestamp_ms = self._now_ms()
        placed = place(flow, prefix=self.prefix)
        self._check_slots(placed)
        transaction = Transaction.of(placed, timestamp_ms=timestamp_ms)
        resent = False

        async def send() -> list[Enqueued]:
            nonlocal resent
            is_first, resent = not resent, True
            found = await self._found(placed)
            before = _added_before(placed, found, timestamp_ms=timestamp_ms, is_first=is_first)
            if before is not None:
                return before
            await self._check_conflicts(placed, found)
            return _outcomes(placed, transaction, await self._transact(transaction.commands))

        jobs = await self._persist(send)
        return EnqueuedFlow(jobs[0], tuple(jobs))

    async def get_flow(
        self, job_id: str, *, queue: str | None = None, depth: int = 10, max_children: int = 20
    ) -> FlowNode | None:
        """Return a job with its children, their children and so on, None where there is no such job.

        `depth` counts the levels, the job's own included; of each kind (completed, pending, ignored, failed) a job
        shows `max_children` children at most, and says how many there are. The job is in this queue unless another
        `queue` of this prefix is named. Jobs move on while the levels are read. Raises RedisReadError.
        """
        reader = TreeReader(self._run, self.prefix)
        key = f"{self.prefix}:{queue or self.name}:{job_id}"
        return await self._persist(
            lambda: reader.read(key, depth=depth, max_children=max_children), kind=RedisReadError
        )

    async def _found(self, placed: Sequence[Placed]) -> list[_Found]:
        commands: list[Command] = []
        for one in placed:
            commands += [
                ("HMGET", one.key, "timestamp", "parentKey"),
                ("ZSCORE", one.keys.of("failed"), one.job.id),
            ]
        # Where MULTI is denied, the commands after it would be done one by one.
        *replies, begun, ended = await self._run([*commands, ("MULTI",), ("EXEC",)])
        raise_first([begun, ended, *replies])
        return [
            _Found(timestamp, parent_key, score is not None)
            for (timestamp, parent_key), score in zip(replies[::2], replies[1::2], strict=True)
        ]

    async def _check_conflicts(self, placed: Sequence[Placed], found: Sequence[_Found]) -> None:
        """Raise JobRefusedError for jobs that would make their parent wait for ever, before anything is added."""
        others: list[tuple[Placed, str]] = []
        for one, there in zip(placed, found, strict=True):
            parent = one.job.options.parent
            if parent is None or there.timestamp is None:
                continue
            if there.has_failed:
                raise _stuck(one, "has failed before and is still kept: its parent would wait for ever; retry it first")
            if there.parent_key is not None and there.parent_key != parent.key:
                others.append((one, there.parent_key))
        standing = await self._run([("EXISTS", key) for _, key in others]) if others else []
        raise_first(standing)
        for (one, _), stands in zip(others, standing, strict=True):
            if stands:
                raise refusal(one.job, OTHER_PARENT, queue=one.keys.queue)

    async def _transact(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands as one transaction and return the reply to each; raises the first error."""
        *queued, replies = await self._run([("MULTI",), *commands, ("EXEC",)])
        # What EXEC says of a command that was refused is only that one was.
        raise_first(queued)
        raise_first([replies])
        if not isinstance(replies, list):
            raise ExecAbortError("the transaction was not done")
        raise_first(replies)
        return replies

    def _check_slots(self, placed: Sequence[Placed]) -> None:
        """Raise InvalidJobError for queues in several slots of a Cluster, over which there is no transaction."""
        if not isinstance(self._client, RedisCluster):
            return
        own = hash_tag(self.keys.base)
        bases = [one.keys.base for one in placed]
        parent = placed[0].job.options.parent
        if parent is not None:
            bases.append(parent.queue)
        for base in bases:
            if hash_tag(base) != own:
                raise InvalidJobError(
                    f"flow: {base.removesuffix(':')} lies in another slot of the Cluster than {self.keys.base[:-1]}: "
                    f"give all queues of a flow one hash tag, in their prefix: {{bull}} for example"
                )


def _added_before(
    placed: Sequence[Placed], found: Sequence[_Found], *, timestamp_ms: int, is_first: bool
) -> list[Enqueued] | None:
    """Return what became of the jobs if an earlier request added the flow, None if none did.

    As it is added as one, one job that can only have come by it tells. Those that are gone have been run and removed.
    """
    pairs = list(zip(placed, found, strict=True))
    if is_first:
        if not any(one.job.generated_id and there.timestamp is not None for one, there in pairs):
            return None
        return [Enqueued(one.job.id, Outcome.DUPLICATED) for one in placed]
    ours = [is_ours(one.job, there.timestamp, timestamp_ms) for one, there in pairs]
    if not any(ours):
        return None
    return [
        Enqueued(one.job.id, Outcome.ADDED if mine or there.timestamp is None else Outcome.DUPLICATED)
        for (one, there), mine in zip(pairs, ours, strict=True)
    ]


def _outcomes(placed: Sequence[Placed], transaction: Transaction, replies: Sequence[Any]) -> list[Enqueued]:
    def outcomes() -> Iterator[Enqueued]:
        for one, probe in zip(placed, transaction.probes, strict=True):
            existed, reply = replies[probe], replies[probe + 1]
            if isinstance(reply, int) and reply < 0:
                raise refusal(one.job, reply, queue=one.keys.queue)
            if str(reply) != one.job.id:
                yield Enqueued(str(reply), Outcome.DEDUPLICATED)
            else:
                yield Enqueued(one.job.id, Outcome.DUPLICATED if existed else Outcome.ADDED)

    return list(outcomes())


def _stuck(one: Placed, what: str) -> JobRefusedError:
    where = f"queue {one.keys.queue}: job {one.job.name} ({one.job.id})"
    return JobRefusedError(f"{where} {what}", job_id=one.job.id, code=OTHER_PARENT)
