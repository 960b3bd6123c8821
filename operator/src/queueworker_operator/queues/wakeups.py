"""Waiting for the events of quiet queues: XREAD on many streams at once, on few connections and with few calls."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues.calls import CALLS_PER_SECOND, KEYS_PER_CALL, Group, Rate
from queueworker_operator.queues.port import Reader

logger = logging.getLogger(__name__)

CONNECTIONS = 3
SHORT_BLOCK_SECONDS = CONNECTIONS / CALLS_PER_SECOND
"""So long that calls that end one after the other on all connections keep to the rate."""
LONG_BLOCK_SECONDS = 10.0
"""Below the timeout of a connection."""
STABLE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
DENIED_PAUSE_SECONDS = 300.0
"""Each denial is a line in the server's log."""

LAST = f"{2**64 - 1}-0"
"""Later than every id."""

Spoke = Callable[[Mapping[QueueKeys, str]], None]


class WakeUps:
    """Tells which of the queues given to `put` speak. Who spoke is left alone until it is put again.

    The queues stand in groups, one call each; those that wait longest for their turn are next. A new queue joins a
    group that no call holds, for which one connection is kept free where it can be. Needs a running event loop.
    """

    def __init__(
        self,
        *,
        spoke: Spoke,
        failed: Callable[[], None],
        began: Callable[[int], None],
        clock: Callable[[], float],
        deadline: float,
    ) -> None:
        """`failed` is called when waiting has become impossible for a while, `began` with the queues of each call."""
        self._spoke = spoke
        self._on_failure = failed
        self._on_call = began
        self._clock = clock
        self._deadline = deadline
        self._reader: Reader | None = None
        self._ready: deque[Group] = deque()
        self._group_of: dict[QueueKeys, Group] = {}
        self._calls: dict[asyncio.Task[None], Group] = {}
        self._rate = Rate()
        self._timer: asyncio.TimerHandle | None = None
        self._newest_at = float("-inf")
        self._failures = 0
        self._not_before = float("-inf")

    @property
    def serving(self) -> bool:
        """Whether an event of a queue that was put is heard of."""
        return self._reader is not None and self._reader.can_wait and self._failures == 0

    def __contains__(self, queue: QueueKeys) -> bool:
        return queue in self._group_of

    def use(self, reader: Reader | None) -> None:
        """Wait by this reader from now on; by none: forget all queues."""
        if reader is self._reader:
            return
        for call in self._calls:
            call.cancel()
        self._reader = reader
        self._failures, self._not_before = 0, float("-inf")
        if reader is None:
            for group in self._group_of.values():
                group.after.clear()
            self._group_of.clear()
            self._ready.clear()
            self._stop_timer()

    def put(self, queue: QueueKeys, after: str) -> None:
        """Wait for what comes after this id; `pump` makes it so."""
        group = self._group_of.get(queue)
        if group is None:
            if not self._ready or len(self._ready[-1]) >= KEYS_PER_CALL:
                self._ready.append(Group())
            group = self._group_of[queue] = self._ready[-1]
            group.patient = False
            self._newest_at = self._clock()
        # A call under way waits for what comes after the old id; what it brings is compared with this one.
        group.after[queue] = after

    def discard(self, queue: QueueKeys) -> None:
        """Wait for this queue no longer; what a call under way brings of it is dropped."""
        group = self._group_of.pop(queue, None)
        if group is not None:
            del group.after[queue]

    def pump(self) -> None:
        """Begin the calls that are due."""
        self._stop_timer()
        while len(self._calls) < CONNECTIONS and self._reader is not None and self._reader.can_wait:
            now = self._clock()
            begin_at = max(self._not_before, self._rate.free_at())
            if begin_at > now:
                if self._ready:
                    self._timer = asyncio.get_running_loop().call_later(begin_at - now, self.pump)
                return
            group = self._next_group(now)
            if group is None:
                return
            self._rate.spend(now)
            self._on_call(len(group))
            self._begin(self._reader, group, now)

    async def close(self) -> None:
        """End all calls."""
        self.use(None)
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _next_group(self, now: float) -> Group | None:
        self._ready = deque(group for group in self._ready if len(group))
        group = next((group for group in self._ready if not (group.patient and self._soon_joined(group, now))), None)
        if group is None:
            return None
        self._ready.remove(group)
        for other in self._ready:
            taken = group.fill_from(other)
            self._group_of.update(dict.fromkeys(taken, group))
        return group

    def _soon_joined(self, group: Group, now: float) -> bool:
        """Whether a call with room for some of it ends soon: groups more than needed hold connections for ever."""
        room = (
            KEYS_PER_CALL - len(other) for other in self._calls.values() if other.ends_at - now <= SHORT_BLOCK_SECONDS
        )
        return len(group) < KEYS_PER_CALL and any(space > 0 for space in room)

    def _begin(self, reader: Reader, group: Group, now: float) -> None:
        spare = not self._ready and len(self._calls) + 1 < CONNECTIONS
        long = spare and now - self._newest_at >= STABLE_SECONDS
        block = LONG_BLOCK_SECONDS if long else SHORT_BLOCK_SECONDS
        group.ends_at, group.patient = now + block, True
        call = asyncio.create_task(self._call(reader, group, block))
        self._calls[call] = group
        call.add_done_callback(self._ended)

    async def _call(self, reader: Reader, group: Group, block: float) -> None:
        try:
            # A peer that is gone without a word would hold the call for ever.
            async with asyncio.timeout(block + self._deadline):
                came = await reader.wait(group.after, block_ms=round(block * 1000))
        except (TimeoutError, RedisReadError) as error:
            self._fail(reader, error)
            if isinstance(error, RedisReadError) and error.reason == ConditionReason.INVALID_QUEUE_KEY:
                # One of the streams is none: a read of each queue tells which.
                self._heard({queue: LAST for queue in group.after})
        except Exception as surprise:
            logger.exception("Waiting for events failed unexpectedly")
            self._fail(reader, surprise)
        else:
            if reader is self._reader:
                self._failures = 0
                group.patient = not came
                self._heard(came)

    def _heard(self, came: Mapping[QueueKeys, str]) -> None:
        # A read may have found the event before this call brought it, or the queue busy by then.
        known = self._group_of
        news = {queue: at for queue, at in came.items() if queue in known and _later(at, known[queue].after[queue])}
        for queue in news:
            self.discard(queue)
        if news:
            self._spoke(news)

    def _fail(self, reader: Reader, error: Exception) -> None:
        if reader is not self._reader:
            return
        was_serving = self._failures == 0
        self._failures += 1
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** min(self._failures - 1, 16))
        if isinstance(error, RedisReadError) and error.reason == ConditionReason.REDIS_DENIED:
            pause = DENIED_PAUSE_SECONDS
        self._not_before = self._clock() + pause
        if was_serving:
            logger.info("No wake-ups, queues are polled: %s", error or type(error).__name__)
            self._on_failure()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._ready.append(self._calls.pop(call))
        self.pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _later(event: str, than: str) -> bool:
    return _parts(event) > _parts(than)


def _parts(event: str) -> tuple[int, int]:
    moment, _, sequence = event.partition("-")
    return (int(moment), int(sequence or 0)) if moment.isdecimal() and (sequence or "0").isdecimal() else (0, 0)
