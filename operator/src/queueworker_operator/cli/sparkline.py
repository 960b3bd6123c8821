"""Numbers over time as a line of blocks (pure)."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
UNKNOWN = "·"


def sparkline(values: Sequence[float | None], *, width: int) -> str:
    """Return the last `width` values as blocks: zero is the lowest, the highest of them the full one, None a dot."""
    shown = list(values)[-width:]
    highest = max((value for value in shown if value is not None), default=0.0)
    return "".join(_block(value, highest) for value in shown).rjust(width)


def _block(value: float | None, highest: float) -> str:
    if value is None:
        return UNKNOWN
    if highest <= 0 or value <= 0:
        return _BLOCKS[0]
    # What is not zero is never drawn as zero.
    return _BLOCKS[max(1, round(value / highest * (len(_BLOCKS) - 1)))]
