"""A reader's place in a stream that grows, is trimmed and flushed, and whose connection breaks."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from queueworker.command import Command
from queueworker.eventposition import BATCH, START, Position
from queueworker.eventrecords import StreamId

KEY = "bull:q:events"
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 300)),
        st.tuples(st.just("trim"), st.integers(0, 300)),
        st.tuples(st.just("break"), st.just(0)),
        st.tuples(st.just("read"), st.just(0)),
    ),
    max_size=30,
)


class Stream:
    """The two forms of XREAD that `Position` sends, on a list."""

    def __init__(self) -> None:
        self.ids: list[StreamId] = []
        self.last = StreamId(5, 0)

    def add(self, count: int) -> None:
        for _ in range(count):
            self.last = StreamId(self.last.ms, self.last.sequence + 1)
            self.ids.append(self.last)

    def answer(self, command: Command) -> list[StreamId]:
        words = list(command)
        assert words[0] == "XREAD"
        after, count = StreamId.parse(str(words[-1])), int(words[words.index("COUNT") + 1])
        return [one for one in self.ids if one > after][:count]


class Reader:
    """Reads as `EventStream` does, and writes down what it got; None stands for a gap."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.position = Position.after(stream.ids[-1] if stream.ids else START)
        self.seen: list[StreamId | None] = []

    def read(self) -> int:
        new, *kept = map(self.stream.answer, self.position.commands(KEY, block_ms=100))
        if self.position.gap(kept[0][0] if kept and kept[0] else None) is not None:
            self.seen.append(None)
            self.position = Position(self.position.last)
        self.position.advance(new)
        self.seen += new
        return len(new)


@given(before=st.integers(0, 3), steps=steps)
def test_every_event_comes_once_or_a_gap_is_told_in_its_place(before: int, steps: list[tuple[str, int]]) -> None:
    stream = Stream()
    stream.add(before)
    reader, start = Reader(stream), stream.last
    was_trimmed = was_broken = False
    for step, count in steps:
        if step == "add":
            stream.add(count)
        elif step == "trim":
            # A stream that was empty at the start has no anchor: what is trimmed before the first event is not seen.
            if reader.position.anchor is not None:
                stream.ids, was_trimmed = stream.ids[count:], True
        elif step == "break":
            reader.position.interrupted = was_broken = True
        else:
            reader.read()
    while reader.read() == BATCH:
        pass
    delivered = [one for one in reader.seen if one is not None]
    assert delivered == sorted(set(delivered)), "in order, and each once"
    last = start
    for place, one in enumerate(reader.seen):
        if one is None:
            continue
        skipped = one.sequence - last.sequence > 1
        assert not skipped or reader.seen[place - 1] is None, f"{last} to {one} without a word"
        last = one
    if last < stream.last:
        assert reader.seen[-1:] == [None]
    if not was_trimmed and (not was_broken or before):
        assert None not in reader.seen, "nothing was lost, so nothing is to be told"


def test_the_anchor_is_looked_at_behind_the_wait() -> None:
    here = Position.after(StreamId(7, 0))
    wait, look = here.commands(KEY, block_ms=500)
    assert wait == ("XREAD", "COUNT", BATCH, "BLOCK", 500, "STREAMS", KEY, "7-0")
    assert look == ("XREAD", "COUNT", 1, "STREAMS", KEY, f"6-{2**64 - 1}")
    here.interrupted = True
    at_once: Any = here.commands(KEY, block_ms=500)[0]
    assert "BLOCK" not in at_once, "what may be lost is told before anything is waited for"
    assert len(Position.after(START).commands(KEY, block_ms=500)) == 1
