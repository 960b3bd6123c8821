"""Keeping job schedulers: storing, removing and listing them."""

from __future__ import annotations

from typing import Any

import msgpack

from queueworker.base import QueueBase, raise_first
from queueworker.decoding import mapping, pairs
from queueworker.errors import InvalidJobError, JobRefusedError, RedisReadError
from queueworker.jobs import encode_data
from queueworker.keys import whole_score
from queueworker.schedules import Moment, Schedule, Scheduled, ScheduleInfo, template

COLLISION = -10
SLOTS_BUSY = -11
_READ_TOGETHER = 500

# KEYS in the order that the head of addJobScheduler-11.lua names them.
_KEYS = ("repeat", "delayed", "wait", "paused", "meta", "prioritized", "marker", "id", "events", "pc", "active")


class QueueScheduling(QueueBase):
    """The part of `Queue` that keeps job schedulers."""

    async def schedule(
        self,
        scheduler_id: str,
        data: Any = None,
        *,
        cron: str | None = None,
        every: int | None = None,
        tz: str | None = None,
        limit: int | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        offset: int | None = None,
        immediately: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> Scheduled:
        """Have a job added again and again: by a cron pattern in the time zone `tz`, or every so many milliseconds.

        What the parameters mean, says `queueworker.schedules.Schedule`. The job's name is the scheduler's id unless
        `name` says otherwise; `options` are those of its jobs. The same call again brings the scheduler up to date and
        leaves one job of its next run. Raises InvalidJobError, JobRefusedError where jobs of an earlier scheduler of
        this id stand in the way, RedisWriteError.
        """
        plan = Schedule(
            id=scheduler_id,
            cron=cron,
            every=every,
            tz=tz,
            limit=limit,
            start=start,
            end=end,
            offset=offset,
            immediately=immediately,
        )
        return await self._store(plan, name or scheduler_id, data, options)

    async def unschedule(self, scheduler_id: str) -> bool:
        """Remove a scheduler with its next job; tells whether there was one. Source: `removeJobScheduler-3.lua`."""
        was_there = await self._next_run_ms(scheduler_id) is not None
        keys = [self.keys.of(part) for part in ("repeat", "delayed", "events")]
        arguments = [scheduler_id, self.keys.base]
        code = await self._persist(lambda: self._run_script("removeJobScheduler", keys, arguments))
        return was_there or code == 0

    async def schedules(self) -> list[ScheduleInfo]:
        """Return all schedulers of the queue, the one whose job falls due first at the front; raises RedisReadError."""
        repeat = self.keys.of("repeat")

        async def read() -> list[ScheduleInfo]:
            [members] = await self._run([("ZRANGE", repeat, 0, -1, "WITHSCORES")])
            raise_first([members])
            found: list[ScheduleInfo] = []
            scored = pairs(members)
            for start in range(0, len(scored), _READ_TOGETHER):
                part = scored[start : start + _READ_TOGETHER]
                stored = await self._run([("HGETALL", f"{repeat}:{scheduler_id}") for scheduler_id, _ in part])
                raise_first(stored)
                found += [
                    ScheduleInfo.of(name, whole_score(score), mapping(one))
                    for (name, score), one in zip(part, stored, strict=True)
                ]
            return found

        return await self._persist(read, kind=RedisReadError)

    async def get_schedule(self, scheduler_id: str) -> ScheduleInfo | None:
        """Return one scheduler, None where there is none of this id; raises RedisReadError."""
        repeat = self.keys.of("repeat")

        async def read() -> ScheduleInfo | None:
            score, stored = await self._run([("ZSCORE", repeat, scheduler_id), ("HGETALL", f"{repeat}:{scheduler_id}")])
            raise_first([score, stored])
            return None if score is None else ScheduleInfo.of(scheduler_id, whole_score(float(score)), mapping(stored))

        return await self._persist(read, kind=RedisReadError)

    async def _store(self, plan: Schedule, name: str, data: Any, options: dict[str, Any]) -> Scheduled:
        payload = encode_data(data, job_name=name)
        opts = template(plan.id, options)
        now_ms = self._now_ms()
        next_ms = plan.next_ms(now_ms)
        try:
            words = _words(plan, name=name, payload=payload, template_options=opts, now_ms=now_ms, next_ms=next_ms)
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidJobError(f"scheduler {plan.id!a}: a name, an id or a number cannot be sent: {error}") from None
        keys = [self.keys.of(part) for part in _KEYS]

        async def send() -> Any:
            await self._forget_offset(plan)
            return await self._run_script("addJobScheduler", keys, [*words, now_ms, self.keys.base, ""])

        reply = await self._persist(send)
        if isinstance(reply, int):
            return await self._after_refusal(plan, reply, next_ms)
        job_id = str(reply[0])
        return Scheduled(plan.id, job_id, int(job_id.rpartition(":")[2]))

    async def _forget_offset(self, plan: Schedule) -> None:
        """Remove the offset of another interval: the script would keep it, and add it to the next run after a late one.

        So a scheduler that went from hourly to ten times a second stood still for most of an hour when it missed a run.
        """
        if plan.every is None or plan.offset is not None:
            return
        key = self.keys.of(f"repeat:{plan.id}")
        [stored] = await self._run([("HGET", key, "every")])
        raise_first([stored])
        if stored != str(plan.every):
            raise_first(await self._run([("HDEL", key, "offset")]))

    async def _after_refusal(self, plan: Schedule, code: int, next_ms: int) -> Scheduled:
        """Return what is stored where it is our own request that collided with itself; raises JobRefusedError."""
        job_id = f"repeat:{plan.id}:{next_ms}"
        if code == COLLISION and await self._next_run_ms(plan.id) == next_ms:
            return Scheduled(plan.id, job_id, next_ms)
        what = {
            COLLISION: f"a job {job_id} is there already, running or finished: remove it or wait for the next run",
            SLOTS_BUSY: "jobs of an earlier scheduler of this id stand in all of its next 32 runs: remove them",
        }.get(code, f"BullMQ answered with the code {code}")
        raise JobRefusedError(
            f"queue {self.name}: scheduler {plan.id} was not stored: {what}", job_id=job_id, code=code
        )

    async def _next_run_ms(self, scheduler_id: str) -> int | None:
        found = await self.get_schedule(scheduler_id)
        return None if found is None else found.next_run_ms


def _words(
    plan: Schedule, *, name: str, payload: str, template_options: dict[str, Any], now_ms: int, next_ms: int
) -> list[str | int | bytes]:
    """Return the first six ARGV of addJobScheduler-11.lua."""
    repeat = plan.repeat()
    stored = {"name": name, **repeat}
    is_cron = plan.cron is not None
    job = {
        **template_options,
        "jobId": f"repeat:{plan.id}:{next_ms}",
        "delay": max(0, next_ms - now_ms),
        "timestamp": now_ms,
        # From this, workers count the next time of a pattern; of an interval the script does.
        **({"prevMillis": next_ms} if is_cron else {}),
        "repeatJobKey": plan.id,
        "repeat": {**repeat, "count": 1},
    }
    return [next_ms, msgpack.packb(stored), plan.id, payload, msgpack.packb(template_options), msgpack.packb(job)]
