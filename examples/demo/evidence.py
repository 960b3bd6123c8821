"""The prices put into the database before, and what Redis and the database hold when all is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing

from examples.demo.ledger import JobKey, JobRecord, StoredKill
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker.connection import Client, connect
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_processors.killboard.tables import killmail_attackers, killmail_items, killmails, market_prices

FINISHED = ("completed", "failed")
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


async def job_records(redis: ConnectionSettings, queues: Iterable[QueueKeys]) -> dict[JobKey, JobRecord]:
    """Read every finished job of the queues; the demo keeps them all."""
    records: dict[JobKey, JobRecord] = {}
    async with aclosing(connect(redis)) as client:
        for keys in queues:
            for state in FINISHED:
                ids = [str(job_id) for job_id in await client.zrange(keys.of(state), 0, -1)]
                for start in range(0, len(ids), CHUNK):
                    records |= await _records(client, keys, state, ids[start : start + CHUNK])
    return records


async def _records(client: Client, keys: QueueKeys, state: str, ids: Sequence[str]) -> dict[JobKey, JobRecord]:
    pipeline = client.pipeline(transaction=False)
    for job_id in ids:
        pipeline.hmget(keys.job(job_id), ["ats", "returnvalue"])
    answers = await pipeline.execute()
    return {
        JobKey(keys.prefix, job_id): JobRecord(state=state, starts=int(starts or 0), outcome=_outcome(result))
        for job_id, (starts, result) in zip(ids, answers, strict=True)
    }


def _outcome(result: str | None) -> str | None:
    value = json.loads(result) if result else None
    return value.get("outcome") if isinstance(value, dict) else None
