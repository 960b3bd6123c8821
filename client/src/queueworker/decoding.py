"""Reading what Redis brings: replies whose shape depends on the protocol, and texts that anybody may have written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn


def pairs(reply: Sequence[Any]) -> list[tuple[str, float]]:
    """Return members with their scores: a flat list in RESP2, a list of pairs in RESP3."""
    if reply and isinstance(reply[0], list | tuple):
        return [(str(member), float(score)) for member, score in reply]
    return [(str(member), float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]


def mapping(reply: Any) -> dict[str, str]:
    """Return a hash: a flat list where redis-py does not make a dict of it."""
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def parse_json(text: str) -> Any:
    """Return what the JSON text says; raises ValueError, for NaN and infinities too, which are no JSON."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_or_text(text: str | None) -> Any:
    """Return what the JSON text says, or the text itself where it is no JSON; None for nothing."""
    try:
        return None if text is None else parse_json(text)
    except ValueError:
        return text


def whole_number(text: str | None) -> int | None:
    """Return the whole number of a text, which Lua may have written as 1.7e+12; None for nothing and if it is none."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
