"""Where a reader of events stands in the stream, and how it knows that it missed nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker.command import Command
from queueworker.eventrecords import StreamId

START = StreamId(0, 0)
BATCH = 200
"""Events taken at once."""


@dataclass(slots=True)
class Position:
    """A place in the stream: everything up to `last` is read.

    `anchor` is an entry that was in the stream when `last` was the place: as long as it is still there, nothing after
    it was trimmed, for a stream is trimmed from its old end. None where the stream was empty, or not looked at.
    """

    last: StreamId
    anchor: StreamId | None = None
    interrupted: bool = False
    """What came between is not known: the connection was lost since the last reading."""

    @classmethod
    def after(cls, last: StreamId) -> Position:
        """Return the place after an event that was read earlier; `START` is that before all events."""
        return cls(last) if last == START else cls(last, last)

    def commands(self, key: str, *, block_ms: int) -> list[Command]:
        """Return the command that waits for events and, behind it, the one that looks for the anchor."""
        # After an interruption the anchor is looked at before anything is waited for.
        block = () if self.interrupted else ("BLOCK", block_ms)
        commands: list[Command] = [("XREAD", "COUNT", BATCH, *block, "STREAMS", key, str(self.last))]
        if self.anchor is not None:
            commands.append(("XREAD", "COUNT", 1, "STREAMS", key, str(self.anchor.predecessor)))
        return commands

    def gap(self, found: StreamId | None) -> str | None:
        """Say why events may be missing after `last`, None if none can be.

        `found` is the entry at the anchor's place, or the first one after it.
        """
        if self.anchor is None:
            return "the connection was lost before the first event" if self.interrupted else None
        if found == self.anchor:
            return None
        if found is None:
            return "the stream of events was emptied, or is another one"
        return "the stream of events was trimmed or made anew before they were read"

    def advance(self, read: Sequence[StreamId]) -> None:
        """Go behind the events that were read."""
        self.interrupted = False
        if read:
            self.last = self.anchor = read[-1]
