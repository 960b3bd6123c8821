"""The course of work between what has come and what must be done that changes its rate least: the taut string."""

from collections.abc import Sequence


def taut_string(lower: Sequence[float], upper: Sequence[float]) -> list[float]:
    """Return the shortest line from the first to the last point between two rising curves, at every point.

    Both curves have the same length, start together and end together; `lower` exceeds `upper` nowhere. Of all lines
    between them this one has the least total variation of its slope.
    """
    last = len(upper) - 1
    line = [0.0] * (last + 1)
    line[0] = lower[0]
    begin = 0
    while begin < last:
        end, value = _segment(lower, upper, begin, line[begin])
        slope = (value - line[begin]) / (end - begin)
        for i in range(begin + 1, end + 1):
            line[i] = line[begin] + slope * (i - begin)
        line[end] = value
        begin = end
    return line


def _segment(lower: Sequence[float], upper: Sequence[float], begin: int, value: float) -> tuple[int, float]:
    """Return where the line that starts here first must bend, and its value there."""
    last = len(upper) - 1
    steepest, flattest = float("inf"), float("-inf")
    at_steepest = at_flattest = begin + 1
    for i in range(begin + 1, last + 1):
        highest, lowest = (upper[i] - value) / (i - begin), (lower[i] - value) / (i - begin)
        if lowest > steepest:
            return at_steepest, upper[at_steepest]
        if highest < flattest:
            return at_flattest, lower[at_flattest]
        if highest <= steepest:
            steepest, at_steepest = highest, i
        if lowest >= flattest:
            flattest, at_flattest = lowest, i
    return last, lower[last]
