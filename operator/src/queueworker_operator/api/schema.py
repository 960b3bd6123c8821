"""From a pydantic model to the structural schema of a CRD.

The API server takes a subset of what pydantic writes. What has an equivalent is translated (references are put in
place, `X | None` becomes X, a constant an enum of one, a set a list of type set, int-or-string its own form); what has
none is refused here with the name of the field, because the server would refuse it later with less said: unions,
tuples, floats, durations, secrets, dictionaries of anything, recursive models.

Defaults: a scalar default of a model is a default of the CRD, so that `kubectl get -o yaml` shows what holds; null is
none. The server fills a default only into an object that is there. Therefore a field whose own default is a model gets
the default {} where that model declares a scalar default, at any depth, and none where it would only show as {}.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from queueworker_operator.api.errors import SchemaError

Schema = dict[str, Any]

_INT32 = 2**31 - 1
# In the order in which they are written.
_COPIED = (
    "description", "type", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "format", "enum",
    "default", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties",
    "maxProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "items",
    "additionalProperties", "required", "properties", "x-kubernetes-validations",
)  # fmt: skip
_DROPPED = {"title", "examples", "$defs"}


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Return the structural schema of a model; raises SchemaError naming the field that has none.

    Without `defaults` no default is written at all, as for a status, where absent means not known.
    """
    written = model.model_json_schema(by_alias=True)
    return _Translation(definitions=written.get("$defs", {}), defaults=defaults).node(written, path=(model.__name__,))


class _Translation:
    def __init__(self, *, definitions: Mapping[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def node(self, source: Schema, *, path: tuple[str, ...], within: tuple[str, ...] = ()) -> Schema:
        source, within = self._resolved(source, path=path, within=within)
        source = _plain(source, path=path)
        if source.get("type") == "object" and not _closed(source):
            raise SchemaError(f"{'.'.join(path)}: an object of anything; give it fields, or values of one type")
        result = {key: source[key] for key in _COPIED if key in source}
        if "description" in result:
            result["description"] = " ".join(result["description"].split())
        if "properties" in source:
            result["properties"] = {
                name: self.node(value, path=(*path, name), within=within)
                for name, value in source["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if key in source:
                result[key] = self.node(source[key], path=(*path, f"<{key}>"), within=within)
        self._set_default(result)
        return result

    def _resolved(
        self, source: Schema, *, path: tuple[str, ...], within: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """Put definitions in place of references and of `X | None`; what stands beside them wins over them."""
        while "$ref" in source or "anyOf" in source:
            beside = {key: value for key, value in source.items() if key not in ("$ref", "anyOf")}
            if "$ref" in source:
                name = source["$ref"].rpartition("/")[2]
                if name in within:
                    raise SchemaError(f"{'.'.join(path)}: {name} contains itself; a structural schema has an end")
                within = (*within, name)
                target = self._definitions[name]
            else:
                target = _unwrapped(source["anyOf"], path=path)
            source = {**target, **beside}
        return source, within

    def _set_default(self, schema: Schema) -> None:
        default = schema.pop("default", None)
        if not self._defaults or default is None:
            return
        if isinstance(default, dict):
            if not _declares_default(schema):
                return
            default = {}
        schema["default"] = default
        _sort(schema)


def _unwrapped(options: list[Schema], *, path: tuple[str, ...]) -> Schema:
    given = [option for option in options if option.get("type") != "null"]
    if len(given) == 1:
        return given[0]
    if [option.get("type") for option in given] == ["integer", "string"]:
        integer, text = ({k: v for k, v in option.items() if k != "type"} for option in given)
        return {"x-kubernetes-int-or-string": True, **integer, **text}
    raise SchemaError(f"{'.'.join(path)}: a union; make its members optional fields and let a rule demand exactly one")


def _plain(source: Schema, *, path: tuple[str, ...]) -> Schema:
    """Translate keywords that have an equivalent, drop those that say nothing to the server, refuse the rest."""
    schema = {key: value for key, value in source.items() if key not in _DROPPED}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.pop("uniqueItems", False):
        schema["x-kubernetes-list-type"] = "set"
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]
    if schema.get("type") == "integer":
        _bound_integer(schema)
    if unknown := sorted(schema.keys() - set(_COPIED)):
        raise SchemaError(f"{'.'.join(path)}: {', '.join(unknown)} has no equivalent in a structural schema")
    if schema.get("type") == "number":
        raise SchemaError(f"{'.'.join(path)}: a float; use an integer with the unit in the name")
    if schema.get("format") == "duration":
        raise SchemaError(f"{'.'.join(path)}: an ISO 8601 duration; use an integer of seconds")
    return schema


def _bound_integer(schema: Schema) -> None:
    if "exclusiveMinimum" in schema:
        schema["minimum"] = schema.pop("exclusiveMinimum") + 1
    if "exclusiveMaximum" in schema:
        schema["maximum"] = schema.pop("exclusiveMaximum") - 1
    schema["format"] = "int32" if schema.get("maximum", _INT32 + 1) <= _INT32 else "int64"
    if schema.get("maximum") == _INT32:
        del schema["maximum"]  # the format says it


def _closed(schema: Schema) -> bool:
    return (
        bool(schema.get("properties"))
        or isinstance(schema.get("additionalProperties"), dict)
        or schema.get("x-kubernetes-preserve-unknown-fields") is True
    )


def _declares_default(schema: Schema) -> bool:
    return any("default" in property_ for property_ in schema.get("properties", {}).values())


def _sort(schema: Schema) -> None:
    ordered = {key: schema[key] for key in _COPIED if key in schema}
    schema.clear()
    schema.update(ordered)
