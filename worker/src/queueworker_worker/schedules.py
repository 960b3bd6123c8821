"""Schedulers declared beside their processor, and stored in Redis when a worker starts.

@scheduled("nightly", cron="0 3 * * *", tz="Europe/Berlin", data={"full": True})
@processor("reports")
async def report(payload: Report) -> None: ...
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from queueworker.errors import InvalidJobError, QueueWorkerError, RedisAccessError
from queueworker_worker.errors import ProcessorError
from queueworker_worker.processor import MARK as PROCESSOR_MARK
from queueworker_worker.processor import Declaration, path_of

if TYPE_CHECKING:
    from queueworker.settings import ConnectionSettings

_log = logging.getLogger(__name__)
MARK = "__queueworker_schedules__"
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A scheduler to store: its id, its queue, its job, and when, as `queueworker.Queue.schedule` wants them."""

    id: str
    queue: str
    name: str
    data: Any
    options: Mapping[str, Any]

    def when(self) -> str:
        """Return the times in words: `0 3 * * * (UTC)`, or `every 5000 ms`."""
        if (every := self.options.get("every")) is not None:
            return f"every {every} ms"
        return f"{self.options.get('cron')} ({self.options.get('tz')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    id: str
    queue: str | None
    name: str | None
    data: Any
    options: Mapping[str, Any]


def scheduled(
    scheduler_id: str,
    *,
    cron: str | None = None,
    every: int | None = None,
    tz: str | None = None,
    data: Any = None,
    name: str | None = None,
    queue: str | None = None,
    **options: Any,
) -> Callable[[Function], Function]:
    """Have jobs added for this processor again and again: by a cron pattern in the time zone `tz`, or `every` n ms.

    A worker stores the scheduler when it starts; the same one again changes nothing. The jobs are called as the
    processor's, else `name`, else the scheduler's id. `queue` is needed where the function processes several queues.
    `options` are those of `queueworker.Queue.schedule`: `limit`, and a job's own such as `attempts` and `priority`.
    """
    times = {"cron": cron, "every": every, "tz": tz}
    known = {**{key: value for key, value in times.items() if value is not None}, **options}

    def declare(function: Function) -> Function:
        one = _Declared(id=scheduler_id, queue=queue, name=name, data=data, options=known)
        setattr(function, MARK, (*getattr(function, MARK, ()), one))
        return function

    return declare


def plans_of(function: Callable[..., Any]) -> Iterable[Plan]:
    """Return the schedulers of a function; raises ProcessorError naming what is wrong with one."""
    for one in getattr(function, MARK, ()):
        where = f"@scheduled({one.id!r}) on {path_of(function)}"
        queue, name = _target(one, getattr(function, PROCESSOR_MARK, ()), where=where)
        plan = Plan(id=one.id, queue=queue, name=name, data=one.data, options=one.options)
        _check(plan, where=where)
        yield plan


def _target(one: _Declared, declared: Iterable[Declaration], *, where: str) -> tuple[str, str]:
    """Return the queue and the job name of a scheduler."""
    wanted = [
        d
        for d in declared
        if (one.queue is None or d.queue == one.queue) and (one.name is None or d.name in {None, one.name})
    ]
    queues = sorted({d.queue for d in wanted})
    if not queues:
        of = f" of queue {one.queue!r}" if one.queue is not None else ""
        raise ProcessorError(f"{where}: it is no processor{of} for these jobs: put it on a function with @processor")
    if len(queues) > 1:
        raise ProcessorError(f"{where}: name one of its queues with queue=: {', '.join(queues)}")
    names = {d.name for d in wanted if d.queue == queues[0]}
    if one.name is not None or None in names:
        return queues[0], one.name or one.id
    if len(names) > 1:
        raise ProcessorError(
            f"{where}: name one of its job names with name=: {', '.join(map(str, sorted(names, key=str)))}"
        )
    return queues[0], str(names.pop())


def _check(plan: Plan, *, where: str) -> None:
    from queueworker.options import JobOptions
    from queueworker.schedules import Schedule

    times = {field.name for field in fields(Schedule)} - {"id"}
    try:
        Schedule(id=plan.id, **{key: value for key, value in plan.options.items() if key in times})
        options = JobOptions.of(**{key: value for key, value in plan.options.items() if key not in times})
        if options.job_id is not None or options.delay:
            raise InvalidJobError("job_id and delay are the scheduler's own")
    except (InvalidJobError, TypeError) as error:
        raise ProcessorError(f"{where}: {error}") from None


async def store(plans: Iterable[Plan], connection: ConnectionSettings, *, prefix: str) -> None:
    """Store schedulers, and try again in growing pauses where Redis fails; every trouble is one line in the log."""
    for plan in plans:
        pause, said = _FIRST_PAUSE_SECONDS, False
        while True:
            try:
                await _store(plan, connection, prefix=prefix)
                _log.info("queue %s: scheduler %s is stored: %s", plan.queue, plan.id, plan.when())
                break
            except RedisAccessError as error:
                if not said:
                    _log.error("queue %s: scheduler %s is not stored: %s; trying again", plan.queue, plan.id, error)
                said = True
            except QueueWorkerError as error:
                _log.error("queue %s: scheduler %s is not stored: %s", plan.queue, plan.id, error)
                break
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)


async def _store(plan: Plan, connection: ConnectionSettings, *, prefix: str) -> None:
    from queueworker.queue import Queue

    async with Queue(plan.queue, connection, prefix=prefix) as queue:
        await queue.schedule(plan.id, plan.data, name=plan.name, **plan.options)
