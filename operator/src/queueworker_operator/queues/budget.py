"""How much of a server's time reading may take (pure)."""

from __future__ import annotations

SHARE = 0.02
"""Of the server's time, over any span longer than a few seconds."""
KEPT_SECONDS = 1.0
"""Of these the share may be spent later: a read at the end of a pause is not held up."""
AHEAD_SECONDS = 15.0
"""How far reads for which somebody waits may run ahead of the budget: a burst of some thousand wakes."""
COUNTS_SECONDS = 60e-6
"""What the counts of a queue cost the server where nobody measured it: twice the script on some jobs."""
DETAILS_SECONDS = 240e-6
"""The same of what lies behind the counts."""
WAIT_SECONDS = 1e-6
"""What it costs to wait for the events of one queue once."""


class Budget:
    """A share of one server's time, kept by the moment at which what was spent is paid for."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._paid_at = float("-inf")

    def spend(self, seconds: float, now: float) -> None:
        """Take note that the server worked for so long."""
        self._paid_at = max(self._paid_at, now - KEPT_SECONDS) + seconds / self._share

    def free_at(self, *, ahead: bool = False) -> float:
        """Return from when on a read is allowed; `ahead`: one for which somebody waits."""
        return self._paid_at - (AHEAD_SECONDS if ahead else 0.0)


def server_seconds(queues: int, *, known: float | None, estimate: float, round_trip: float) -> float:
    """Return what a read of so many queues cost the server.

    `known` is the mean of what counts and details cost, so it holds for both. The round trip is an upper bound of what
    is not known, and far too high a one where the network is slow.
    """
    return known * queues if known is not None else min(estimate * queues, max(0.0, round_trip))
