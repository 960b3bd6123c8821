"""Durations drawn from a source of even numbers in [0, 1), so that a seed settles a whole run."""

import math
from collections.abc import Callable
from statistics import NormalDist

Uniform = Callable[[], float]
"""Gives the next number in [0, 1)."""

_NORMAL = NormalDist()
_LEAST = 1e-12


def exponential(uniform: Uniform, mean: float) -> float:
    """Return a duration of an exponential distribution, in the unit of `mean`."""
    return -mean * math.log(1.0 - uniform())


def lognormal(uniform: Uniform, mean: float, *, spread: float) -> float:
    """Return a duration of a log-normal distribution with this mean; `spread` is sigma, 0 gives the mean itself."""
    if spread == 0:
        return mean
    return mean * math.exp(spread * _NORMAL.inv_cdf(max(uniform(), _LEAST)) - spread * spread / 2)
