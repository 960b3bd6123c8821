"""A cancel that the code in between took no notice of, or that comes together with an error."""

import asyncio
from contextlib import suppress

import pytest

from queueworker.cancels import kept_cancels


async def swallow(error: Exception | None) -> None:
    """Do as Python 3.11's `wait_for`, and then perhaps fail."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, OSError("gone")])
async def test_a_cancel_that_was_swallowed_is_raised_at_the_end(error: Exception | None) -> None:
    async def work() -> None:
        with kept_cancels():
            await swallow(error)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_who_goes_on_after_a_cancel_is_left_alone() -> None:
    async def work() -> str:
        await swallow(None)
        with kept_cancels():
            await asyncio.sleep(0)
        return "cleaned up"

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned up"


async def test_a_timeout_around_it_stays_one() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            with kept_cancels():
                await swallow(OSError("gone"))

    with pytest.raises(TimeoutError):
        await work()
