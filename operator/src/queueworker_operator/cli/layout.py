"""How wide the columns of `top` are: a line for each QueueWorker, whatever the terminal (pure)."""

from __future__ import annotations

from collections.abc import Sequence

COURSE, LAST = "OVER TIME", "WHY"
LEAST_LAST = 32
"""So much of the last column is worth more than what gives way to it."""
_NAMES = ("NAMESPACE", "QUEUE")
# What gives way, in this order, and down to which width; at 0 the column is left out. Numbers are never cut.
_YIELDING = (
    ((COURSE,), len(COURSE)),
    (_NAMES, 16),
    (("NAME",), 24),
    ((COURSE,), 0),
    (_NAMES, 8),
    (("NAME",), 14),
    (("ACTIVE",), 0),
    (("QUEUE",), 0),
)


def widths(headers: Sequence[str], natural: Sequence[int], *, width: int, gap: int) -> list[int]:
    """Return the width of each column in terminal columns, 0 for one that is left out.

    `natural` are the widths at which nothing is cut; the last column takes what the others leave of `width`.
    """
    found = list(natural)
    last = len(found) - 1
    found[last] = min(natural[last], LEAST_LAST)
    for group, least in _YIELDING:
        members = [index for index, header in enumerate(headers) if header in group]
        _shrink(found, members, least, width=width, gap=gap)
    left = width - _total(found[:last], gap) - gap
    found[last] = max(1, min(natural[last], left))
    return found


def _shrink(found: list[int], members: Sequence[int], least: int, *, width: int, gap: int) -> None:
    """Take from the widest of the columns until the line fits or all of them are at their least."""
    if least == 0 and _total(found, gap) > width:
        for index in members:
            found[index] = 0
    while _total(found, gap) > width:
        widest = max(members, key=lambda index: found[index], default=None)
        if widest is None or found[widest] <= least:
            return
        found[widest] -= 1


def _total(found: Sequence[int], gap: int) -> int:
    shown = [one for one in found if one > 0]
    return sum(shown) + gap * (len(shown) - 1)
