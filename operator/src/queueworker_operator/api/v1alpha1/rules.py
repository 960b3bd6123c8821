"""What a model says beyond its types: CEL rules and the keys of lists.

Both are metadata for `Annotated` and end up as `x-kubernetes-*` in the JSON schema. A model's own rules, about several
of its fields, stand in its class variable `rules`. Each rule is there twice, in CEL for the API server and in Python
for specs that never were there; `checking` looks at the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"

Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


class Expression(NamedTuple):
    """The same in CEL and in Python, there over `self`, here over the model or the scalar."""

    cel: str
    python: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. The message names the field and the remedy; the field's path is put before it.

    `values` are expressions that fill the %d and %s of the message. `format` is the way to do it: concatenating
    `string(self.x)` exceeds the server's cost budget whatever the bounds of x. A rule on a scalar needs none, the
    server prints that value itself.
    """

    rule: Expression
    message: str
    values: tuple[Expression, ...] = ()
    otherwise: tuple[Expression, str] | None = None
    """A condition and the message that takes the place of `message` where the condition does not hold."""
    field_path: str | None = None
    reason: Reason = "FieldValueInvalid"

    def as_schema(self) -> dict[str, str]:
        """Return the rule as an entry of x-kubernetes-validations."""
        entry = {"rule": self.rule.cel, "message": self.message}
        if expression := self._message_expression():
            entry["messageExpression"] = expression
            # The constant is the server's fallback, and the only text in which a placeholder would be seen.
            entry["message"] = self.message.replace(" (%d)", "").replace(" (%s)", "")
        if self.field_path is not None:
            entry["fieldPath"] = self.field_path
        return entry | {"reason": self.reason}

    def refusal(self, value: Any) -> str | None:
        """Return the sentence that the API server would say of a model or scalar, None where it keeps the rule."""
        if self.rule.python(value):
            return None
        if self.values:
            return self.message % tuple(one.python(value) for one in self.values)
        if self.otherwise is not None and not self.otherwise[0].python(value):
            return self.otherwise[1]
        return self.message

    def _message_expression(self) -> str | None:
        if self.values:
            return f"{_quoted(self.message)}.format([{', '.join(one.cel for one in self.values)}])"
        if self.otherwise is not None:
            condition, message = self.otherwise
            return f"{condition.cel} ? {_quoted(self.message)} : {_quoted(message)}"
        return None

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema.setdefault(VALIDATIONS, []).append(self.as_schema())
        return schema


@dataclass(frozen=True, slots=True)
class ListMap:
    """A list whose items are told apart by one field: no duplicates, and server-side apply merges item by item."""

    key: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core_schema) | {LIST_TYPE: "map", LIST_MAP_KEYS: [self.key]}


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
