"""What the server itself can do: BullMQ's scripts called by a client that does nothing else.

The ids of the jobs are known beforehand, so that all calls are packed before the clock runs and up to 128 of them are
under way: `moveToFinished` that records a job and fetches the next, exactly one call a job, as a worker would make it
whose own work cost nothing. The server is then never idle, and no worker can be faster on this server.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgpack
from bench.worker.machine import WORKER_CPU, BenchError, on_cpu
from bench.worker.server import Command, Wire, pack

from queueworker.keys import QueueKeys
from queueworker.scripts import load

IN_FLIGHT = 128
_BENCH = QueueKeys("bull", "bench")
_FRONT = ("wait", "active", "prioritized", "events", "stalled", "limiter", "delayed", "paused", "meta", "pc")
_LOCK = {"token": "limit", "lockDuration": 30_000}


def fill(wire: Wire, number: int, *, queue: str = "bench", at: int = 0) -> None:
    """Add so many jobs as BullMQ's `Queue.add` does: ids 1, 2, 3…, removed when completed."""
    script, keys = load("addStandardJob"), QueueKeys("bull", queue)
    names = ("wait", "paused", "meta", "id", "completed", "delayed", "active", "events", "marker")
    head = msgpack.packb([keys.base, "", "job", _now_ms(), None, None, None, None, None])
    options = msgpack.packb({"attempts": 0, "removeOnComplete": True, "removeOnFail": True})
    words = [keys.of(name) for name in names]
    command = pack(("EVALSHA", script.sha1, len(words), *words, head, f'{{"at":{at}}}', options))
    wire.one("SCRIPT", "LOAD", script.source)
    wire.send(command * number, number)


def seconds(port: int, *, warm: int, count: int, ca_file: Path | None = None) -> float:
    """Finish the jobs 1 to `warm + count`, which wait on the server, and return how long the last `count` took."""
    wire = Wire(port, ca_file=ca_file)
    try:
        for name in ("moveToActive", "moveToFinished"):
            wire.one("SCRIPT", "LOAD", load(name).source)
        script = load("moveToActive")
        keys = [_BENCH.of(name) for name in (*_FRONT, "marker")]
        first = wire.one(
            "EVALSHA", script.sha1, len(keys), *keys, _BENCH.base, _now_ms(), msgpack.packb({**_LOCK, "limiter": None})
        )
        if first[1] != b"1":
            raise BenchError(f"the first job is {first[1]!r}, not 1: the queue was not filled by `fill`")
        packed = [pack(_finishing(number)) for number in range(1, warm + count + 1)]
        with on_cpu(WORKER_CPU):
            return _stream(wire, packed, warm=warm)
    finally:
        wire.socket.close()


def _stream(wire: Wire, packed: list[bytes], *, warm: int) -> float:
    """Send all, a bounded number ahead of the replies; return the seconds from reply `warm` to the last."""
    sent = received = 0
    begin = 0.0
    while received < len(packed):
        # Half of them at a time, so that sending costs few system calls.
        if sent < len(packed) and sent - received <= IN_FLIGHT // 2:
            wire.socket.sendall(b"".join(packed[sent : sent + IN_FLIGHT // 2]))
            sent += IN_FLIGHT // 2
        replies = wire.read()
        if any(isinstance(reply, (int, Exception)) and reply != 0 for reply in replies):
            raise BenchError(f"moveToFinished answered {replies}")
        before, received = received, received + len(replies)
        if before < warm <= received:
            begin = time.monotonic()
    return time.monotonic() - begin


def _finishing(number: int) -> Command:
    script = load("moveToFinished")
    options = {**_LOCK, "keepJobs": {"count": 0}, "limiter": None, "attempts": 0, "attemptsMade": 1}
    options |= {"maxMetricsSize": "", "fpof": False, "cpof": False, "idof": False, "rdof": False}
    names = (*_FRONT, "completed", str(number), "metrics:completed", "marker")
    keys = [_BENCH.of(name) for name in names]
    words = (str(number), _now_ms(), "returnvalue", "null", "completed", "1", _BENCH.base, msgpack.packb(options))
    return ("EVALSHA", script.sha1, len(keys), *keys, *words)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
