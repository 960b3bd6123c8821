"""Who is measured: how each is started, which jobs it understands, and what it needs to be installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.worker.machine import ROOT
from tests.nodeside import PACKAGES, node

CONCURRENCIES = (1, 10, 50, 200)
Limit = tuple[int, int]
"""Jobs and ms."""
FAST = {1: 2_000, 10: 12_000, 50: 16_000, 200: 17_000}
DRIVERS = ROOT / "bench" / "worker" / "peers"
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One worker that is measured."""

    name: str
    title: str
    jobs: str
    """Whose jobs it works on; variants with the same share snapshots."""
    work: tuple[str, ...]
    """The command of the worker; the concurrency follows, and for ours the queues."""
    produce: tuple[str, ...]
    distribution: str
    concurrencies: tuple[int, ...] = CONCURRENCIES
    guess: Mapping[int, int] = field(default_factory=dict)
    """About how many no-op jobs per second it runs at a concurrency, to choose how many to measure."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_bullmq(self) -> bool:
        """Whether it works on BullMQ's queues."""
        return self.jobs == "bullmq"

    @property
    def is_main(self) -> bool:
        """Whether it takes part where only BullMQ's queues are compared; our second event loop is left out there."""
        return self.is_bullmq and self.name != "stdlib"

    @property
    def is_ours(self) -> bool:
        """Whether it is our worker."""
        return self.name in ("ours", "stdlib")

    def worker(self, concurrency: int, queues: Iterable[str]) -> tuple[str, ...]:
        """Return the command of a worker; peers take other queues than `bench` from BENCH_LIMITS."""
        named = ("--concurrency", str(concurrency), *queues) if self.is_ours else (str(concurrency),)
        return (*self.work, *named)

    def limited(self, limits: Mapping[str, Limit]) -> dict[str, str]:
        """Return the environment that gives queues a limiter."""
        theirs = {queue: {"limiter": {"max": most, "duration": ms}} for queue, (most, ms) in limits.items()}
        ours = [
            {"name": queue, "limiter": {"max": most, "durationMilliseconds": ms}}
            for queue, (most, ms) in limits.items()
        ]
        return {"BENCH_LIMITS": json.dumps(theirs), "QUEUEWORKER_QUEUES": json.dumps(ours)}

    def rate(self, concurrency: int) -> int:
        """Return about how many no-op jobs it runs per second."""
        return self.guess[max(known for known in self.guess if known <= max(concurrency, min(self.guess)))]

    def connected_to(self, port: int, ca_file: Path | None = None) -> dict[str, str]:
        """Return the environment that tells it, ours and its driver, where Redis is."""
        ours = {"QUEUEWORKER_REDIS_HOST": "127.0.0.1", "QUEUEWORKER_REDIS_PORT": str(port)}
        found = {"BENCH_PORT": str(port), **ours, **self.environment}
        if ca_file is not None:
            found |= {"BENCH_CA": str(ca_file), "QUEUEWORKER_REDIS_TLS": "true"}
            found["QUEUEWORKER_REDIS_TLS_CA_FILE"] = str(ca_file)
        return found


def known() -> tuple[Variant, ...]:
    """Return all variants, ours first."""
    return (
        _ours("ours", "ours, uvloop", ("-m", "queueworker_worker")),
        _ours("stdlib", "ours, stdlib loop", ("-m", "bench.worker.peers.ours_stdlib")),
        _python("stock", "bullmq (Python)", sys.executable, guess={1: 1_000}, jobs="bullmq", distribution="bullmq"),
        _node(),
        _python("dramatiq", "dramatiq", PEERS_PYTHON, guess={1: 250, 10: 2_000, 50: 3_500}),
        _python("huey", "huey", PEERS_PYTHON, guess={1: 1_300, 10: 3_500}),
        _python("taskiq", "taskiq, uvloop", PEERS_PYTHON, guess={1: 1_300, 10: 2_000}),
        _python("celery", "Celery", PEERS_PYTHON, guess={1: 600}),
        _python("rq", "RQ", PEERS_PYTHON, guess={1: 110}, concurrencies=(1,)),
    )


def _ours(name: str, title: str, program: tuple[str, ...]) -> Variant:
    return Variant(
        name=name,
        title=title,
        jobs="bullmq",
        work=(sys.executable, *program, "work", "--module", "bench.worker.peers.ours"),
        produce=_driver("ours_produce", sys.executable),
        distribution="queueworker",
        guess=FAST,
    )


def _node() -> Variant:
    command = (str(node()), str(DRIVERS / "node.cjs"))
    return Variant(
        name="node",
        title="BullMQ (Node)",
        jobs="bullmq",
        work=(*command, "work"),
        produce=command,
        distribution="node",
        guess=FAST,
        environment={"NODE_PATH": str(PACKAGES)},
    )


def _python(
    name: str,
    title: str,
    python: str | Path,
    *,
    guess: Mapping[int, int],
    jobs: str = "",
    distribution: str = "",
    concurrencies: tuple[int, ...] = CONCURRENCIES,
) -> Variant:
    driver = _driver("stock" if name == "stock" else f"{name}_peer", python)
    return Variant(
        name=name,
        title=title,
        jobs=jobs or name,
        work=(*driver, "work"),
        produce=driver,
        distribution=distribution or name,
        guess=guess,
        concurrencies=concurrencies,
    )


def _driver(module: str, python: str | Path) -> tuple[str, ...]:
    return (str(python), "-m", f"bench.worker.peers.{module}")


def missing(variant: Variant) -> str | None:
    """Return what is not installed, or None where it can be measured."""
    if variant.name == "node" and not (PACKAGES / "bullmq").is_dir():
        return f"no bullmq in {PACKAGES.relative_to(ROOT)}: make node"
    return None if Path(variant.work[0]).exists() else f"no {Path(variant.work[0]).relative_to(ROOT)}: make bench-venv"
