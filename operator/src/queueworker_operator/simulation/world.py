"""The simulated world: a clock that jumps from event to event, queues, and pods that take the jobs."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from queueworker_operator.simulation.jobs import SimulatedJob, SimulatedQueue
from queueworker_operator.simulation.plant import Plant
from queueworker_operator.simulation.pods import SimulatedPod, leave_first
from queueworker_operator.simulation.trace import Trace

HEARTBEAT_SECONDS = 3.0
"""How often our workers write their statistics."""
PATIENCE_SECONDS = 3600.0
"""How long after the end of the trace jobs that are left may still be done."""


class Scaler(Protocol):
    """Who decides how many pods there are."""

    def begin(self, world: "World") -> None:
        """Set the timers that are wanted."""
        ...

    def job_came(self, queue: SimulatedQueue) -> None:
        """Take note that a job was added to a queue."""
        ...

    def pods_changed(self) -> None:
        """Take note that a pod became ready or went."""
        ...


class World:
    """One run of a trace under one scaler. `now` is seconds since the run began."""

    def __init__(self, trace: Trace, plant: Plant, scaler: Scaler) -> None:
        self.now = 0.0
        self.trace = trace
        self.plant = plant
        self.replicas = plant.initial
        self.queues = plant.empty_queues()
        self.pods: list[SimulatedPod] = []
        """Those that exist, terminating ones too."""
        self.past_pods: list[SimulatedPod] = []
        self.jobs = [SimulatedJob(job, n, job.ready, job.service or 0.0) for n, job in enumerate(trace.jobs)]
        self.scalings: list[tuple[float, int, int]] = []
        """When the number was changed, before, after."""
        self.interrupted = 0
        """Attempts that the end of a pod cut short."""
        self._scaler = scaler
        self._queue_of = {queue.name: queue for queue in self.queues}
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = 0
        self._starts = 0
        self._arrived = 0
        self._left = len(trace.jobs)

    def at(self, when: float, action: Callable[[Any], None], argument: Any = None) -> None:
        """Do something at a time; what was asked for first is done first."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, action, argument))

    def run(self) -> "World":
        """Run to the end of the trace, and on while jobs are left, for an hour at most."""
        for _ in range(self.plant.initial):
            self._ready(self._new_pod(initial=True))
        self._expect_next()
        self._scaler.begin(self)
        end = self.trace.seconds
        while self._events:
            when = self._events[0][0]
            if when > end and (not self._left or when > end + PATIENCE_SECONDS):
                break
            self.now, _, action, argument = heapq.heappop(self._events)
            action(argument)
        self.now = max(self.now, end)
        return self

    def keep_statistics(self) -> None:
        """Let the workers write their statistics from now on; nobody but our reader looks at them."""
        self.at(self.now + HEARTBEAT_SECONDS, self._heartbeat)

    @property
    def live(self) -> list[SimulatedPod]:
        """The pods that the Deployment counts."""
        return [pod for pod in self.pods if pod.terminating is None]

    def scale(self, replicas: int, *, victims: Sequence[str] = ()) -> None:
        """Change the number of pods; `victims` go first."""
        if replicas == self.replicas:
            return
        self.scalings.append((self.now, self.replicas, replicas))
        self.replicas = replicas
        live = self.live
        for _ in range(replicas - len(live)):
            pod = self._new_pod()
            self.at(self.now + self.plant.start_up(self._starts), self._ready, pod)
            self._starts += 1
        if replicas < len(live):
            for pod in leave_first(live, victims)[: len(live) - replicas]:
                self._terminate(pod)

    def _expect_next(self) -> None:
        if self._arrived < len(self.jobs):
            job = self.jobs[self._arrived]
            self._arrived += 1
            self.at(job.job.added, self._add, job)

    def _add(self, job: SimulatedJob) -> None:
        queue = self._queue_of[job.job.queue]
        queue.add(job, self.now)
        self._expect_next()
        if job.ready > self.now:
            self.at(job.ready, self._dispatch, queue)
        else:
            self._dispatch(queue)
        self._scaler.job_came(queue)

    def _new_pod(self, *, initial: bool = False) -> SimulatedPod:
        number = len(self.pods) + len(self.past_pods) + 1
        pod = SimulatedPod(f"worker-{number}", self.now, [0] * len(self.queues), initial=initial)
        self.pods.append(pod)
        return pod

    def _ready(self, pod: SimulatedPod) -> None:
        if pod.gone is not None:
            return
        pod.ready_at = self.now
        for queue in self.queues:
            queue.free.append(pod)
            self._dispatch(queue)
        self._scaler.pods_changed()

    def _dispatch(self, queue: SimulatedQueue) -> None:
        """Give jobs to who waits for them; a pod that took one waits behind the others again."""
        free, index, slots = queue.free, queue.index, queue.slots
        while free:
            pod = free[0]
            if pod.terminating is not None or pod.running[index] >= slots:
                free.popleft()
                continue
            job = self._next_job(queue)
            if job is None:
                return
            self._start(job, pod, queue)
            free.rotate(-1)

    def _next_job(self, queue: SimulatedQueue) -> SimulatedJob | None:
        limiter = queue.limiter
        until = limiter.blocked_until(self.now) if limiter is not None else None
        if until is not None:
            if not queue.woken_at >= until:
                queue.woken_at = until
                self.at(until, self._dispatch, queue)
            return None
        job = queue.take(self.now)
        if job is not None and limiter is not None:
            limiter.take(self.now)
        return job

    def _start(self, job: SimulatedJob, pod: SimulatedPod, queue: SimulatedQueue) -> None:
        if job.started is None:
            job.started = self.now
        job.taken, job.pod = self.now, pod
        job.attempts += 1
        pod.running[queue.index] += 1
        pod.served += 1
        queue.active[job.number] = job
        self.at(self.now + job.service, self._finish, (job, job.attempts))

    def _finish(self, what: tuple[SimulatedJob, int]) -> None:
        job, attempt = what
        pod = job.pod
        if pod is None or job.attempts != attempt:
            return
        queue = self._queue_of[job.job.queue]
        job.ended, job.pod = self.now, None
        self._left -= 1
        del queue.active[job.number]
        queue.count(job)
        self._leave_slot(pod, queue, self.now - job.taken)

    def _leave_slot(self, pod: SimulatedPod, queue: SimulatedQueue, seconds: float) -> None:
        pod.busy_seconds += seconds
        pod.running[queue.index] -= 1
        if pod.terminating is not None:
            if not any(pod.running):
                self._gone(pod)
            return
        was_full = pod.running[queue.index] == queue.slots - 1
        following = self._next_job(queue)
        if following is not None:
            self._start(following, pod, queue)
        elif was_full and pod not in queue.free:
            queue.free.append(pod)

    def _terminate(self, pod: SimulatedPod) -> None:
        pod.terminating = self.now
        if pod.ready_at is None or not any(pod.running):
            self._gone(pod)
        else:
            self.at(self.now + self.plant.drain_seconds, self._give_back, pod)

    def _give_back(self, pod: SimulatedPod) -> None:
        """End a pod whose time is over: its jobs go back to their queues."""
        if pod.gone is not None:
            return
        for queue in self.queues:
            for job in [job for job in queue.active.values() if job.pod is pod]:
                queue.give_back(job)
                job.pod = None
                self.interrupted += 1
                pod.busy_seconds += self.now - job.taken
            self._dispatch(queue)
        self._gone(pod)

    def _gone(self, pod: SimulatedPod) -> None:
        pod.gone = self.now
        self.pods.remove(pod)
        self.past_pods.append(pod)
        self._scaler.pods_changed()

    def _heartbeat(self, _: None) -> None:
        for queue in self.queues:
            queue.write_statistics()
        self.keep_statistics()
