"""What processors need and do not own: opened once per process, closed after the last job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Depends(Generic[T_co]):
    """Marks a parameter of a processor: `engine: Annotated[AsyncEngine, Depends(open_database)]`.

    `factory` is a function without arguments that returns an async context manager, as `contextlib.asynccontextmanager`
    makes them. The worker enters each factory once per process before the first job and leaves it after the last one,
    last entered first left; every processor that names the same factory gets the same value.
    """

    factory: Callable[[], AbstractAsyncContextManager[T_co]]


class Dependencies:
    """The opened values of a set of dependencies; an async context manager that opens and closes them."""

    def __init__(self, wanted: Iterable[Depends[Any]]) -> None:
        # A dict keeps the order of declaration, so that they are opened and closed alike in every process.
        self._factories = dict.fromkeys(depends.factory for depends in wanted)
        self._values: dict[Callable[[], AbstractAsyncContextManager[Any]], Any] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for factory in self._factories:
                self._values[factory] = await self._stack.enter_async_context(factory())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._values.clear()
        await self._stack.__aexit__(kind, error, trace)

    def value_of(self, depends: Depends[Any]) -> Any:
        """Return what the factory yielded; raises KeyError outside of the context."""
        return self._values[depends.factory]
