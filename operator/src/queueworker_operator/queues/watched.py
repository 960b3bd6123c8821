"""One queue of a reader: what is known of it, what was told of it, and what is going on with it (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker_operator.queues.gathering import Gathering, silence
from queueworker_operator.queues.pace import Pace
from queueworker_operator.queues.reading import Reading, is_news, is_progress
from queueworker_operator.scaling.observation import Problem


@dataclass(slots=True, kw_only=True, eq=False)
class Watched:
    """A queue that is read. Equal only to itself, so that it is found in a dict without a look at its name."""

    keys: QueueKeys
    horizon: float
    """How many seconds ahead its delayed jobs are counted."""
    reading: Reading = field(default_factory=Reading)
    shown: Reading = field(default_factory=Reading)
    """The last reading that was not kept back."""
    told: Reading = field(default_factory=Reading)
    """The reading that its subscribers were woken for last,"""
    told_at: float = float("-inf")
    announce: bool = False
    """Whether the next reading is told at any rate."""
    spread: bool = False
    """Whether its place between those read at the same pace was drawn."""
    gathering: Gathering | None = None
    """Of what comes after its first event."""
    waits: bool = False
    """Whether its events are waited for."""
    gone: bool = False
    """Whether nobody wants it read any more."""
    event_at: float | None = None
    """When the event came that the next reading answers to."""

    def spoke(self, pace: Pace, now: float) -> None:
        """Take note of an event after silence."""
        self.event_at = now
        self.gathering = Gathering(pace, now)
        self.waits = False

    def failed(self, problem: Problem, now: float) -> None:
        """Take note that its server could not be read."""
        self.reading = self.reading.failed(problem, now=now)
        self.gathering, self.event_at, self.spread = None, None, False

    def take_details(self, result: QueueDetails | RedisReadError | None, now: float) -> bool:
        """Keep the details; return whether they are the first of a busy queue, without which it is decided blindly."""
        first = self.reading.details is None
        if isinstance(result, QueueDetails):
            self.reading = replace(self.reading, details=result, details_at=now)
            self.shown = replace(self.shown, details=result, details_at=now)
        return first and self.reading.details is not None and self.reading.busy

    def show(self, *, since: float) -> None:
        """Keep the reading back no longer, where it was read since then."""
        if self.reading.read_at is not None and self.reading.read_at >= since:
            self.shown = self.reading

    def seen(self, pace: Pace, now: float) -> Reading:
        """Return what is known to others: of a burst under way what was told of it last.

        Who looks for another reason meanwhile would else write the number that was added so far. Where the next read
        is late, what was kept back is the best that is known.
        """
        read_at = self.reading.read_at
        late = read_at is None or now - read_at > pace.gather
        return self.reading if late else self.shown

    def gather(self, began: float, now: float) -> tuple[bool, float | None]:
        """Return whether what was just read is kept back a moment because more comes, and when to read again.

        `began` is when the read did.
        """
        gathering, snapshot = self.gathering, self.reading.snapshot
        if gathering is None or snapshot is None or self.reading.problem is not None:
            self.gathering = None
            return False, None
        if not self._answers(began):
            return False, None
        tell = gathering.tell(snapshot, now)
        if tell and self.event_at is None:
            self.event_at = now - max(0.0, silence(snapshot) or 0.0)
        if gathering.over:
            self.gathering = None
            return not tell, None
        return not tell, gathering.next_read(snapshot, now)

    def tell(self, pace: Pace, *, began: float, now: float) -> bool:
        """Show the reading of the read that began then; return whether it is worth a wake.

        One that decides otherwise is at once, mere progress now and then.
        """
        told, new = self.told, self.reading
        self.shown = new
        news = is_news(told, new, unreachable_after=pace.unreachable_after)
        stirs = not news and now - self.told_at >= pace.stir and is_progress(told, new)
        event_at = None
        if self._answers(began):
            event_at, self.event_at = self.event_at, None
        if not (news or stirs or self.announce):
            return False
        if news:
            self.reading = self.shown = new = replace(new, event_at=now if event_at is None else event_at)
        self.told, self.told_at, self.announce = new, now, False
        return True

    def _answers(self, began: float) -> bool:
        """Whether a read that began then answers to the event; to one that came during it another read does."""
        return self.gathering is None or self.gathering.began <= began
