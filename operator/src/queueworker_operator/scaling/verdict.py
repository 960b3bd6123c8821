"""A number on its way through the rules."""

from dataclasses import dataclass, replace
from typing import Self

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.decision import History, Limit, Recommendation
from queueworker_operator.scaling.memory import Noticed
from queueworker_operator.scaling.queues import QueueView
from queueworker_operator.scaling.votes import Ballot


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The number so far, how it came about, and what to remember."""

    number: int
    current: int
    queues: tuple[QueueView, ...]
    history: History
    """As it was before this look."""
    noticed: Noticed
    ballots: tuple[Ballot, ...] = ()
    winner: Ballot | None = None
    """The ballot that the number began with; None where nothing is voted on."""
    limits: tuple[Limit, ...] = ()
    """What changed the number since, in order."""
    tolerated: int = 0
    """What the tolerance makes of that ballot's number; the windows remember this."""
    withheld_until: float | None = None
    """Until when (Unix seconds) it is what stands because a scale-in withholds more; None where none does."""
    peaks: tuple[Recommendation, ...] = ()
    lows: tuple[Recommendation, ...] = ()
    """What the stabilization windows remember, with this look."""
    confirmed: bool = False
    fewer_reading: tuple[int, ...] | None = None
    """What becomes of the fields of History."""
    pinned: bool = False
    """Whether an annotation says the number."""
    problem: str | None = None
    """Why the spec cannot be carried out."""

    @property
    def unknown(self) -> bool:
        """Whether no queue could be read."""
        return self.noticed.lost_since is not None

    @property
    def shrinks(self) -> bool:
        """Whether it is lower than what stands."""
        return self.number < self.current

    @property
    def grows(self) -> bool:
        """Whether it is higher than what stands."""
        return self.number > self.current

    def moved(self, to: int, *, by: ScalingReason, until: float | None = None) -> Self:
        """Return it with another number and the trace of it; unchanged where the number is the same."""
        if to == self.number:
            return self
        limit = Limit(by=by, before=self.number, after=to, until=until)
        return replace(self, number=to, limits=(*self.limits, limit))

    def kept(self, *, by: ScalingReason) -> Self:
        """Return it with the same number and the trace of what keeps it."""
        return replace(self, limits=(*self.limits, Limit(by=by, before=self.number, after=self.number)))
