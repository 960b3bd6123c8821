"""What every model of the API shares."""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from queueworker_operator.api.v1alpha1.rules import VALIDATIONS, Rule

# Written out, because \s is another set of characters to the API server (RE2) than to pydantic.
NO_BLANKS = r"^[^\x00-\x20\x7f]+$"


class ApiModel(BaseModel):
    """A part of the QueueWorker API: camelCase outside, frozen inside, unknown fields of newer versions ignored.

    `rules` are the CEL rules that hold for the whole object. The text below a field describes it in the CRD: read only
    when a schema is made, as pydantic's `use_attribute_docstrings` would parse the source at every start.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        written = handler.resolve_ref_schema(schema)
        if cls.rules:
            written[VALIDATIONS] = [rule.as_schema() for rule in cls.rules]
        for base in reversed(cls.__mro__):
            for name, text in _texts(base) if issubclass(base, ApiModel) else ():
                written["properties"][cls.model_fields[name].alias]["description"] = text
        return schema


def _texts(model: type[ApiModel]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class, without those of its bases, that have a text below them."""
    (parsed,) = ast.parse(dedent(inspect.getsource(model))).body
    for field, below in pairwise(parsed.body if isinstance(parsed, ast.ClassDef) else ()):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
