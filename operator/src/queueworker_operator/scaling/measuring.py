"""What the readings of all queues teach: rates per queue, and how long pods take to start."""

from collections.abc import Mapping
from dataclasses import dataclass

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.rates import learn, learn_starts, rates, start_up
from queueworker_operator.scaling.rates.learning import Learning
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.starts import Starts, StartUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known at one look."""

    rates: Mapping[str, QueueRates]
    """Of each queue that was read, by its name."""
    learned: Mapping[str, Learning]
    starts: Starts
    start_up: StartUp
    ended: bool
    """Whether jobs ended since the look before: then nobody was idle in between, whatever the counts say now."""


def measure(observation: Observation, spec: QueueWorkerSpec, history: History, now: float) -> Measured:
    """Learn from one look; a queue that was not read keeps what was learned of it."""
    workers, autoscaling = observation.workers, spec.autoscaling
    expected = autoscaling.target.expected_job_milliseconds if autoscaling is not None else None
    seconds = expected / 1000 if expected is not None else None
    learned: dict[str, Learning] = {}
    measured: dict[str, QueueRates] = {}
    ended = False
    for queue in observation.queues:
        before = history.learned.get(queue.name)
        if queue.snapshot is None:
            if before is not None:
                learned[queue.name] = before
            continue
        after = learn(before, queue, workers, now)
        learned[queue.name] = after
        measured[queue.name] = rates(after, queue, workers, now, expected_seconds=seconds)
        ended = ended or _ended(before, after)
    starts = history.starts if workers.pods is None else learn_starts(history.starts, workers.pods, now)
    start = start_up(starts, workers.pods or (), now)
    return Measured(rates=measured, learned=learned, starts=starts, start_up=start, ended=ended)


def _ended(before: Learning | None, after: Learning) -> bool:
    if before is None or not before.samples or not after.samples:
        return False
    old, new = before.samples[-1], after.samples[-1]
    return _more(old.completed, new.completed) or _more(old.failed, new.failed)


def _more(old: int | None, new: int | None) -> bool:
    return old is not None and new is not None and new > old
