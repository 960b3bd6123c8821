"""What processors need and do not own: opened once per process, closed after the last job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from queueworker_worker.cancels import is_cancelled

_log = logging.getLogger(__name__)

CLOSE_SECONDS = 4.0
"""For all dependencies: with the worker's own end, well within the 15 s that a pod has after its drain."""

_SAY_SECONDS = 30.0

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Depends(Generic[T_co]):
    """Marks a parameter of a processor: `engine: Annotated[AsyncEngine, Depends(open_database)]`.

    `factory` is a function without arguments that returns a context manager, async or not, as
    `contextlib.asynccontextmanager` and `contextmanager` make them. The worker enters each factory once per process
    before the first job and leaves it after the last one, last entered first left; every processor that names the same
    factory gets the same value. A child of `execution="process"` enters it before its own first job that wants it, and
    leaves it at its end, unless it is killed.
    """

    factory: Callable[[], AbstractAsyncContextManager[T_co] | AbstractContextManager[T_co]]


class Dependencies:
    """The opened values of a set of dependencies; an async context manager that opens and closes them."""

    def __init__(self, wanted: Iterable[Depends[Any]]) -> None:
        # A dict keeps the order of declaration, so that they are opened and closed alike in every process.
        self._factories = dict.fromkeys(depends.factory for depends in wanted)
        self._values: dict[Callable[[], Any], Any] = {}
        self._stack = AsyncExitStack()
        self.opening = ""
        """The factory that was called last."""

    async def __aenter__(self) -> Self:
        try:
            for factory in self._factories:
                await self._open(factory)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def open_also(self, wanted: Iterable[Depends[Any]]) -> None:
        """Open those that are not open yet; what was open stays open where one of them fails."""
        for depends in wanted:
            if depends.factory not in self._values:
                await self._open(depends.factory)

    async def _open(self, factory: Callable[[], Any]) -> None:
        self.opening = f"{factory.__module__}.{getattr(factory, '__qualname__', factory)}"
        manager = factory()
        if hasattr(type(manager), "__aenter__"):
            self._values[factory] = await self._stack.enter_async_context(manager)
        else:
            self._values[factory] = self._stack.enter_context(manager)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._values.clear()
        await self._stack.__aexit__(kind, error, trace)

    def value_of(self, depends: Depends[Any]) -> Any:
        """Return what the factory yielded; raises KeyError outside of the context."""
        return self._values[depends.factory]


async def open_unless(stopped: asyncio.Event, dependencies: Dependencies) -> bool:
    """Open the dependencies in this task, which will also close them; tell whether the stop came first."""
    opener = cast("asyncio.Task[bool]", asyncio.current_task())

    async def cancel_when_stopped() -> None:
        waited = asyncio.create_task(stopped.wait())
        try:
            while not (await asyncio.wait({waited}, timeout=_SAY_SECONDS))[0]:
                _log.warning("a dependency is still being opened, no job is taken: %s", dependencies.opening)
        finally:
            waited.cancel()
        opener.cancel()

    watcher = asyncio.create_task(cancel_when_stopped())
    try:
        await dependencies.__aenter__()
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        opener.uncancel()
        return False
    finally:
        watcher.cancel()
    return True


@asynccontextmanager
async def closing(dependencies: Dependencies, *, seconds: float = CLOSE_SECONDS) -> AsyncIterator[None]:
    """Close opened dependencies after the block, in a bounded time.

    Trouble there is said, and does not change how the work ended.
    """
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(seconds) as limit:
                await dependencies.__aexit__(None, None, None)
        except BaseException as error:
            if is_cancelled(error):
                raise
            why = f"not within {seconds:g} s" if limit.expired() else f"{type(error).__name__}: {error}"
            _log.warning("a dependency did not close: %s", why)
