"""The reader in the simulation: which queue is read when, and which reading wakes the decision.

What is gathered, told and read again follows the very rules of `queueworker_operator.queues`: a quiet queue wakes by
its first event, what follows is gathered; a busy queue is polled, and a quiet one is read when its delayed jobs begin
to count. Of events there are only those of jobs that are added.
"""

from collections.abc import Callable
from dataclasses import dataclass

from queueworker.keys import QueueKeys
from queueworker_operator.queues.pace import Pace, interval
from queueworker_operator.queues.reading import Reading
from queueworker_operator.queues.watched import Watched
from queueworker_operator.simulation.jobs import SimulatedQueue
from queueworker_operator.simulation.readings import details_of, snapshot_of
from queueworker_operator.simulation.world import World

WAKE_SECONDS = 0.007
"""From the first job of a quiet queue to the write of the number."""


@dataclass(slots=True)
class _Queue:
    """A queue of the run, and what is known of it."""

    simulated: SimulatedQueue
    known: Watched
    next_read: float = 0.0
    last_job_at: float | None = None

    @property
    def is_quiet(self) -> bool:
        return not self.known.reading.busy and self.known.gathering is None


class Watch:
    """Reads the queues of a run; `told` is called when a reading is worth a decision."""

    def __init__(self, world: World, told: Callable[[], None], *, epoch: float, prefix: str) -> None:
        self._world, self._told, self._pace = world, told, Pace()
        self._epoch, self._prefix = epoch, prefix
        self.horizon = 0.0
        """How far ahead delayed jobs are counted."""
        self._queues = {
            queue.name: _Queue(queue, Watched(keys=QueueKeys(prefix, queue.name), horizon=0.0))
            for queue in world.queues
        }

    def begin(self, *, horizon: float) -> None:
        """Read every queue for the first time."""
        self.horizon = horizon
        for queue in self._queues.values():
            self._read(queue, details=False)
            queue.known.tell(self._pace, began=self._world.now, now=self._world.now)
            self._plan(queue, self._world.now + self._interval(queue))

    def reading(self, name: str) -> Reading:
        """Return what is known of the queue of that name; of a burst under way what was told of it last."""
        return self._queues[name].known.seen(self._pace, self._world.now)

    def job_came(self, simulated: SimulatedQueue) -> None:
        """The event that wakes the reader on a quiet queue; a busy one is polled anyway."""
        queue, now = self._queues[simulated.name], self._world.now
        queue.last_job_at = now
        if queue.is_quiet:
            queue.known.spoke(self._pace, now)
            self._plan(queue, now + WAKE_SECONDS)

    def refresh(self, *, details: bool, older_than: float) -> None:
        """Read the queues now that were read before that moment, all of them with their details where asked for."""
        for queue in self._queues.values():
            read_at = queue.known.shown.read_at
            if details or read_at is None or read_at < older_than:
                self._read(queue, details=details)
                queue.known.show(since=self._world.now)

    def _read(self, queue: _Queue, *, details: bool) -> None:
        """Read a queue now, its details too where they are asked for or due."""
        now, simulated, known = self._world.now, queue.simulated, queue.known
        snapshot = snapshot_of(
            simulated,
            now,
            epoch=self._epoch,
            horizon=self.horizon,
            prefix=self._prefix,
            last_event_at=queue.last_job_at,
        )
        known.reading = known.reading.after(snapshot, now=now)
        details_at = known.reading.details_at
        due = details_at is None or now - details_at >= self._pace.details
        if details or (known.reading.busy and due):
            pods = self._world.pods
            known.take_details(details_of(simulated, pods, now, epoch=self._epoch, prefix=self._prefix), now)

    def _plan(self, queue: _Queue, when: float) -> None:
        queue.next_read = when
        self._world.at(when, self._due, queue)

    def _due(self, queue: _Queue) -> None:
        now = self._world.now
        if queue.next_read != now:
            return
        self._read(queue, details=False)
        withheld, again_at = queue.known.gather(now, now)
        polled_at = now + self._interval(queue)
        self._plan(queue, polled_at if again_at is None else min(again_at, polled_at))
        if not withheld and queue.known.tell(self._pace, began=now, now=now):
            self._told()

    def _interval(self, queue: _Queue) -> float:
        return interval(queue.known.reading, self._pace, horizon=self.horizon, wakes=queue.is_quiet)
