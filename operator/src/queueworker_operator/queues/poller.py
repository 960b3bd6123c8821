"""The one reader of one Redis: what it reads when, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice

from queueworker.cancels import kept_cancels
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.queues.budget import COUNTS_SECONDS, DETAILS_SECONDS, WAIT_SECONDS, Budget, server_seconds
from queueworker_operator.queues.connection import Connection, failure_of_server
from queueworker_operator.queues.door import Door
from queueworker_operator.queues.lines import Kind, Lines
from queueworker_operator.queues.outage import Outage
from queueworker_operator.queues.pace import Pace
from queueworker_operator.queues.port import OpenReader, Watch
from queueworker_operator.queues.reading import Reading, reason_of
from queueworker_operator.queues.refresh import Refreshes
from queueworker_operator.queues.timetable import Timetable
from queueworker_operator.queues.wakeups import WakeUps
from queueworker_operator.queues.watched import Watched
from queueworker_operator.scaling.observation import Problem


class Poller:
    """Reads the queues of one Redis, one call at a time, and waits for the events of the quiet ones meanwhile."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        open_reader: OpenReader,
        watch: Watch,
        pace: Pace,
        clock: Callable[[], float],
        random: Callable[[], float],
        door: Door,
    ) -> None:
        self._watch = watch
        self._pace = pace
        self._clock = clock
        self._queues: dict[QueueKeys, Watched] = {}
        self._budget = Budget()
        self._lines: Lines[Watched] = Lines(self._budget, pace)
        self._outage = Outage(pace, random)
        self._connection = Connection(settings, open_reader=open_reader, deadline=pace.deadline, door=door)
        self._wakeups = WakeUps(
            spoke=self._spoke,
            failed=self._wakeups_failed,
            began=lambda queues: self._budget.spend(WAIT_SECONDS * queues, clock()),
            clock=clock,
            deadline=pace.deadline,
        )
        self._timetable = Timetable(self._lines, self._wakeups, pace=pace, random=random)
        self._refreshes: Refreshes[Watched] = Refreshes()
        self._more = asyncio.Event()

    def add(self, queue: QueueKeys, *, horizon: float) -> None:
        """Read this queue from now on, its delayed jobs so many seconds ahead."""
        known = self._queues.get(queue)
        if known is not None:
            known.horizon = horizon
            return
        known = self._queues[queue] = Watched(keys=queue, horizon=horizon)
        self._lines.owe(known)
        self._more.set()

    def discard(self, queue: QueueKeys) -> None:
        """Read this queue no more."""
        known = self._queues.pop(queue, None)
        if known is not None:
            known.gone = True
            self._lines.discard(known)
            self._wakeups.discard(queue)
            self._refreshes.drop(known)

    def reading(self, queue: QueueKeys) -> Reading:
        """Return what is known of the queue; of a burst under way what was told of it last."""
        return self._queues[queue].seen(self._pace, self._clock())

    def announce_next(self, queue: QueueKeys) -> None:
        """Read the queue as soon as a busy one, and speak of it even if nothing is new."""
        known = self._queues[queue]
        known.announce = True
        self._lines.poll_by(known, self._clock() + self._pace.busy)
        self._more.set()

    async def refresh(self, queues: Iterable[QueueKeys], *, details: bool, within: float) -> bool:
        """Read these queues now and show what was read; return whether all were in time, with success or without.

        While the server is down, what is known stays: False at once.
        """
        if self._outage.down:
            return False
        asked_at = self._clock()
        wanted = [self._queues[queue] for queue in queues if queue in self._queues]
        for queue in wanted:
            self._lines.hurry(queue, self._clock())
            if details:
                self._lines.hurry_details(queue, self._clock())
        self._more.set()
        answered = await self._refreshes.answered(wanted, details=details, within=within)
        for queue in wanted:
            queue.show(since=asked_at)
        return answered

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                self._more.clear()
                with kept_cancels():
                    worked = await self._turn(self._clock())
                if not worked:
                    await self._sleep()
        finally:
            await self._wakeups.close()
            await self._connection.close()

    async def _sleep(self) -> None:
        if self._more.is_set():
            return
        at = self._lines.next_at()
        pause = None if at is None else max(0.0, max(at, self._outage.next_try) - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._more.wait()

    async def _turn(self, now: float) -> bool:
        if now < self._outage.next_try:
            return False
        kind, queues = self._lines.take(now)
        if not queues:
            return False
        self._refreshes.read_begins()
        if kind is Kind.DETAILS:
            await self._read_details(queues, now)
        else:
            await self._read(queues, now, owed=kind is Kind.OWED)
        return True

    async def _read(self, queues: list[Watched], began: float, *, owed: bool) -> None:
        results = await self._ask(queues)
        failure = failure_of_server(results)
        if failure is not None and len(queues) == 1 and not self._outage.down:
            # One queue that cannot be read says little of the server: another one is asked as well.
            others = [other for other in islice(self._queues.values(), 2) if other is not queues[0]][:1]
            if others:
                queues = [*queues, *others]
                results = await self._ask(queues)
                failure = failure_of_server(results)
        now = self._clock()
        if failure is not None and self._connection.is_one_server:
            self._server_failed(failure, began, now)
        else:
            self._server_answered(queues, results, began, now, owed=owed)
        if failure is not None:
            await self._connection.reopen_after(reason_of(failure))

    async def _ask(self, queues: list[Watched]) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        return await self._connection.read({known.keys: round(known.horizon * 1000) for known in queues})

    def _server_answered(
        self,
        queues: list[Watched],
        results: Mapping[QueueKeys, QueueSnapshot | RedisReadError],
        began: float,
        now: float,
        *,
        owed: bool,
    ) -> None:
        self._outage.over()
        self._wakeups.use(self._connection.reader)
        if not owed:
            self._spend(len(queues), round_trip=now - began, estimate=COUNTS_SECONDS, now=now)
        live = [known for known in queues if not known.gone]
        news = [known for known in live if self._take(known, results.get(known.keys), began, now)]
        self._end_read(live, news, now - began)
        self._wakeups.pump()

    def _server_failed(self, error: RedisReadError, began: float, now: float) -> None:
        """Whoever was asked, no queue of the server is known any more; the next try is one read."""
        self._outage.failed(now)
        self._lines.clear()
        self._wakeups.use(None)
        problem = Problem(reason=reason_of(error), message=str(error))
        live = list(self._queues.values())
        for known in live:
            known.failed(problem, now)
            self._lines.owe(known)
        self._refreshes.details_read(live)
        self._end_read(live, [known for known in live if known.tell(self._pace, began=began, now=now)], now - began)

    def _end_read(self, queues: list[Watched], news: list[Watched], seconds: float) -> None:
        self._watch.read_done({known.keys: known.reading for known in queues}, seconds)
        self._refreshes.counts_read(queues)
        if news:
            self._watch.changed([known.keys for known in news])

    def _spend(self, queues: int, *, round_trip: float, estimate: float, now: float) -> None:
        known = self._connection.server_seconds
        self._budget.spend(server_seconds(queues, known=known, estimate=estimate, round_trip=round_trip), now)

    def _take(self, known: Watched, result: QueueSnapshot | RedisReadError | None, began: float, now: float) -> bool:
        """Keep what was read and set when to read again; return whether it is to be told."""
        was_busy = known.reading.busy
        known.reading = known.reading.after(result, now=now)
        withheld, again_at = known.gather(began, now)
        if again_at is not None:
            self._lines.hurry(known, again_at)
        self._timetable.counts_read(known, was_busy=was_busy, began=began, now=now)
        return not withheld and known.tell(self._pace, began=began, now=now)

    async def _read_details(self, queues: list[Watched], began: float) -> None:
        results = await self._connection.read_details([known.keys for known in queues])
        now = self._clock()
        self._spend(len(queues), round_trip=now - began, estimate=DETAILS_SECONDS, now=now)
        live = [known for known in queues if not known.gone]
        news = [known.keys for known in live if known.take_details(results.get(known.keys), now)]
        for known in live:
            self._timetable.details_read(known, now)
        self._refreshes.details_read(live)
        if news:
            self._watch.changed(news)
        if failure_of_server(results) is not None:
            self._check()

    def _spoke(self, came: Mapping[QueueKeys, str]) -> None:
        now = self._clock()
        for queue in came:
            known = self._queues.get(queue)
            if known is not None:
                known.spoke(self._pace, now)
                self._lines.hurry(known, now)
        self._more.set()

    def _wakeups_failed(self) -> None:
        """Poll the quiet queues as where there are no events, and look at once whether the server is still there."""
        self._timetable.without_events(self._queues.values(), self._clock())
        self._check()

    def _check(self) -> None:
        for known in islice(self._queues.values(), 1):
            self._lines.hurry(known, self._clock())
        self._more.set()
