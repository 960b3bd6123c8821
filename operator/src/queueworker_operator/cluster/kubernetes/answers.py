"""What an answer holds, which may be that of a proxy in the API server's place."""

import json
from typing import Final

from queueworker_operator.cluster.kubernetes.errors import strange_answer
from queueworker_operator.cluster.port import JsonObject

NO_EVENT: Final = "no watch event, or a cut one"


def is_list(answer: JsonObject) -> bool:
    """Whether an answer is a list of objects as of a version: what only lacks items is no empty one."""
    metadata = answer.get("metadata")
    if "items" not in answer or not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
        return False
    # Of metadata alone an empty list is null.
    items = answer["items"] if answer["items"] is not None else []
    return isinstance(items, list) and all(map(_is_object, items))


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("metadata"), dict)


def event_of(line: bytes, *, attempt: str) -> JsonObject:
    """Return an event of a watch with its type and object; raises ClusterUnavailableError where it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        raise strange_answer(attempt, NO_EVENT) from None
    if isinstance(event, dict) and isinstance(event.get("type"), str) and isinstance(event.get("object"), dict):
        return event
    raise strange_answer(attempt, NO_EVENT)


def decoded(content: bytes) -> JsonObject:
    """Return the JSON object of an answer; what is none is the `message` of one."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        # A proxy or an overloaded server answers in plain text.
        return {"message": content[:1000].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)[:1000]}
