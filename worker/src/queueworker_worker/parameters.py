"""What the parameters of a processor want, by their annotations."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from queueworker_worker.context import Depends
from queueworker_worker.errors import ProcessorError
from queueworker_worker.job import Job
from queueworker_worker.processor import path_of

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The names of a processor's parameters by what they get."""

    job: str | None
    payload: str | None
    model: type[BaseModel] | None
    dependencies: Mapping[str, Depends[Any]]


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Read the parameters of a processor; raises ProcessorError naming the one that nothing fills."""
    where = f"processor {path_of(function)}"
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ProcessorError(f"{where}: its annotations cannot be read: {error}") from error
    found = _Found()
    for parameter in inspect.signature(function).parameters.values():
        if not found.take(parameter.name, hints.get(parameter.name)) and parameter.default is parameter.empty:
            raise ProcessorError(
                f"{where}: parameter {parameter.name!r} must be annotated as Job, as one pydantic model "
                "(the payload) or as Annotated[..., Depends(factory)]"
            )
    return Parameters(
        job=found.job,
        payload=found.payload,
        model=found.model,
        dependencies=MappingProxyType(found.dependencies),
    )


class _Found:
    def __init__(self) -> None:
        self.job: str | None = None
        self.payload: str | None = None
        self.model: type[BaseModel] | None = None
        self.dependencies: dict[str, Depends[Any]] = {}

    def take(self, name: str, hint: Any) -> bool:
        if get_origin(hint) is Annotated:
            depends = next((mark for mark in get_args(hint) if isinstance(mark, Depends)), None)
            if depends is not None:
                self.dependencies[name] = depends
            return depends is not None
        if hint is Job and self.job is None:
            self.job = name
            return True
        if self.model is None and _is_model(hint):
            self.payload, self.model = name, hint
            return True
        return False


def _is_model(hint: Any) -> bool:
    # Who annotates with a model has imported pydantic; nobody else waits for it.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)
