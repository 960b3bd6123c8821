"""The rules of the models on a spec that is at hand: what the CRD's CEL says in the API server, in the same words."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.rules import ListMap, Rule


class Checked(NamedTuple):
    """A field of a model, and what holds for its value."""

    attribute: str
    name: str
    """As users write it."""
    rules: tuple[Rule, ...]
    keys: tuple[str, ...]
    """By which the items of a list are told apart."""


def refusals(model: ApiModel, path: str) -> Iterator[str]:
    """Yield a line for each rule that the model breaks, at any depth; it begins with the field."""
    for rule in model.rules:
        if sentence := rule.refusal(model):
            yield f"{path}{rule.field_path or ''}: {sentence}"
    for field in checked_fields(type(model)):
        value = getattr(model, field.attribute)
        if value is not None:
            yield from _of_value(value, field, f"{path}.{field.name}")


@cache
def checked_fields(model: type[ApiModel]) -> tuple[Checked, ...]:
    """Return the fields of a model with the rules of their own."""
    return tuple(_checked(attribute, field) for attribute, field in model.model_fields.items())


def _checked(attribute: str, field: FieldInfo) -> Checked:
    metadata = [*field.metadata]
    for member in get_args(field.annotation):
        metadata += getattr(member, "__metadata__", ())
    return Checked(
        attribute=attribute,
        name=field.alias or attribute,
        rules=tuple(one for one in metadata if isinstance(one, Rule)),
        keys=tuple(one.key for one in metadata if isinstance(one, ListMap)),
    )


def _of_value(value: Any, field: Checked, path: str) -> Iterator[str]:
    for rule in field.rules:
        if sentence := rule.refusal(value):
            yield f"{path}: {sentence}"
    for key in field.keys:
        yield from _listed_twice(value, key, path)
    if isinstance(value, ApiModel):
        yield from refusals(value, path)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            if isinstance(item, ApiModel):
                yield from refusals(item, f"{path}[{position}]")


def _listed_twice(items: list[Any], key: str, path: str) -> Iterator[str]:
    seen = set()
    for position, item in enumerate(items):
        value = getattr(item, key)
        if value in seen:
            yield f"{path}[{position}].{key}: is listed twice: remove one of the two"
        seen.add(value)
