"""What a run leaves behind: JSON with versions, and the tables in bench/README.md between two markers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.worker.goals import Results
from bench.worker.machine import ROOT
from bench.worker.variants import PEERS_PYTHON, Variant

README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- bench-worker: begin, written by make bench-worker -->", "<!-- bench-worker: end -->"
_OURS = ("queueworker", "bullmq", "redis", "hiredis", "uvloop")
_READ_VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


def versions(variants: Iterable[Variant], server: str) -> dict[str, str]:
    """Return the versions of everything that took part."""
    found = {"valkey": server, "python": platform.python_version(), **_python_versions(sys.executable, _OURS)}
    for variant in variants:
        if variant.name == "node":
            said = json.loads(_said([*variant.produce, "version"], variant.environment))
            found |= {"node": said["node"], "bullmq (Node)": said["bullmq"], "ioredis": said["ioredis"]}
    peers = [variant.distribution for variant in variants if not variant.is_bullmq]
    if peers:
        extra = ("taskiq-redis",) if "taskiq" in peers else ()
        found |= _python_versions(PEERS_PYTHON, (*peers, *extra))
    return found


def machine() -> dict[str, Any]:
    """Return what it ran on."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()]
    names = [line.partition(":")[0].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()]
    model = next((value for name, value in zip(names, models, strict=True) if name == "model name"), "unknown")
    return {"processor": model, "processors": len(os.sched_getaffinity(0)), "kernel": platform.release()}


def document(
    parts: Results, goals: list[dict[str, Any]], *, variants: Iterable[Variant], server: str, rounds: int
) -> dict[str, Any]:
    """Return the run as it is kept in JSON."""
    return {
        "bench": "worker",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "versions": versions(variants, server),
        "rounds": rounds,
        "parts": parts,
        "goals": goals,
    }


def write_json(run: dict[str, Any], path: Path) -> None:
    """Write the document of a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def write_readme(run: dict[str, Any], tables: str, *, readme: Path = README) -> None:
    """Put the tables between the markers, in place of those that stand there."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{readme}: the markers {BEGIN!r} and {END!r} are missing; put them back")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{headline(run)}\n\n{tables}\n{END}{after}")


def headline(run: dict[str, Any]) -> str:
    """Return when, on what and with which versions a run was."""
    names = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    where = run["machine"]
    rounds = "one round" if run["rounds"] == 1 else f"medians of {run['rounds']} rounds"
    on = f"{where['processors']} processors ({where['processor']}), Linux {where['kernel']}"
    return f"Run of {run['date'][:10]} on {on}; {rounds}: {names}."


def _python_versions(python: str | Path, names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(_said([str(python), "-c", _READ_VERSIONS, *names], {}))
    return found


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=60).stdout
