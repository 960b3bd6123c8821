"""`make bench-scaling`: how soon, how well and at what cost the operator scales."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable

from bench.report import emit
from bench.scaling import burst, fleets, goals, traces

Figures = dict[str, dict[str, float | int]]

PARTS: dict[str, Callable[[int], Figures]] = {
    "burst": lambda runs: asyncio.run(burst.measure(runs=runs, others=0)),
    "crowd": lambda runs: asyncio.run(burst.measure(runs=runs, others=burst.OTHERS)),
    "fleet-1000": lambda runs: asyncio.run(fleets.measure(count=1_000)),
    "fleet-5000": lambda runs: asyncio.run(fleets.measure(count=5_000)),
    "busy": lambda runs: asyncio.run(fleets.measure_busy(count=1_000)),
}


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "traces", []], help="all where none is named")
    parser.add_argument("--runs", type=int, default=50, help="bursts to measure")
    given = parser.parse_args()
    lines: list[str] = []
    for part in given.parts or [*PARTS, "traces"]:
        if part == "traces":
            lines += traces.measure()
            continue
        rows = PARTS[part](given.runs)
        emit(f"scaling {part}", rows)
        lines += goals.verdicts(part, rows)
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
