"""Looking into a queue: counts, jobs by state, one job whole, rates per minute, live workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import Any

from queueworker import inspection, listing, metrics, workers
from queueworker.base import QueueBase
from queueworker.command import Command
from queueworker.decoding import mapping, pairs
from queueworker.errors import RedisReadError
from queueworker.events import CURRENT_END, EventStream
from queueworker.failures import access_error, is_wrong_type, may_pass, wrong_type_error
from queueworker.metrics import Metrics
from queueworker.reader import QueueReader
from queueworker.records import Children, JobRecord, Logs
from queueworker.snapshot import QueueSnapshot
from queueworker.states import state_of, states_of
from queueworker.workers import JobStatistics, WorkerRecord

PAGE_SIZE = 100


class QueueGetters(QueueBase):
    """The reading half of `Queue`; nothing here changes the queue, and what cannot be read raises RedisReadError.

    All of it but `stats` works by plain commands, never KEYS, SCAN or CLIENT LIST. A user that may read the snapshot
    and XREAD needs more only for HGETALL (`job_statistics`, `children`) and SMEMBERS (`children`); without ZSCORE,
    LPOS, HLEN and SCARD the record of `job` says what it lacks.

    States are BullMQ's: `waiting` (also `wait`), `prioritized`, `delayed`, `active`, `waiting-children`, `completed`,
    `failed`, and `paused` for the list of BullMQ 5 and older; another name raises ValueError.
    """

    @cached_property
    def _reader(self) -> QueueReader:
        return QueueReader(self._client, address=self.address)

    @cached_property
    def _streams(self) -> set[EventStream]:
        return set()

    async def aclose(self) -> None:
        """End the event streams and close the connections that this queue opened."""
        try:
            for stream in tuple(self._streams):
                await stream.aclose()
        finally:
            await super().aclose()

    async def stats(self, *, horizon_ms: int = 0, deadline_seconds: float = 5.0) -> QueueSnapshot:
        """Return what the queue holds; raises RedisReadError, never zeros for what could not be read."""
        outcomes = await self._reader.read([self.keys], horizon_ms=horizon_ms, deadline_seconds=deadline_seconds)
        outcome = outcomes[self.keys]
        if isinstance(outcome, RedisReadError):
            raise outcome
        return outcome

    async def counts(self, *states: str) -> dict[str, int]:
        """Return how many jobs are in each state, by its name; without arguments of all states.

        A job that moves just then may be counted twice or not at all; `stats` is one moment.
        """
        wanted = states_of(states)
        replies = await self._fetch([state.count(self.keys) for state in wanted])
        return {state.name: int(reply) for state, reply in zip(wanted, replies, strict=True)}

    async def counts_per_priority(self, *priorities: int) -> dict[int, int]:
        """Return how many jobs wait at these priorities, or at every one that has any, the most urgent first.

        0 stands for the jobs without a priority, which run before all others. Without arguments it takes one round trip
        per populated priority. Source: `getCountsPerPriority-2.lua`.
        """
        return await inspection.count_priorities(self._fetch, self.keys, priorities)

    async def jobs(
        self, *states: str, start: int = 0, end: int = PAGE_SIZE - 1, newest_first: bool = False
    ) -> list[JobRecord]:
        """Return the jobs from `start` to `end` (included, 0 is the first) of each state, at most 1000 of each.

        The first is the one that runs next (waiting, prioritized, delayed), that was taken first (active) or ended
        first (completed, failed); `newest_first` turns that round. Jobs that are removed meanwhile are left out. Locks
        are read for active jobs, numbers of children by `job` only. Raises ValueError for a page that is too long.
        """
        listing.check_page(start, end)
        return await listing.page(
            self._fetch, self.keys, states_of(states), start=start, end=end, newest_first=newest_first
        )

    async def all_jobs(
        self, state: str, *, newest_first: bool = False, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[JobRecord]:
        """Yield all jobs of a state, in the order of `jobs`, a page at a time, while the queue moves.

        A job that stays in the state from the first page to the last comes exactly once. One that leaves meanwhile may
        be missed, one that arrives meanwhile may come or not, and one that leaves and comes back may come twice. In
        the lists (waiting, active, paused) the ids seen are kept in memory until the end.
        """
        listing.check_page(0, page_size - 1)
        found = listing.every_job(
            self._fetch, self.keys, state_of(state), page_size=page_size, newest_first=newest_first
        )
        async for record in found:
            yield record

    async def job(self, job_id: str) -> JobRecord | None:
        """Return one job with everything but its log and its children's values, None if there is none.

        Where this user may not read its state, its lock or its children, the record says so in `unreadable`.
        """
        return await inspection.find(self._ask, self._raise_for, self.keys, job_id)

    async def logs(self, job_id: str, start: int = 0, end: int = PAGE_SIZE - 1) -> Logs:
        """Return the lines from `start` to `end` (included, 0 is the oldest) of a job's log; none for no such job."""
        key = f"{self.keys.job(job_id)}:logs"
        listing.check_page(start, end)
        lines, total = await self._fetch([("LRANGE", key, start, end), ("LLEN", key)])
        return Logs(tuple(lines), int(total))

    async def children(self, job_id: str) -> Children:
        """Return all children of a job in a flow: those under way, and what became of the others."""
        return await inspection.children(self._fetch, self.keys, job_id)

    async def metrics(self, kind: str = "completed", start: int = 0, end: int = 59) -> Metrics:
        """Return how many jobs `completed` or `failed`, in all and per minute from the newest whole one (0) back.

        The numbers are those that workers with the option `metrics` keep.
        """
        return await metrics.read(self._fetch, self.keys, kind, start=start, end=end)

    async def workers(self) -> list[WorkerRecord]:
        """Return our workers of this queue by their own heartbeat, in the order of their names.

        Killed ones stay for about an hour, with `alive` false; workers of other make are not known here.
        """
        beats, now = await self._fetch([("ZRANGE", self.keys.workers, 0, -1, "WITHSCORES"), ("TIME",)])
        found = pairs(beats)
        if not found:
            return []
        abouts = (await self._fetch([("HMGET", self.keys.worker, *(name for name, _ in found))]))[0]
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        records = (
            workers.decode_worker(name, beat, about, now_ms=now_ms)
            for (name, beat), about in zip(found, abouts, strict=True)
        )
        return sorted(records, key=lambda worker: worker.name)

    async def job_statistics(self) -> list[JobStatistics]:
        """Return how long attempts took by job name, as our workers count them, the most frequent name first."""
        return workers.decode_statistics(mapping((await self._fetch([("HGETALL", self.keys.statistics)]))[0]))

    def events(
        self,
        last_id: str = CURRENT_END,
        *,
        block_seconds: float = 5.0,
        reply_seconds: float = 5.0,
        give_up_seconds: float | None = None,
    ) -> EventStream:
        """Return the queue's events as an async iterator, from now on or from after the event `last_id`.

            async with queue.events() as events:
                async for event in events: ...

        "Now" is when it is first asked for an event, or entered by `async with`. See `EventStream`.
        """
        stream = EventStream(
            self._client,
            self.keys,
            address=self.address,
            last_id=last_id,
            block_seconds=block_seconds,
            reply_seconds=reply_seconds,
            give_up_seconds=give_up_seconds,
            on_close=self._streams.discard,
        )
        self._streams.add(stream)
        return stream

    async def _fetch(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together, again if the connection was lost; raises RedisReadError for the first that fails."""
        replies = await self._ask(commands)
        for command, reply in zip(commands, replies, strict=True):
            self._raise_for(command, reply)
        return replies

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together, and return for each its reply or what it met; raises RedisReadError."""

        async def send() -> list[Any]:
            replies = await self._run(commands)
            for reply in replies:
                if isinstance(reply, BaseException) and may_pass(reply):
                    raise reply
            return replies

        return await self._persist(send, kind=RedisReadError)

    def _raise_for(self, command: Command, reply: Any) -> None:
        """Raise RedisReadError if the reply is an error."""
        if is_wrong_type(reply):
            raise wrong_type_error(str(command[1]), address=self.address)
        if isinstance(reply, BaseException):
            raise access_error(RedisReadError, reply, address=self.address) from reply
