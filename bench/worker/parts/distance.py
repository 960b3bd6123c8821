"""No-op jobs per second through a proxy: at a round trip of 1 ms, and with TLS."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.worker.machine import PROXY_CPU, BenchError, running
from bench.worker.parts.throughput import server_limit
from bench.worker.run import Figures, Run, interleaved, rate
from bench.worker.server import Wire

ROUND_TRIP_MS = 1.0


def round_trip(run: Run) -> dict[str, Any]:
    """Measure with replies that come 1 ms late."""
    with proxied(run, "--delay-ms", str(ROUND_TRIP_MS)) as port:
        return _measure(run, port, None, what="roundtrip")


def tls(run: Run) -> dict[str, Any]:
    """Measure with TLS 1.3 that ends in the proxy."""
    with tempfile.TemporaryDirectory(prefix="bench-worker-") as directory:
        certificate, key = _certificate(Path(directory))
        with proxied(run, "--certificate", str(certificate), "--key", str(key)) as port:
            return _measure(run, port, certificate, what="tls")


def _measure(run: Run, port: int, ca_file: Path | None, *, what: str) -> dict[str, Any]:
    cells: list[tuple[str, Callable[[], Figures]]] = [("limit", partial(_proxy, run, port, ca_file))]
    for concurrency in run.concurrencies:
        for variant in run.variants:
            if variant.is_main:
                expected = min(variant.rate(concurrency), concurrency * (800 if ca_file is None else 2_000))
                one = partial(rate, run, variant, concurrency, expected=expected, port=port, ca_file=ca_file)
                cells.append((f"{variant.name} {concurrency}", one))
    return interleaved(run, cells, what=what)


def _proxy(run: Run, port: int, ca_file: Path | None) -> Figures:
    """Return what the server does for a pipelining client through the proxy, and the round trip of a PING."""
    wire = Wire(port, ca_file=ca_file)
    taken = []
    for _ in range(200):
        start = time.monotonic()
        wire.one("PING")
        taken.append((time.monotonic() - start) * 1_000)
    wire.socket.close()
    return server_limit(run, port=port, ca_file=ca_file) | {"ping_ms": statistics.median(taken)}


@contextmanager
def proxied(run: Run, *arguments: str) -> Iterator[int]:
    """Run a proxy before the server and yield its port."""
    command = (sys.executable, "-m", "bench.worker.proxy", str(run.server.port), *arguments)
    with running(command, {}, cpu=PROXY_CPU) as process:
        deadline = time.monotonic() + 10
        while not (said := process.said()).endswith("\n"):
            if time.monotonic() > deadline:
                raise BenchError(f"the proxy did not start: {said}")
            time.sleep(0.01)
        yield int(said)


def _certificate(directory: Path) -> tuple[Path, Path]:
    """Return a certificate of 127.0.0.1 that is its own authority, and its key."""
    if shutil.which("openssl") is None:
        raise BenchError("the openssl command is not installed: no certificate for the proxy")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem")
    subprocess.run(["openssl", *request.split(), *names], cwd=directory, check=True, capture_output=True)
    return directory / "certificate.pem", directory / "key.pem"
