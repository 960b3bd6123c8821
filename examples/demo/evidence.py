"""The prices put into the database before, and what Redis and the database hold when all is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from examples.demo.ledger import JobKey, JobRecord, State, StoredKill
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker.connection import Client, connect
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_processors.killboard.tables import killmail_attackers, killmail_items, killmails, market_prices

CHUNK = 500


async def seed_prices(engine: AsyncEngine, cents: Mapping[int, int]) -> None:
    """Write the market's prices."""
    async with engine.begin() as connection:
        rows = [{"type_id": type_id, "average_price": price / 100} for type_id, price in cents.items()]
        await connection.execute(insert(market_prices), rows)


async def stored_kills(engine: AsyncEngine) -> dict[int, StoredKill]:
    """Read every stored killmail; its attackers and items are counted, not taken from the killmail's own row."""
    rows = {}
    for table in (killmail_attackers, killmail_items):
        rows[table.name] = (
            select(table.c.killmail_id, func.count().label("rows")).group_by(table.c.killmail_id).subquery()
        )
    attackers, items = rows[killmail_attackers.name], rows[killmail_items.name]
    query = (
        select(
            killmails.c.killmail_id,
            killmails.c.total_value,
            func.coalesce(attackers.c.rows, 0),
            func.coalesce(items.c.rows, 0),
        )
        .outerjoin(attackers, attackers.c.killmail_id == killmails.c.killmail_id)
        .outerjoin(items, items.c.killmail_id == killmails.c.killmail_id)
    )
    async with engine.connect() as connection:
        found = await connection.execute(query)
        return {row[0]: StoredKill(cents=round(row[1] * 100), attackers=row[2], items=row[3]) for row in found}


async def job_records(redis: ConnectionSettings, queue: str, jobs: Sequence[JobKey]) -> dict[JobKey, JobRecord]:
    """Read these jobs of the queue; those that Redis does not know are left out."""
    records: dict[JobKey, JobRecord] = {}
    async with aclosing(connect(redis)) as client:
        for start in range(0, len(jobs), CHUNK):
            records |= await _records(client, queue, jobs[start : start + CHUNK])
    return records


async def _records(client: Client, queue: str, jobs: Sequence[JobKey]) -> dict[JobKey, JobRecord]:
    pipeline = client.pipeline(transaction=False)
    for job in jobs:
        keys = QueueKeys(job.prefix, queue)
        pipeline.zscore(keys.of("completed"), job.job_id)
        pipeline.zscore(keys.of("failed"), job.job_id)
        pipeline.hmget(keys.job(job.job_id), ["timestamp", "ats", "returnvalue"])
    answers = await pipeline.execute()
    found = {}
    for job, completed, failed, (added, starts, result) in zip(
        jobs, answers[0::3], answers[1::3], answers[2::3], strict=True
    ):
        if added is not None:
            state = State.COMPLETED if completed is not None else State.FAILED if failed is not None else State.OPEN
            found[job] = JobRecord(state=state, starts=int(starts or 0), outcome=_outcome(result))
    return found


def _outcome(result: str | None) -> str | None:
    value = json.loads(result) if result else None
    return value.get("outcome") if isinstance(value, dict) else None
