"""Running one piece of work: an interrupt comes between two steps of the loop, wherever the signal does."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest

from queueworker.cli import session


def test_an_interrupt_in_the_midst_of_a_step_of_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def work() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle() -> None:
            # As the loop's own steps do with a socket that has connected.
            assert not future.done()
            signal.raise_signal(signal.SIGINT)
            future.set_result(None)

        asyncio.get_running_loop().call_soon(settle)
        try:
            await future
            await asyncio.sleep(60)
        finally:
            ended.append("cleanly")

    with pytest.raises(KeyboardInterrupt):
        session.run(work())
    assert ended == ["cleanly"]
    assert not caplog.records, caplog.text


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_the_signal_is_as_it_was_afterwards(before: Any) -> None:
    async def work() -> int:
        return 7

    at_first = signal.signal(signal.SIGINT, before)
    try:
        assert session.run(work()) == 7
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, at_first)


def test_who_ignores_interrupts_goes_on() -> None:
    async def work() -> int:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return 7

    at_first = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert session.run(work()) == 7
    finally:
        signal.signal(signal.SIGINT, at_first)


def test_what_the_loop_waits_for_at_its_end_is_broken_off_too() -> None:
    free = threading.Event()
    told = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))

    async def work() -> None:
        # Such a thread looks a name up, for example; asyncio.run waits for it.
        asyncio.get_running_loop().run_in_executor(None, free.wait, 60)
        told.start()

    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            session.run(work())
        assert time.monotonic() - began < 30
    finally:
        free.set()
        told.join()
