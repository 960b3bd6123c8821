"""Details, and readings that somebody waits for; in virtual time."""

from __future__ import annotations

import asyncio

import pytest
import virtual_time
from queues_world import BUSY, REDIS, Bench, FakeServer, clock, gaps, keys

from queueworker.errors import RedisReadError

pytestmark = pytest.mark.usefixtures("no_logs")


def test_details_are_read_once_of_a_quiet_queue_and_every_five_seconds_of_a_busy_one() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(100)
        assert len(bench.server.details) == 1
        assert bench.reading("a").details is not None
        bench.server.event("a", **BUSY)
        began = clock()
        await asyncio.sleep(20)
        late = [call.at - began for call in bench.server.details[1:]]
        assert late[0] < 0.1, "at once when it becomes busy"
        assert 4.9 < min(gaps(late)) <= max(gaps(late)) < 5.3
        bench.server.set("a")
        await asyncio.sleep(60)
        assert len(bench.server.details) <= 1 + len(late) + 1
        await bench.queues.close()

    virtual_time.run(main())


def test_details_that_fail_leave_the_last_good_ones_and_the_counts_known() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.set("a", **BUSY)
        bench.subscribe("a")
        await asyncio.sleep(2)
        at = bench.reading("a").details_at
        assert at is not None
        reader_details = bench.server.details
        bench.server.details = []
        bench.server.errors["a"] = RedisReadError("denied", reason="RedisDenied")
        await asyncio.sleep(10)
        assert reader_details
        assert bench.reading("a").details is not None
        assert bench.reading("a").details_at == at
        await bench.queues.close()

    virtual_time.run(main())


def test_a_refresh_reads_now_and_ends_when_counts_and_details_are_there() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds=0.02))
        bench.queues.subscribe("k", REDIS, (keys("a"), keys("b")))
        await asyncio.sleep(7)
        asked = clock()
        assert await bench.queues.refresh("k", details=True, within=2.0)
        assert clock() - asked == pytest.approx(0.04, abs=0.01)
        for reading in bench.queues.readings("k"):
            assert reading.read_at > asked
            assert reading.details_at > asked
        asked, details = clock(), len(bench.server.details)
        assert await bench.queues.refresh("k", within=2.0)
        assert clock() - asked == pytest.approx(0.02, abs=0.01)
        assert len(bench.server.details) == details
        await bench.queues.close()

    virtual_time.run(main())


def test_a_refresh_does_not_take_a_read_for_an_answer_that_was_under_way_already() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds=0.5))
        bench.subscribe("a")
        await asyncio.sleep(0.1)
        assert await bench.queues.refresh("a")
        assert clock() == pytest.approx(1001.0, abs=0.01)
        await bench.queues.close()

    virtual_time.run(main())


def test_refreshes_of_one_server_are_read_together() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds=0.02))
        names = [f"q{number}" for number in range(40)]
        bench.subscribe(*names)
        await asyncio.sleep(31)
        before = len(bench.server.reads) + len(bench.server.details)
        assert all(await asyncio.gather(*(bench.queues.refresh(name, details=True) for name in names)))
        assert len(bench.server.reads) + len(bench.server.details) <= before + 4
        await bench.queues.close()

    virtual_time.run(main())


def test_a_refresh_ends_in_time_where_the_server_hangs_and_at_once_where_it_is_known_to() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(1)
        bench.server.hangs = True
        asked = clock()
        assert not await bench.queues.refresh("a", details=True, within=1.0)
        assert clock() - asked == pytest.approx(1.0, abs=0.01)
        await asyncio.sleep(10)
        asked = clock()
        assert not await bench.queues.refresh("a", within=1.0)
        assert clock() == asked
        await bench.queues.close()

    virtual_time.run(main())
