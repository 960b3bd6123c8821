"""What our workers tell of themselves: who lives, and how long jobs take, by job name.

Written by the workers' heartbeat; workers of other make tell nothing here, and are not listed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from queueworker.decoding import parse_json, whole_number
from queueworker.keys import whole_score

ALIVE_WITHIN_MS = 15_000
"""A worker is called alive while its last heartbeat is younger: five beats at the usual pace of 3 s."""


_CLASS = re.compile(r"h[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One worker of a queue."""

    name: str
    last_heartbeat_ms: int
    """Unix milliseconds by the worker's own clock."""
    age_ms: int
    """Since the last heartbeat, by the server's clock; not negative, whatever the worker's clock says."""
    slots: int | None
    """Jobs that it runs at once; None where it does not say."""
    max_stalled_count: int | None

    @property
    def alive(self) -> bool:
        """Whether its last heartbeat is younger than `ALIVE_WITHIN_MS`."""
        return self.age_ms < ALIVE_WITHIN_MS


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """How long the attempts at jobs of one name took, over the life of the queue."""

    name: str
    jobs: int
    """Attempts, failed ones too."""
    milliseconds: int
    histogram: Mapping[int, int]
    """Attempts by k: those that took less than 2**k ms and at least half of that; 0 is below one millisecond."""

    @property
    def mean_ms(self) -> float | None:
        """The mean duration of an attempt; None before the first."""
        return self.milliseconds / self.jobs if self.jobs else None

    @property
    def p50_ms(self) -> float | None:
        """The median, estimated from the histogram."""
        return self.quantile_ms(0.5)

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile, estimated from the histogram."""
        return self.quantile_ms(0.95)

    def quantile_ms(self, quantile: float) -> float | None:
        """Return an estimate in milliseconds, right to within a factor of two; None without attempts.

        Within a class of the histogram the durations are taken to be spread evenly.
        """
        left = quantile * sum(self.histogram.values())
        for k, count in sorted(self.histogram.items()):
            if count and left <= count:
                low, high = (0.0, 1.0) if k == 0 else (2.0 ** (k - 1), 2.0**k)
                return low + (high - low) * left / count
            left -= count
        return None


def decode_worker(name: str, heartbeat: float, about: str | None, *, now_ms: int) -> WorkerRecord:
    """Return a worker from its score in the list of heartbeats and the JSON that it says of itself."""
    try:
        said = parse_json(about) if about is not None else {}
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    last = whole_score(heartbeat)
    return WorkerRecord(name, last, max(0, now_ms - last), _count(said, "slots"), _count(said, "maxStalledCount"))


def decode_statistics(stored: Mapping[str, str]) -> list[JobStatistics]:
    """Return the statistics per job name, most attempts first; what is not whole is left out."""
    fields: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for key, text in stored.items():
        name, colon, what = key.rpartition(":")
        number = whole_number(text)
        if colon and number is not None and number >= 0:
            fields[name][what] = number
    found = [
        JobStatistics(name, of["jobs"], of["ms"], _histogram(of))
        for name, of in fields.items()
        if {"jobs", "ms"} <= of.keys()
    ]
    return sorted(found, key=lambda one: (-one.jobs, one.name))


def _histogram(fields: Mapping[str, int]) -> dict[int, int]:
    # Of the classes 0 to 99 no worker gets to 50, and no double is too small for them.
    return {int(what[1:]): count for what, count in fields.items() if _CLASS.fullmatch(what)}


def _count(said: Mapping[str, Any], name: str) -> int | None:
    value = said.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
