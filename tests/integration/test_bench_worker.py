"""Every part of `make bench-worker` on small numbers, and a moment of each peer that is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from bench.worker.parts import distance, enqueue, limiter, moments, resting, sleeping, throughput
from bench.worker.run import Run
from bench.worker.server import BenchServer
from bench.worker.variants import Variant, known, missing

VARIANTS = {one.name: one for one in known()}
# The peers' own environment belongs to `make bench-worker`; what the tests' environment has is tried here.
INSTALLED = [name for name, variant in VARIANTS.items() if name != "ours" and not missing(variant)]


@pytest.fixture(scope="module")
def server() -> Iterator[BenchServer]:
    server = BenchServer()
    yield server
    server.stop()


@pytest.fixture
def run(server: BenchServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in {"WARM": 3, "IDLE": 5, "LOADED": 20, "DELAYED": 5, "WITHIN_MS": 200}.items():
        monkeypatch.setattr(moments, name, value)
    monkeypatch.setattr(limiter, "SECONDS", 1.0)
    monkeypatch.setattr(resting, "SETTLE_SECONDS", 0.1)
    return of(server, VARIANTS["ours"])


def of(server: BenchServer, *variants: Variant) -> Run:
    return Run(server, variants, (10,), 1, 0.02, idle_seconds=0.3, memory_jobs=200)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_peer_runs_waiting_jobs(server: BenchServer, name: str) -> None:
    variant = VARIANTS[name]
    figures = throughput.rate(of(server), variant, variant.concurrencies[:2][-1], expected=100)
    assert figures["jobs_per_second"] > 0
    assert figures["cpu_us_per_job"] > 0
    assert figures["first_job_ms"] > 0


def test_throughput_has_our_worker_beside_the_limit_of_the_server(run: Run) -> None:
    rows = throughput.measure(run)
    # How far apart they are, so few jobs on a busy machine do not say.
    assert rows["limit"]["jobs_per_second"] > 0
    assert rows["ours 10"]["jobs_per_second"] > 0


def test_sleeping_jobs_have_an_ideal(run: Run) -> None:
    run.concurrencies = (50,)
    assert 0 < sleeping.measure(run)["ours 50"]["share_of_ideal"] <= 1.2


def test_moments_are_in_their_order(run: Run) -> None:
    latency, delayed, start = moments.latency(run)["ours"], moments.delayed(run)["ours"], moments.start(run)["ours"]
    assert 0 < latency["idle_ms_p50"] <= latency["idle_ms_p99"]
    assert 0 < latency["load_ms_p50"] <= latency["load_ms_p99"]
    assert delayed["late_ms_p50"] > -2  # BullMQ's times are whole milliseconds
    assert start["first_job_ms"] > latency["idle_ms_p50"]


def test_the_limiter_limits(run: Run) -> None:
    shares = [value for key, value in limiter.measure(run)["ours"].items() if key.endswith("ms")]
    assert len(shares) == len(limiter.LIMITS)
    # How exact they are, one second on a busy machine does not say.
    assert all(share > 0 for share in shares)


def test_adding_has_three_modes(run: Run) -> None:
    rows = enqueue.measure(run)
    assert [rows[f"ours {mode}"]["jobs_per_second"] > 0 for mode in enqueue.MODES] == [True] * 3


def test_a_round_trip_costs_what_it_says(run: Run) -> None:
    rows = distance.round_trip(run)
    assert distance.ROUND_TRIP_MS <= rows["limit"]["ping_ms"] < 50
    assert rows["ours 10"]["jobs_per_second"] <= 10 / (distance.ROUND_TRIP_MS / 1_000)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_tls_ends_in_the_proxy(run: Run) -> None:
    rows = distance.tls(run)
    assert "error" not in rows["ours 10"], rows
    assert rows["limit"]["jobs_per_second"] > 0


def test_resting_workers_take_memory_and_hardly_time(run: Run) -> None:
    idle, memory = resting.idle(run)["ours"], resting.memory(run)["ours"]
    assert 0 <= idle["cpu_percent"] < 50
    assert 10 < idle["rss_mib"] < 500
    assert 10 < memory["early_rss_mib"] <= memory["rss_mib"] + 20
