"""What pydantic writes that no CRD may hold, case by case: translated or refused."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from queueworker_operator.api.errors import SchemaError
from queueworker_operator.api.schema import structural
from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.rules import Expression, ListMap, Rule


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(ApiModel):
    """What is inside."""

    some_size: Annotated[int, Field(ge=1, le=9)] = 3


class Plain(ApiModel):
    word: str | None = None


class Outer(ApiModel):
    inner: Inner = Inner()
    plain: Plain = Plain()
    left_out: Inner | None = None


class Wrapper(ApiModel):
    outer: Outer = Outer()


class Node(ApiModel):
    child: "Node | None" = None


def field(annotation: Any, **model_config: Any) -> dict[str, Any]:
    """Return the schema of a field of this type."""
    model = type("M", (BaseModel,), {"__annotations__": {"x": annotation}, "model_config": ConfigDict(**model_config)})
    schema: dict[str, Any] = structural(model)["properties"]["x"]
    return schema


def test_references_are_put_in_place():
    schema = structural(Outer)
    assert schema["properties"]["leftOut"] == {
        "description": "What is inside.",
        "type": "object",
        "properties": {"someSize": {"type": "integer", "format": "int32", "default": 3, "minimum": 1, "maximum": 9}},
    }


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        pytest.param(str | None, {"type": "string"}, id="optional"),
        pytest.param(Colour, {"type": "string", "enum": ["red", "blue"]}, id="enum"),
        pytest.param(Literal["a"], {"type": "string", "enum": ["a"]}, id="constant"),
        pytest.param(Annotated[int, Field(gt=0)], {"type": "integer", "format": "int64", "minimum": 1}, id="gt"),
        pytest.param(Annotated[int, Field(lt=9)], {"type": "integer", "format": "int32", "maximum": 8}, id="lt"),
        pytest.param(Annotated[int, Field(le=2**31 - 1)], {"type": "integer", "format": "int32"}, id="largest int32"),
        pytest.param(
            Annotated[int, Field(le=2**31)], {"type": "integer", "format": "int64", "maximum": 2**31}, id="int64"
        ),
        pytest.param(
            set[str],
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            id="set",
        ),
        pytest.param(int | str, {"x-kubernetes-int-or-string": True}, id="int or string"),
        pytest.param(
            Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=4)] | None,
            {"x-kubernetes-int-or-string": True, "maxLength": 4, "minimum": 0},
            id="bounded int or string",
        ),
        pytest.param(
            Annotated[str, Field(title="T", examples=["e"], description="One\n  two.")],
            {"description": "One two.", "type": "string"},
            id="title and examples",
        ),
        pytest.param(
            dict[str, str], {"type": "object", "additionalProperties": {"type": "string"}}, id="map of strings"
        ),
        pytest.param(
            Annotated[list[Inner], ListMap("someSize")] | None,
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["someSize"]},
            id="list map",
        ),
        pytest.param(
            Annotated[str, Rule(rule=Expression("self != ''", bool), message="empty: fill it")] | None,
            {
                "type": "string",
                "x-kubernetes-validations": [
                    {"rule": "self != ''", "message": "empty: fill it", "reason": "FieldValueInvalid"}
                ],
            },
            id="rule",
        ),
    ],
)
def test_translated(annotation: Any, expected: dict[str, Any]):
    schema = field(annotation)
    assert {key: schema.get(key) for key in expected} == expected
    if "x-kubernetes-list-map-keys" not in expected:
        assert schema == expected


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        pytest.param(Inner | Plain, "M.x: a union", id="union"),
        pytest.param(str | int, "M.x: a union", id="string or int"),
        pytest.param(tuple[int, str], r"M.x: .*prefixItems", id="tuple"),
        pytest.param(dict[str, Any], "M.x: an object of anything", id="anything"),
        pytest.param(dict, "M.x: an object of anything", id="bare dict"),
        pytest.param(timedelta, "M.x: an ISO 8601 duration", id="duration"),
        pytest.param(SecretStr, r"M.x: writeOnly has no equivalent", id="secret"),
        pytest.param(float, "M.x: a float", id="float"),
        pytest.param(list[float], "M.x.<items>: a float", id="float in a list"),
        pytest.param(dict[Annotated[str, Field(max_length=3)], str], "propertyNames", id="bounded keys"),
        pytest.param(dict[Annotated[str, Field(pattern="^a$")], str], "patternProperties", id="keys by pattern"),
        pytest.param(Node, "Node contains itself", id="recursive"),
        pytest.param(Annotated[int, Field(multiple_of=5)], "multipleOf", id="multiple of"),
    ],
)
def test_refused_by_name(annotation: Any, why: str):
    with pytest.raises(SchemaError, match=why):
        field(annotation)


def test_discriminated_union_is_refused():
    class A(ApiModel):
        kind: Literal["a"]

    class B(ApiModel):
        kind: Literal["b"]

    with pytest.raises(SchemaError, match="discriminator"):
        field(Annotated[A | B, Field(discriminator="kind")])


def test_closed_model_says_nothing_about_other_fields():
    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        a: str

    assert structural(Closed) == {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}


def test_names_are_camel_case():
    assert list(structural(Outer)["properties"]) == ["inner", "plain", "leftOut"]


def test_defaults_reach_into_objects_that_are_left_out():
    outer = structural(Wrapper)["properties"]["outer"]
    assert outer["default"] == {}
    assert outer["properties"]["inner"]["default"] == {}
    assert outer["properties"]["inner"]["properties"]["someSize"]["default"] == 3


def test_no_default_where_it_would_show_nothing():
    properties = structural(Outer)["properties"]
    assert "default" not in properties["plain"]
    assert "default" not in properties["leftOut"]


def test_no_defaults_at_all_in_a_status():
    assert "default" not in str(structural(Wrapper, defaults=False))


def test_rules_of_a_model_stand_on_its_object():
    class Ruled(ApiModel):
        rules: ClassVar = (
            Rule(
                rule=Expression("a", bool),
                message="count (%d) is odd",
                values=(Expression("self.a", int),),
                field_path=".a",
            ),
            Rule(
                rule=Expression("b", bool),
                message="it's both",
                otherwise=(Expression("has(self.b)", bool), "none"),
                reason="FieldValueForbidden",
            ),
        )
        a: str | None = None

    class Holder(ApiModel):
        ruled: Ruled | None = None

    assert structural(Holder)["properties"]["ruled"]["x-kubernetes-validations"] == [
        {
            "rule": "a",
            "message": "count is odd",
            "messageExpression": "'count (%d) is odd'.format([self.a])",
            "fieldPath": ".a",
            "reason": "FieldValueInvalid",
        },
        {
            "rule": "b",
            "message": "it's both",
            "messageExpression": r"has(self.b) ? 'it\'s both' : 'none'",
            "reason": "FieldValueForbidden",
        },
    ]
