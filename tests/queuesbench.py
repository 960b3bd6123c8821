"""The registry of the operator's readers, with what it woke and read written down."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path

from operator_waiting import until
from stalls import Stalls

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.queues import Pace, Queues, Reading


def documented_rules(user: str, *, keys: str = "bull:*", cluster: bool = False) -> list[str]:
    """Return the ACL rules that the documentation gives one of its users, without the password, for these keys."""
    lines = (Path(__file__).parents[1] / "docs" / "client.md").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"ACL SETUSER {user} "))
    rules = [rule.replace("bull:*", keys) for rule in line.split()[4:] if not rule.startswith(">")]
    if cluster:
        (more,) = (line for line in lines if line.startswith("On a Cluster each of them also needs "))
        rules += more.split("`")[1].split()
    return rules


class QueuesBench:
    """A registry with one queue a key, named like it; all it says of a queue is kept, so that no zero slips through.

    Needs a running event loop.
    """

    def __init__(self, pace: Pace, stalls: Stalls) -> None:
        self._stalls = stalls
        self.woken: dict[str, list[float]] = {}
        self.reads: dict[QueueKeys, list[tuple[float, Reading]]] = {}
        self.queues: Queues[str] = Queues(
            wake=lambda key: self.woken.setdefault(key, []).append(time.monotonic()),
            clock=time.monotonic,
            random=lambda: 0.5,
            pace=pace,
            read_done=self._read_done,
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self.queues.close()

    def _read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        for keys, reading in readings.items():
            self.reads.setdefault(keys, []).append((time.monotonic(), reading))

    async def watch(self, settings: ConnectionSettings, *names: str, prefix: str = "bull") -> None:
        """Subscribe, and wait for the first readings."""
        for name in names:
            self.queues.subscribe(name, settings, (QueueKeys(prefix, name),))
        await until(lambda: all(self.known(name) for name in names), what=f"the first readings of {names}")

    def reading(self, key: str) -> Reading:
        """Return what is known of the key's queue."""
        return self.queues.readings(key)[0]

    def known(self, key: str) -> bool:
        """Whether the queue could be read lately."""
        return self.reading(key).problem is None

    def backlog(self, key: str) -> int | None:
        """Return the queue's backlog; None where it is unknown."""
        reading = self.reading(key)
        return reading.snapshot.backlog if reading.snapshot is not None and reading.problem is None else None

    def backlogs(self, keys: QueueKeys) -> set[int]:
        """Return every backlog that a reading of the queue ever had, also beside a problem."""
        return {one.snapshot.backlog for _, one in self.reads.get(keys, ()) if one.snapshot is not None}

    def gaps(self, keys: QueueKeys) -> list[float]:
        """Return the times between the reads of the queue."""
        return [later - earlier for (earlier, _), (later, _) in itertools.pairwise(self.reads.get(keys, ()))]

    def longest_gap(self, keys: QueueKeys, *, since: float) -> float:
        """Return the longest time between two good readings of the queue, until now."""
        good = [at for at, one in self.reads[keys] if one.problem is None and at >= since]
        return max(later - earlier for earlier, later in itertools.pairwise([since, *good, time.monotonic()]))

    def stalled(self, *, since: float) -> float:
        """Return how many seconds the machine kept this process from its work: no fault of what is tested."""
        return self._stalls.since(since)
