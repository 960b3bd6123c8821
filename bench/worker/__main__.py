"""The command line of the bench: see the package's docstring."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.worker import document
from bench.worker.goals import Goal, Results, goals
from bench.worker.machine import ROOT, BenchError
from bench.worker.parts import distance, enqueue, limiter, moments, resting, sleeping, throughput
from bench.worker.run import Run
from bench.worker.server import BenchServer
from bench.worker.tables import markdown
from bench.worker.variants import CONCURRENCIES, Variant, known, missing

PARTS = {
    "throughput": (throughput.measure, 280),
    "sleep": (sleeping.measure, 150),
    "latency": (moments.latency, 220),
    "enqueue": (enqueue.measure, 80),
    "delayed": (moments.delayed, 55),
    "limiter": (limiter.measure, 75),
    "start": (moments.start, 45),
    "roundtrip": (distance.round_trip, 115),
    "tls": (distance.tls, 115),
    "idle": (resting.idle, 40),
    "memory": (resting.memory, 35),
}
"""Each part with its share of the time, about the seconds of five rounds; what one leaves the others may use."""


def main() -> None:
    """Measure what the command line asks for."""
    asked = _arguments()
    # Workers are in sessions of their own: without an orderly end they would outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    variants = _installed(asked.variants)
    rounds = 1 if asked.quick else asked.rounds
    server = BenchServer()
    try:
        run = Run(server, variants, asked.concurrency, rounds, asked.window)
        results = _measure(run, asked.parts, minutes=asked.minutes)
        found = goals(results, asked.concurrency)
        whole = document.document(
            results, [_plain(goal) for goal in found], variants=variants, server=server.version, rounds=rounds
        )
    finally:
        server.stop()
    titles = {variant.name: variant.title for variant in variants}
    tables = markdown(results, titles, found if asked.goals else (), rounds=rounds)
    print(f"{document.headline(whole)}\n\n{tables}")
    document.write_json(whole, asked.json)
    if asked.write:
        document.write_readme(whole, tables, readme=asked.readme)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description="Measure the worker and its peers.")
    parser.add_argument("names", nargs="*", help="parts and peers; all of a kind of which none is named")
    parser.add_argument("--list", action="store_true", help="name the parts and the peers")
    parser.add_argument("--concurrency", nargs="+", type=int, default=CONCURRENCIES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--window", type=float, default=0.7, help="about how many seconds a rate is measured")
    parser.add_argument("--minutes", type=float, default=19.5, help="a round that would end later is not begun")
    parser.add_argument("--goals", action="store_true", help="print the goals, measured and met or not")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-worker.json")
    parser.add_argument("--write", action="store_true", help="write the tables into the README")
    parser.add_argument("--readme", type=Path, default=document.README)
    asked = parser.parse_intermixed_args()
    everyone = {one.name: one for one in known()}
    if strange := [name for name in asked.names if name not in PARTS and name not in everyone]:
        parser.error(f"no part and no peer: {', '.join(strange)}; --list names them")
    if asked.list:
        parser.exit(0, f"parts: {' '.join(PARTS)}\npeers: {' '.join(everyone)}\n")
    asked.parts = [name for name in PARTS if name in asked.names] or list(PARTS)
    asked.variants = [one for name, one in everyone.items() if name in asked.names] or list(everyone.values())
    return asked


def _installed(variants: list[Variant]) -> list[Variant]:
    for one in variants:
        if why := missing(one):
            print(f"{one.title} is left out: {why}", file=sys.stderr)
    return [one for one in variants if not missing(one)]


def _measure(run: Run, parts: list[str], *, minutes: float) -> Results:
    """Measure the parts, each within its share of the time that is left."""
    end = time.monotonic() + minutes * 60
    results: dict[str, Any] = {}
    for index, part in enumerate(parts):
        measure, weight = PARTS[part]
        begin = time.monotonic()
        run.deadline = begin + (end - begin) * weight / sum(PARTS[name][1] for name in parts[index:])
        try:
            results[part] = measure(run)
        except BenchError as error:
            print(f"{part} is left out: {error}", file=sys.stderr)
        print(f"{part} took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return results


def _plain(goal: Goal) -> dict[str, Any]:
    return {"goal": goal.name, "wanted": goal.wanted, "measured": goal.measured, "verdict": goal.verdict}


if __name__ == "__main__":
    main()
