"""Listening to live queues and writing down what happens; read-only."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from redis.exceptions import NoPermissionError

from queueworker.batch import run_together
from queueworker.cli import values
from queueworker.cli.output import message
from queueworker.connection import Client, connect
from queueworker.errors import RedisReadError, SettingsError
from queueworker.eventrecords import EventsLost, StreamId, entries
from queueworker.events import EventStream
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.simulation import tracefile
from queueworker_operator.simulation.recording import Recording
from queueworker_operator.simulation.trace import TracedJob

_LOOK_SECONDS = 0.25
_TOGETHER = 500
_ANSWER_SECONDS = 5.0
"""How long Redis may take to say what is asked beside the events."""
_CATCH_UP_SECONDS = 6.0
"""A stream that lost its connection tries again after 5 s at the latest."""


async def recorded(
    settings: ConnectionSettings, queues: Sequence[QueueKeys], file: Path, *, seconds: float | None
) -> None:
    """Record for so many seconds, or until SIGINT or SIGTERM, and say how many jobs were written.

    Raises RedisReadError, what was heard until then being written with a gap, and SettingsError where there can be no
    file. An outage in between is bridged; one that lasts at the end is such an error.
    """
    client, loop, stop = connect(settings, name="queueworker-record"), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    recorder = _Recorder(client=client, address=settings.address, queues=queues, clock=loop.time)
    try:
        await recorder.run(stop, file, seconds=seconds)
    except EXPECTED as error:
        raise access_error(RedisReadError, error, address=settings.address) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await client.aclose()


@dataclass(slots=True, kw_only=True)
class _Recorder:
    client: Client
    address: str
    queues: Sequence[QueueKeys]
    clock: Callable[[], float]
    jobs: int = 0
    lines: TextIO = field(init=False)
    _began: float = 0.0
    _stopped: float | None = None
    _recordings: dict[QueueKeys, Recording] = field(default_factory=dict)
    _without_end: dict[QueueKeys, str | None] = field(default_factory=dict)
    """Where a stream stands that had no event at the beginning."""
    _lost_after: dict[QueueKeys, str] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event, file: Path, *, seconds: float | None) -> None:
        # Whether Redis can be read at all is known before there is a file.
        await self._now_ms()
        async with AsyncExitStack() as stack:
            streams = {}
            for keys in self.queues:
                stream = EventStream(self.client, keys, address=self.address)
                streams[keys] = await stack.enter_async_context(stream)
                last = stream.last_id
                if not last or StreamId.parse(last) not in await self._from(last, keys):
                    self._without_end[keys] = last
            await self._say_unused()
            self._begin(await self._now_ms(), stack.enter_context(_created(file)))
            listening = [asyncio.create_task(self._listen(stream, keys)) for keys, stream in streams.items()]
            heard = False
            try:
                await self._watch(listening, stop, seconds=seconds)
                self._stopped = self.clock()
                await self._hear_rest(streams)
                heard = True
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)
                self._end(heard=heard)

    async def _now_ms(self) -> int:
        [now] = await run_together(self.client, [("TIME",)], near=self.queues[0].base)
        if isinstance(now, BaseException):
            raise now
        return int(now[0]) * 1000 + int(now[1]) // 1000

    def _begin(self, started_ms: int, lines: TextIO) -> None:
        self._began, self.lines = self.clock(), lines
        self._recordings = {keys: Recording(keys.queue, started_ms) for keys in self.queues}
        self._write(tracefile.header(started_ms=started_ms, queues=[keys.queue for keys in self.queues]))
        self.lines.flush()
        message("recording; Ctrl-C ends it")

    async def _say_unused(self) -> None:
        for keys in self.queues:
            [exists] = await run_together(self.client, [("EXISTS", keys.of("meta"))], near=keys.base)
            if isinstance(exists, BaseException) and not isinstance(exists, NoPermissionError):
                raise exists
            if exists == 0:
                message(
                    f"warning: queue {keys.queue} with prefix {keys.prefix} was never used: check name and prefix; "
                    "what comes to it is recorded"
                )

    async def _listen(self, stream: EventStream, keys: QueueKeys) -> None:
        async for event in stream:
            if isinstance(event, EventsLost):
                self._lost_after[keys] = event.after
                self._write(tracefile.gap_line(self._seconds()))
                message(f"warning: {keys.queue}: {event.reason}")
            else:
                self._recordings[keys].hear(event)

    async def _watch(
        self, listening: Sequence[asyncio.Task[None]], stop: asyncio.Event, *, seconds: float | None
    ) -> None:
        """Write what ended, four times a second, until it is over; raises what ended a stream."""
        until = None if seconds is None else self._began + seconds
        while not stop.is_set() and (until is None or self.clock() < until):
            pause = _LOOK_SECONDS if until is None else min(_LOOK_SECONDS, max(0.0, until - self.clock()))
            waiting = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([waiting, *listening], timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in done:
                if task is not waiting:
                    task.result()
            await self._look()

    async def _look(self) -> None:
        for keys, recording in self._recordings.items():
            wanted = recording.take_wanted()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    for first in range(0, len(wanted), _TOGETHER):
                        await self._describe(keys, recording, wanted[first : first + _TOGETHER])
            except EXPECTED as error:
                if not may_pass(error):
                    raise
                # The streams bridge an outage, and names can be looked up after it as well.
                recording.want_again(wanted)
                continue
            self._write_jobs(recording.take_ended())
        self.lines.flush()

    async def _hear_rest(self, streams: Mapping[QueueKeys, EventStream]) -> None:
        """Wait for the events that there are by now; a stream that does not get to them leaves a gap.

        Raises what keeps Redis from saying what there is.
        """
        async with asyncio.timeout(_ANSWER_SECONDS):
            stopped_ms = await self._now_ms()
        until = self.clock() + _CATCH_UP_SECONDS
        for keys, stream in streams.items():
            while not await self._has_heard_all(stream, keys, stopped_ms):
                if self.clock() >= until:
                    self._write(tracefile.gap_line(self._seconds()))
                    message(f"warning: {keys.queue}: the last events could not be read before the end")
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        await self._look()

    async def _has_heard_all(self, stream: EventStream, keys: QueueKeys, stopped_ms: int) -> bool:
        """Tell whether a stream gave out all events up to a moment, or told that it lost some."""
        last = StreamId.parse(stream.last_id or "0")
        if last.ms > stopped_ms:
            return True
        found = await self._from(str(last), keys)
        # Where not even the last one is left, the stream is another one, and that is told when it is read.
        nothing_lost = last in found or stream.last_id in (self._without_end.get(keys), self._lost_after.get(keys))
        return nothing_lost and found <= {last}

    async def _from(self, last_id: str, keys: QueueKeys) -> set[StreamId]:
        """Return the first two events from one on; XREAD is what a recording may do in any case."""
        last = StreamId.parse(last_id)
        after = last.predecessor if last.ms or last.sequence else last
        command = ("XREAD", "COUNT", 2, "STREAMS", keys.of("events"), str(after))
        async with asyncio.timeout(_ANSWER_SECONDS):
            [reply] = await run_together(self.client, [command], near=keys.base)
        if isinstance(reply, BaseException):
            raise reply
        return {StreamId.parse(entry_id) for entry_id, _ in entries(reply)}

    async def _describe(self, keys: QueueKeys, recording: Recording, job_ids: Sequence[str]) -> None:
        commands = [("HMGET", keys.job(job_id), "name", "priority") for job_id in job_ids]
        replies = await run_together(self.client, commands, near=keys.base)
        found = {}
        for job_id, reply in zip(job_ids, replies, strict=True):
            if isinstance(reply, BaseException):
                raise reply
            name, priority = reply
            found[job_id] = (name, int(priority) if priority and priority.isdecimal() else 0)
        recording.describe(found)

    def _end(self, *, heard: bool) -> None:
        for recording in self._recordings.values():
            self._write_jobs(recording.take_ended())
            self._write_jobs(recording.take_rest())
        if not heard:
            self._write(tracefile.gap_line(self._seconds()))
        self._write(tracefile.end_line(self._seconds()))
        self.lines.flush()
        message(
            f"recorded {values.jobs_of(self.jobs)} to {self.lines.name}{'' if heard else ', with a gap at its end'}"
        )

    def _seconds(self) -> float:
        """Return how long it has been recorded, or was when it was told to end."""
        return (self.clock() if self._stopped is None else self._stopped) - self._began

    def _write_jobs(self, jobs: Sequence[TracedJob]) -> None:
        self.jobs += len(jobs)
        for job in jobs:
            self._write(tracefile.job_line(job))

    def _write(self, line: str) -> None:
        self.lines.write(line + "\n")


def _created(file: Path) -> TextIO:
    """Open a new file; raises SettingsError."""
    try:
        return file.open("x", encoding="utf-8", errors="replace")
    except FileExistsError:
        raise SettingsError(f"--output {file}: the file exists: choose another name, or remove it") from None
    except OSError as error:
        raise SettingsError(f"--output {file}: cannot be written: {error.strerror}") from None
