"""The command line of the bench: see the package's docstring."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.worker.machine import ROOT
from bench.worker.parts import throughput
from bench.worker.run import Run
from bench.worker.server import BenchServer
from bench.worker.variants import CONCURRENCIES, known, missing

PARTS = {"throughput": throughput.measure}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--concurrency", nargs="*", type=int, default=CONCURRENCIES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--node-modules", type=Path, default=ROOT / "tests" / "node" / "node_modules")
    asked = parser.parse_intermixed_args()
    everyone = known(asked.node_modules)
    parts = [name for name in asked.names if name in PARTS] or list(PARTS)
    peers = [name for name in asked.names if name not in PARTS] or [one.name for one in everyone]
    if strange := set(peers) - {one.name for one in everyone}:
        parser.error(f"no part and no peer: {', '.join(sorted(strange))}")
    variants = [one for one in everyone if one.name in peers]
    for one in variants:
        if why := missing(one):
            print(f"{one.title}: left out: {why}")
    variants = [one for one in variants if not missing(one)]
    server = BenchServer()
    try:
        run = Run(server, variants, asked.concurrency, 1 if asked.quick else asked.rounds, 1.0)
        for part in parts:
            rows = PARTS[part](run)
            for name, figures in rows.items():
                print(
                    f"{name:<14}",
                    "  ".join(
                        f"{key} {value:,.1f}" if isinstance(value, float) else f"{key}: {value}"
                        for key, value in figures.items()
                    ),
                )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
