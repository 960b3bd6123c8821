"""The states of a job: BullMQ's names for them, and the keys and orders that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker.command import Command
from queueworker.keys import QueueKeys


@dataclass(frozen=True, slots=True)
class State:
    """One state: its name as BullMQ's `getState` says it, and the part of the queue that holds its jobs."""

    name: str
    part: str
    is_list: bool
    """A list, whose oldest job stands at the tail; the others are sorted sets, first job first."""

    def count(self, keys: QueueKeys) -> Command:
        """Return the command that counts the jobs of this state."""
        return ("LLEN" if self.is_list else "ZCARD", keys.of(self.part))

    def range(self, keys: QueueKeys, *, start: int, stop: int, newest_first: bool) -> Command:
        """Return the command that brings ids from `start` to `stop`, both included, counted from either end.

        Where `is_reversed` the reply is in the opposite order. Sorted sets bring their scores too.
        """
        if self.is_list != newest_first:
            start, stop = -stop - 1, -start - 1
        if self.is_list:
            return ("LRANGE", keys.of(self.part), start, stop)
        return ("ZRANGE", keys.of(self.part), start, stop, "WITHSCORES")

    def is_reversed(self, *, newest_first: bool) -> bool:
        """Tell whether the reply to `range` is to be turned round."""
        return self.is_list != newest_first

    def probe(self, keys: QueueKeys, job_id: str) -> Command:
        """Return the command whose reply is nil unless the job is in this state."""
        return ("LPOS" if self.is_list else "ZSCORE", keys.of(self.part), job_id)


STATES = (
    State("waiting", "wait", is_list=True),
    State("prioritized", "prioritized", is_list=False),
    State("delayed", "delayed", is_list=False),
    State("active", "active", is_list=True),
    State("waiting-children", "waiting-children", is_list=False),
    State("completed", "completed", is_list=False),
    State("failed", "failed", is_list=False),
    State("paused", "paused", is_list=True),
)
"""Every state; `paused` is the list of BullMQ 5 and older, newer ones leave the jobs of a paused queue where they are.

Source: `getStateV2-8.lua`, which calls that one waiting too.
"""
UNKNOWN = "unknown"
"""What BullMQ calls the state of a job that is in none of them."""

_BY_NAME = {state.name: state for state in STATES} | {state.part: state for state in STATES}


def state_of(name: str) -> State:
    """Return a state by its name; `wait` is `waiting`, and `_` may stand for `-`. Raises ValueError."""
    state = _BY_NAME.get(str(name).replace("_", "-"))
    if state is None:
        raise ValueError(f"{name!r} is no state of a job: use one of {', '.join(one.name for one in STATES)}")
    return state


def states_of(names: Sequence[str]) -> list[State]:
    """Return the states of these names, each once; without names all of them. Raises ValueError."""
    return list(dict.fromkeys(map(state_of, names))) if names else list(STATES)
