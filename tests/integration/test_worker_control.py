"""A program's handle on the workers that it runs by `serve`."""

from __future__ import annotations

import asyncio

import pytest
from worker_support import eventually

import queueworker_worker
from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker import Control, Job, ProcessorError, processor


@processor("controlled")
async def hang(job: Job) -> None:
    await asyncio.sleep(60)


async def test_control_cancels_a_job_with_a_reason_and_changes_the_concurrency(
    redis_settings: ConnectionSettings,
) -> None:
    control, stop = Control(), asyncio.Event()
    with pytest.raises(ProcessorError, match="no worker runs for queue 'controlled'"):
        control.worker("controlled")
    serving = asyncio.create_task(
        queueworker_worker.serve(hang, connection=redis_settings, control=control, stop=stop, environment={})
    )
    async with Queue("controlled", redis_settings) as queue:
        jobs = [await queue.enqueue("any", n, attempts=1) for n in range(3)]
        await eventually(lambda: control.running and control.worker("controlled").jobs_running == 1)
        control.worker("controlled").concurrency = 3
        await eventually(lambda: control.worker("controlled").jobs_running == 3)
        await eventually(lambda: control.worker("controlled").cancel_job(jobs[1].id, "not needed"))
        await eventually(lambda: control.worker("controlled").jobs_done == 1)
        record = await queue.job(jobs[1].id)
        assert record is not None
        assert record.failed_reason == "not needed"
        control.worker("controlled").cancel_all_jobs("closing")
        stop.set()
        assert await asyncio.wait_for(serving, 30) == 0
    assert not control.running
