"""What every model of the API shares."""

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

    `rules` are the CEL rules that hold for the whole object.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)[VALIDATIONS] = [rule.as_schema() for rule in cls.rules]
        return schema
