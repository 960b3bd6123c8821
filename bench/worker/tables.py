"""The figures of a run as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.worker.goals import Goal, Results

Titles = Mapping[str, str]
"""Variant and what to call it."""


def markdown(results: Results, titles: Titles, goals: Sequence[Goal], *, rounds: int = 1) -> str:
    """Return every table that has figures, with its heading, and how many rounds it had where there were fewer."""
    asked = [goal for goal in goals if goal.part in results]
    found = [_goals(asked)] if asked else []
    for part, heading, text, table in _TABLES:
        if part in results:
            fewest = min((int(row.get("rounds", rounds)) for row in results[part].values()), default=rounds)
            short = f" The time was enough for {fewest} of {rounds} rounds." if fewest < rounds else ""
            found.append(f"### {heading}\n\n{text}{short}\n\n{table(results[part], titles)}")
    return "\n\n".join(found)


def _goals(goals: Sequence[Goal]) -> str:
    rows = [[goal.name, goal.wanted, goal.value, goal.verdict] for goal in goals]
    return "### Goals\n\n" + _table(["goal", "wanted", "measured", ""], rows)


def _by_concurrency(rows: Mapping[str, Mapping[str, Any]], titles: Titles) -> str:
    columns = sorted({int(row.split()[1]) for row in rows if " " in row})
    lines = []
    if "limit" in rows:
        limit = rows["limit"]
        ping = f", PING {limit['ping_ms']:.2f} ms" if "ping_ms" in limit else ""
        cpu = f" ({limit['server_cpu_us_per_job']:.0f})" if "server_cpu_us_per_job" in limit else ""
        lines.append([f"the server's own limit{ping}", _rate(limit) + cpu, *[""] * (len(columns) - 1)])
    for name, title in titles.items():
        cells = [rows.get(f"{name} {column}") for column in columns]
        if any(cells):
            lines.append([title, *(_rate(cell) if cell else "" for cell in cells)])
    return _table(["jobs/s (CPU µs a job), concurrency", *map(str, columns)], lines)


def _rate(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return "failed"
    text = _number(row["jobs_per_second"])
    if "share_of_ideal" in row:
        text += f", {row['share_of_ideal']:.1%} of the ideal"
    return f"{text} ({row['cpu_us_per_job']:.0f})" if "cpu_us_per_job" in row else text


def _enqueue(rows: Mapping[str, Mapping[str, Any]], titles: Titles) -> str:
    modes = list(dict.fromkeys(row.split()[1] for row in rows))
    lines = []
    for name, title in titles.items():
        cells = [rows.get(f"{name} {mode}") for mode in modes]
        if any(cells):
            lines.append([title, *(_rate(cell) if cell else "" for cell in cells)])
    names = {"serial": "one after another", "inflight": "50 in flight", "bulk": "500 at a time"}
    return _table(["jobs added/s", *(names[mode] for mode in modes)], lines)


def _figures(**columns: str) -> Callable[[Mapping[str, Mapping[str, Any]], Titles], str]:
    """Return a table of some figures, each with its format."""

    def table(rows: Mapping[str, Mapping[str, Any]], titles: Titles) -> str:
        lines = [[titles[name], *_cells(rows[name], columns)] for name in titles if name in rows]
        return _table(["", *(key.replace("_", " ").replace("ms p", "ms, p") for key in columns)], lines)

    return table


def _limits(rows: Mapping[str, Mapping[str, Any]], titles: Titles) -> str:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row if key.endswith("ms")))
    lines = [[titles[name], *_cells(rows[name], dict.fromkeys(columns, ".3f"))] for name in titles if name in rows]
    return _table(["measured / nominal", *(column.replace("/", " per ") for column in columns)], lines)


def _cells(row: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[str]:
    for key, form in columns.items():
        if "error" in row:
            yield "failed"
        else:
            yield "" if key not in row else _number(row[key]) if form == "number" else format(row[key], form)


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_TABLES = (
    (
        "throughput",
        "No-op jobs per second",
        "The server's own limit is one client that does nothing but call `moveToFinished` with the next fetch, up to "
        "128 calls under way and packed beforehand: no worker can be faster on this server. In brackets is the CPU of "
        "the worker, in the first row that of the server; where a million divided by that is far above the rate, "
        "something else had the server's processor, and the run says little.",
        _by_concurrency,
    ),
    (
        "sleep",
        "Jobs that wait 20 ms",
        "The ideal is concurrency / 20 ms: 2 500 and 10 000 jobs per second.",
        _by_concurrency,
    ),
    (
        "latency",
        "From add to start, ms",
        "Concurrency 10. Idle: a job every 15 ms. Load: 500 jobs per second. The producer is another process, each "
        "peer's own. RQ's worker, in one process, is slower than the load.",
        _figures(idle_ms_p50=".1f", idle_ms_p99=".1f", load_ms_p50=".1f", load_ms_p99=".1f"),
    ),
    ("enqueue", "Jobs added per second by one process", "No worker runs.", _enqueue),
    (
        "delayed",
        "Delayed jobs on an idle worker, ms late",
        "Delays between 50 ms and 2 s, to the millisecond.",
        _figures(late_ms_p50=".1f", late_ms_p99=".1f"),
    ),
    (
        "limiter",
        "Rate limiter",
        "Four queues with a limit each in one process: 1 is exact. The time is that from the first job to the first of "
        "the window after 3 s; where that did not come, to the moment when the measuring ended.",
        _limits,
    ),
    (
        "start",
        "From the start of the process to its first job, ms",
        "The job waits, compiled modules and disk cache are warm.",
        _figures(first_job_ms="number"),
    ),
    (
        "roundtrip",
        "No-op jobs per second at a round trip of 1 ms",
        "Through a proxy that holds replies back; it takes of the server's processor where there are only two. Its own "
        "limit and round trip are in the first row.",
        _by_concurrency,
    ),
    (
        "tls",
        "No-op jobs per second with TLS",
        "Through a proxy that ends TLS 1.3; what holds for the other proxy holds for it.",
        _by_concurrency,
    ),
    (
        "idle",
        "A worker with nothing to do",
        "Over 20 s after one job; CPU in percent of one processor.",
        _figures(cpu_percent=".3f", rss_mib=".1f"),
    ),
    (
        "memory",
        "Memory after many jobs, MiB",
        "No-op jobs at concurrency 50, once; early is after a tenth of them.",
        _figures(jobs="number", early_rss_mib=".1f", rss_mib=".1f"),
    ),
)
