"""A number on its way through the rules."""

from dataclasses import dataclass, replace
from typing import Self

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.decision import History, Limit
from queueworker_operator.scaling.queues import QueueView
from queueworker_operator.scaling.votes import Ballot


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The number so far, how it came about, and what to remember."""

    number: int
    current: int
    queues: tuple[QueueView, ...]
    history: History
    ballots: tuple[Ballot, ...] = ()
    winner: Ballot | None = None
    """The ballot that the number began with; None where nothing is voted on."""
    limits: tuple[Limit, ...] = ()
    """What changed the number since, in order."""
    peak: int | None = None
    """The peak of the stabilization window, where it holds the number."""
    problem: str | None = None
    """Why the spec cannot be carried out."""

    @classmethod
    def fixed(cls, number: int, *, current: int, queues: tuple[QueueView, ...], history: History) -> Self:
        """The user's own number."""
        return cls(number=number, current=current, queues=queues, history=history)

    @classmethod
    def refused(cls, problem: str, *, current: int, queues: tuple[QueueView, ...], history: History) -> Self:
        """The number that stands, because the spec says none."""
        return cls(number=current, current=current, queues=queues, history=history, problem=problem)

    @property
    def certain(self) -> bool:
        """Whether every queue could be read and is there."""
        return not any(queue.uncertain for queue in self.queues)

    def moved(self, to: int, *, by: ScalingReason, until: float | None = None) -> Self:
        """Return it with another number and the trace of it; unchanged where the number is the same."""
        if to == self.number:
            return self
        limit = Limit(by=by, before=self.number, after=to, until=until)
        return replace(self, number=to, limits=(*self.limits, limit))
