"""From the raw `spec` of a file, or of a stored object that an older CRD let through, to the model.

What the API server refuses is refused here too, the rules of the CRD in its own words.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from queueworker_operator.api.errors import InvalidSpecError
from queueworker_operator.api.v1alpha1.checking import refusals
from queueworker_operator.api.v1alpha1.name import RULES
from queueworker_operator.api.v1alpha1.spec import QueueWorkerSpec


def parse_spec(raw: Mapping[str, Any], *, name: str | None = None) -> QueueWorkerSpec:
    """Return the model of a raw `spec`; `name` is the object's metadata.name, checked where it is given.

    Raises InvalidSpecError with one line that names the first field at fault. Of values it repeats at most limits,
    a prefix or the name.
    """
    for rule in RULES if name is not None else ():
        if sentence := rule.refusal(name):
            raise InvalidSpecError(sentence)
    try:
        # The API server makes no number of a text, and no text of a number.
        spec = QueueWorkerSpec.model_validate(raw, strict=True)
    except ValidationError as error:
        raise InvalidSpecError(_line(error, raw)) from None
    first, *others = [*refusals(spec, "spec"), None]
    if first is not None:
        raise InvalidSpecError(first + _more(len(others)))
    return spec


def _line(error: ValidationError, raw: Mapping[str, Any]) -> str:
    errors = error.errors(include_input=False, include_context=False, include_url=False)
    return f"{_path(errors[0], raw)}: {errors[0]['msg']}{_more(len(errors))}"


def _more(faults: int) -> str:
    return f" (and {faults - 1} more)" if faults > 1 else ""


def _path(error: ErrorDetails, raw: Mapping[str, Any]) -> str:
    """Return the place as Kubernetes writes it, without the names that pydantic gives to the members of a union."""
    path = "spec"
    here: Any = raw
    for part in error["loc"]:
        known = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int)
        if not known and error["type"] != "missing":
            break
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
        here = here[part] if known else {}
    return path
