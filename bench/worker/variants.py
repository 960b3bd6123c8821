"""Who is measured: how each is started, which jobs it understands, and what it needs to be installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.worker.machine import ROOT

CONCURRENCIES = (1, 10, 50, 200)
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
    """The command of the worker; the concurrency is the last argument."""
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
    def is_ours(self) -> bool:
        """Whether it is our worker."""
        return self.name in ("ours", "stdlib")

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


def known(node_modules: Path) -> tuple[Variant, ...]:
    """Return all variants, ours first."""
    serve = ("work", "bench", "--module", "bench.worker.peers.ours", "--concurrency")
    ours = _python("stock", sys.executable)
    node = (shutil.which("node") or "node", str(DRIVERS / "node.cjs"))
    fast = {1: 2_000, 10: 12_000, 50: 16_000, 200: 17_000}
    bullmq = (
        _bullmq("ours", "ours, uvloop", (sys.executable, "-m", "queueworker_worker", *serve), fast),
        _bullmq("stdlib", "ours, stdlib loop", (sys.executable, "-m", "bench.worker.peers.ours_stdlib", *serve), fast),
        _bullmq("stock", "bullmq (Python)", (*ours, "work"), {1: 1_000}),
        Variant(
            name="node",
            title="BullMQ (Node)",
            jobs="bullmq",
            work=(*node, "work"),
            produce=node,
            distribution="node",
            guess=fast,
            environment={"NODE_PATH": str(node_modules)},
        ),
    )
    return bullmq


def _bullmq(name: str, title: str, work: tuple[str, ...], guess: Mapping[int, int]) -> Variant:
    driver = "ours" if name in ("ours", "stdlib") else "stock"
    return Variant(
        name=name,
        title=title,
        jobs="bullmq",
        work=work,
        produce=_python(f"{driver}_produce" if driver == "ours" else driver, sys.executable),
        distribution="bullmq" if name == "stock" else "queueworker",
        guess=guess,
    )


def _python(driver: str, python: str | os.PathLike[str]) -> tuple[str, ...]:
    return (str(python), "-m", f"bench.worker.peers.{driver}")


def missing(variant: Variant) -> str | None:
    """Return what is not installed, or None where it can be measured."""
    if variant.name == "node":
        modules = Path(variant.environment["NODE_PATH"])
        if shutil.which("node") is None:
            return "node is not on PATH"
        return None if (modules / "bullmq").is_dir() else f"no bullmq in {modules}"
    return None if Path(variant.work[0]).exists() else f"{variant.work[0]} is not there: make bench-venv"
