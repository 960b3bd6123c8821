"""What a worker tells its listeners, who may be sync or async and can never harm a job."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Literal, get_args

_log = logging.getLogger(__name__)

EventName = Literal["active", "completed", "failed", "progress", "stalled", "drained", "error"]
EVENTS: tuple[str, ...] = get_args(EventName)
Listener = Callable[..., Awaitable[None] | None]


class Emitter:
    """Calls listeners; what they raise is logged.

    `active(job)`, `completed(job, result)`, `failed(job, error)` for every attempt that failed, `progress(job_id,
    progress)`, `stalled(job_id)` for a job of a dead worker that went back to wait, `drained()` when the queue has no
    more job to take, `error(exception)` for trouble with Redis.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._running: set[asyncio.Future[None]] = set()

    def on(self, event: EventName, listener: Listener) -> None:
        """Call `listener` at every such event; raises ValueError for an event that there is not."""
        if event not in EVENTS:
            raise ValueError(f"no event {event!r}: there are {', '.join(EVENTS)}")
        self._listeners[event].append(listener)

    def emit(self, event: EventName, *about: Any) -> None:
        """Tell the listeners of an event: sync ones now, async ones in a task of their own."""
        for listener in self._listeners.get(event, ()):
            try:
                called = listener(*about)
                if inspect.isawaitable(called):
                    self._start(event, called)
            except BaseException as error:  # noqa: BLE001 - a listener may raise anything, SystemExit and a cancel too
                self._complain(event, error)

    async def ended(self, *, seconds: float) -> None:
        """Wait until async listeners have ended, and cancel those that take longer."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for one in late:
                one.cancel()

    def _start(self, event: str, called: Awaitable[None]) -> None:
        running = asyncio.ensure_future(self._listen(event, called))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _listen(self, event: str, called: Awaitable[None]) -> None:
        try:
            await called
        except asyncio.CancelledError:
            # At the end of the worker, or of something that the listener waited for.
            return
        except BaseException as error:  # noqa: BLE001 - a SystemExit would end the loop with all that runs in it
            self._complain(event, error)

    def _complain(self, event: str, error: BaseException) -> None:
        _log.error("queue %s: a listener of %s raised %s: %s", self._queue, event, type(error).__name__, error)
