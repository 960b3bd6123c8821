"""The arithmetic of the votes: plain numbers in, pods out, unrounded: what is missing to a whole one is headroom."""

import math
from collections.abc import Sequence

KEEP_UP_LOAD = 0.8
"""How full slots are to be on average: what comes in bursts needs the rest."""
RATE_LOAD = 0.9
FULL_LOAD = 0.9
"""From here on slots count as full,"""
IDLE_LOAD = 0.5
"""below this there are too many of them,"""
FEEDBACK_LOAD = 0.75
"""and then so full they are to be."""
FEEDBACK_GROWTH = 1.5

_DUST = 1e-9


def ceil(number: float) -> int:
    """Round up, but for what only the arithmetic of floats has added: what is more than nothing is one at the least."""
    return max(1, math.ceil(number - _DUST)) if number > 0 else 0


def ceil_div(number: int, by: int) -> int:
    """Divide upwards; exact for integers of any size."""
    return -(-number // by)


def keep_up(*, arrivals: float, seconds: float, slots: int, in_system: int) -> float:
    """Return how many pods the arriving jobs keep busy, but no more than there are jobs for."""
    share = KEEP_UP_LOAD * slots
    return min(arrivals * seconds, in_system) / share


def headroom(pods: float, *, percent: int) -> int | None:
    """Return how many pods leave so much of them unneeded; None where no number does."""
    if pods == 0:
        return 0
    return ceil(pods * 100 / (100 - percent)) if percent < 100 else None


def wait_left(*, target: float, oldest_age: float, start_up: float) -> float:
    """Return W: in how many seconds what waits is to be done; the half of the target stays at the least."""
    return min(target, max(target - oldest_age - start_up, target / 2))


def maximum_wait(*, arrivals: float, seconds: float, slots: int, backlog: int, left: float) -> float:
    """Return how many pods work off the backlog in time and what comes meanwhile."""
    return seconds / slots * (arrivals + backlog / left)


def feedback(*, active: float, backlog: int, ready: int, coming: int, slots: int, saturated: bool) -> int:
    """Return how many pods the fullness of the slots asks for, while nobody knows how long jobs take.

    Jobs that wait may need the pods that are still `coming`: those that are ready do not tell.
    """
    there = ready + coming if backlog > 0 else ready
    if saturated and backlog > 0 and active >= FULL_LOAD * ready * slots:
        return max(there, ceil(FEEDBACK_GROWTH * ready))
    if backlog == 0 and active <= IDLE_LOAD * ready * slots:
        return ceil(active / (FEEDBACK_LOAD * slots))
    return there


def look_ahead(
    jobs: float, *, after: float, per_second: float, share: float, ready: int, starting: Sequence[float]
) -> float:
    """Return how many pods `jobs` need that will be there `after` seconds.

    Until then the pods that are ready, and those that become it in time (`starting`: in how many seconds, ascending),
    each do `per_second` jobs; what is left then is to be done with `share` jobs a pod. Where fewer pods than there are
    suffice, that is how many are needed: none could be taken away and none is missing.
    """
    if jobs <= 0:
        return 0
    alone = jobs / (per_second * after + share)
    if alone <= ready:
        return alone
    done, pods = per_second * after * ready, ready
    for seconds in starting:
        if seconds >= after:
            break
        pods += 1
        done += per_second * (after - seconds)
        if done + pods * share >= jobs:
            return pods
    return (jobs - done) / share
