"""What our worker is to reach, held against the figures of a run; nothing here is a measured number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Part, row, figure."""

OURS = "ours"
LEAST_CONCURRENCY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal: the part that measures it, what that measured, and which values meet it."""

    part: str
    name: str
    wanted: str
    measured: float | None
    met: Callable[[float], bool]
    least: Callable[[float], bool] | None = None
    digits: int = 2

    @property
    def verdict(self) -> str:
        """`met`, `least met`, `not met` or `not measured`."""
        if self.measured is None:
            return "not measured"
        if self.met(self.measured):
            return "met"
        return "least met" if self.least is not None and self.least(self.measured) else "not met"

    @property
    def value(self) -> str:
        """What was measured, for people."""
        return "-" if self.measured is None else f"{self.measured:,.{self.digits}f}"


def goals(results: Results, concurrencies: Sequence[int]) -> list[Goal]:
    """Return every goal with what this run measured."""
    found = [*_speed(results, [one for one in concurrencies if one >= LEAST_CONCURRENCY])]
    share = _figure(results, "sleep", f"{OURS} 200", "share_of_ideal")
    found.append(
        Goal(
            part="sleep",
            name="20 ms jobs at concurrency 200, share of the ideal",
            wanted=">= 0.92 (least 0.88)",
            measured=share,
            met=lambda value: value >= 0.92,
            least=lambda value: value >= 0.88,
            digits=3,
        )
    )
    return [*found, *_moments(results), *_resting(results)]


def _speed(results: Results, concurrencies: Sequence[int]) -> Iterator[Goal]:
    for concurrency in concurrencies:
        yield Goal(
            part="throughput",
            name=f"no-op jobs/s at concurrency {concurrency}, times BullMQ (Node)",
            wanted=">= 1.2 (least 1.0)",
            measured=_ratio(results, "node", concurrency, "jobs_per_second"),
            met=lambda value: value >= 1.2,
            least=lambda value: value >= 1.0,
        )
    for concurrency in concurrencies:
        yield Goal(
            part="throughput",
            name=f"no-op jobs/s at concurrency {concurrency}, times bullmq (Python)",
            wanted=">= 10",
            measured=_ratio(results, "stock", concurrency, "jobs_per_second"),
            met=lambda value: value >= 10,
            digits=1,
        )
    for concurrency in concurrencies:
        yield Goal(
            part="throughput",
            name=f"CPU per job at concurrency {concurrency}, times BullMQ (Node)",
            wanted="<= 1",
            measured=_ratio(results, "node", concurrency, "cpu_us_per_job"),
            met=lambda value: value <= 1,
        )


def _moments(results: Results) -> Iterator[Goal]:
    for state in ("idle", "load"):
        figure = f"{state}_ms_p99"
        ours, node = (_figure(results, "latency", name, figure) for name in (OURS, "node"))
        yield Goal(
            part="latency",
            name=f"add to start p99, {'idle' if state == 'idle' else 'at 500 jobs/s'}, times BullMQ (Node)",
            wanted="<= 1",
            measured=_divided(ours, node),
            met=lambda value: value <= 1,
        )
    late = _figure(results, "delayed", OURS, "late_ms_p99")
    yield _at_most("delayed", "delayed jobs on an idle worker, p99 late, ms", late, 50, digits=1)
    limits = results.get("limiter", {}).get(OURS, {})
    shares = [abs(1 - value) for key, value in limits.items() if key.endswith("ms")]
    yield _at_most(
        "limiter",
        "rate limiter, greatest distance from its rate, %",
        max(shares) * 100 if shares else None,
        3,
        digits=2,
    )
    yield _at_most(
        "start", "process start to its first job, ms", _figure(results, "start", OURS, "first_job_ms"), 600, digits=0
    )


def _resting(results: Results) -> Iterator[Goal]:
    cpu = _figure(results, "idle", OURS, "cpu_percent")
    yield Goal(
        part="idle",
        name="idle worker, % of a processor",
        wanted="< 0.5",
        measured=cpu,
        met=lambda value: value < 0.5,
        digits=3,
    )
    yield _at_most("idle", "idle worker, RSS in MiB", _figure(results, "idle", OURS, "rss_mib"), 60, digits=1)


def _at_most(part: str, name: str, measured: float | None, most: float, *, digits: int) -> Goal:
    return Goal(
        part=part, name=name, wanted=f"<= {most:g}", measured=measured, met=lambda value: value <= most, digits=digits
    )


def _ratio(results: Results, peer: str, concurrency: int, figure: str) -> float | None:
    ours, theirs = (_figure(results, "throughput", f"{name} {concurrency}", figure) for name in (OURS, peer))
    return _divided(ours, theirs)


def _divided(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or not theirs else ours / theirs


def _figure(results: Results, part: str, row: str, figure: str) -> float | None:
    value = results.get(part, {}).get(row, {}).get(figure)
    return None if value is None else float(value)
