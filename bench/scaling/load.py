"""Queues that are busy, without workers: a process that moves their counts as workers and producers would.

One script call a queue and tick keeps the keys as BullMQ leaves them when so many jobs a second come and go: `wait` and
`active` stay about as long as they were, `metrics:completed` grows, `events` gets an entry.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings

TICK_SECONDS = 0.5
_CHUNK = 100
_SCRIPT = """
local done, waiting, active = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call("HSETNX", KEYS[1], "opts.maxLenEvents", 10000)
redis.call("HINCRBY", KEYS[2], "count", done)
redis.call("INCRBY", KEYS[3], done)
for key, wanted in pairs({[4] = waiting, [5] = active}) do
  local length = redis.call("LLEN", KEYS[key])
  if length < wanted then
    local ids = {}
    for number = length + 1, wanted do ids[#ids + 1] = key .. "-" .. number end
    redis.call("LPUSH", KEYS[key], unpack(ids))
  elseif length > wanted then
    redis.call("LTRIM", KEYS[key], 0, wanted - 1)
  end
end
redis.call("XADD", KEYS[6], "MAXLEN", "~", 100, "*", "event", "completed")
"""


class Load:
    """A process of its own, so that it takes nothing from what is measured but its share of the machine."""

    @classmethod
    @contextmanager
    def start(cls, settings: ConnectionSettings, *, queues: Sequence[str], jobs_per_second: int) -> Iterator[None]:
        """Keep the queues busy until the block ends."""
        command = [sys.executable, "-m", "bench.scaling.load", str(settings.port), str(jobs_per_second)]
        with subprocess.Popen([*command, *queues]) as process:
            try:
                yield
            finally:
                process.terminate()


def main() -> None:
    """Keep queues of a Redis on this host busy until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=int)
    parser.add_argument("queues", nargs="+")
    given = parser.parse_args()
    client = redis.Redis(port=given.port)
    script = client.script_load(_SCRIPT)
    keys = [QueueKeys("bull", queue) for queue in given.queues]
    parts = ("meta", "metrics:completed", "id", "wait", "active", "events")
    chance = random.Random(1)
    # Spread over the tick: real queues do not change all at one moment.
    pause = TICK_SECONDS / max(1, len(keys) / _CHUNK)
    at = time.monotonic()
    while True:
        for start in range(0, len(keys), _CHUNK):
            pipeline = client.pipeline(transaction=False)
            for queue in keys[start : start + _CHUNK]:
                done = round(given.rate * TICK_SECONDS)
                waiting, active = chance.randint(0, 10), chance.randint(3, 8)
                pipeline.evalsha(script, len(parts), *map(queue.of, parts), done, waiting, active)
            pipeline.execute()
            at += pause
            time.sleep(max(0.0, at - time.monotonic()))


if __name__ == "__main__":
    main()
