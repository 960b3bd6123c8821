"""Storing killmails in a real PostgreSQL: whole, once, or not at all."""

import asyncio
from typing import Any

import pytest
from killmail_documents import CASES, FACTION, IMPLANTS, NPC, POD, WAR, Case, document, item, payload
from postgres import database, empty_database, engine, postgres_server
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker_processors.killboard.killmail import KillmailJob, KillmailResult, store_killmail
from queueworker_processors.killboard.tables import killmail_attackers, killmail_items, killmails, market_prices
from queueworker_worker.errors import UnrecoverableError

__all__ = ["database", "empty_database", "engine", "postgres_server"]

TABLES = (killmails, killmail_attackers, killmail_items)


async def run(engine: AsyncEngine, data: dict[str, Any]) -> KillmailResult:
    return await store_killmail(KillmailJob.model_validate(data), engine)


async def seed(engine: AsyncEngine, prices: dict[int, float]) -> None:
    async with engine.begin() as connection:
        rows = [{"type_id": type_id, "average_price": isk} for type_id, isk in prices.items()]
        if rows:
            await connection.execute(insert(market_prices), rows)


async def counts(engine: AsyncEngine) -> tuple[int, ...]:
    async with engine.connect() as connection:
        return tuple([await connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES])


async def row(engine: AsyncEngine, killmail_id: int) -> dict[str, Any]:
    async with engine.connect() as connection:
        found = await connection.execute(select(killmails).where(killmails.c.killmail_id == killmail_id))
        return dict(found.mappings().one())


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.killmail_id))
async def test_a_killmail_is_stored_with_its_values_and_flags(engine: AsyncEngine, case: Case) -> None:
    await seed(engine, dict(case.prices))

    result = await run(engine, case.payload)

    stored = await row(engine, case.killmail_id)
    attackers, items = len(case.document["attackers"]), len(case.document["victim"].get("items", []))
    assert result == {
        "outcome": "stored",
        "killmailId": case.killmail_id,
        "totalValue": case.total,
        "attackers": attackers,
        "items": items,
    }
    assert await counts(engine) == (1, attackers, items)
    assert (stored["ship_value"], stored["dropped_value"], stored["destroyed_value"], stored["total_value"]) == (
        case.ship,
        case.dropped,
        case.destroyed,
        case.total,
    )
    assert (stored["is_npc"], stored["is_solo"], stored["fully_priced"]) == (case.npc, case.solo, case.fully_priced)
    assert stored["killmail_hash"] == case.killmail_hash
    assert stored["killmail_time"].isoformat() == case.document["killmail_time"].replace("Z", "+00:00")


async def test_what_a_document_does_not_say_is_null(engine: AsyncEngine) -> None:
    await run(engine, FACTION.payload)

    stored = await row(engine, FACTION.killmail_id)
    unknown = ("position_x", "war_id", "moon_id", "victim_alliance_id", "top_attacker_character_id", "region_id")
    assert {name: stored[name] for name in unknown} == dict.fromkeys(unknown)


async def test_rows_of_attackers_and_items_are_what_the_document_says(engine: AsyncEngine) -> None:
    await seed(engine, {34: 4.8})
    container = item(3293, quantity_destroyed=1) | {"items": [item(34, quantity_dropped=16)]}
    victim = {"ship_type_id": 587, "damage_taken": 9, "items": [container]}

    await run(engine, payload(victim=victim))

    async with engine.connect() as connection:
        items = [tuple(one) for one in await connection.execute(select(killmail_items).order_by("item_index"))]
        attackers = [dict(one) for one in (await connection.execute(select(killmail_attackers))).mappings()]
    assert items == [(1000, 0, None, 3293, 5, 0, 1, 0, None), (1000, 1, 0, 34, 5, 16, 0, 0, 4.8)]
    expected = document()["attackers"][0] | {"killmail_id": 1000, "attacker_index": 0}
    assert attackers == [expected | dict.fromkeys(("alliance_id", "faction_id", "weapon_type_id"))]


async def test_adjusted_prices_stand_in_and_zero_is_no_price(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        prices: list[dict[str, Any]] = [
            {"type_id": 587, "average_price": None, "adjusted_price": 3.5},
            {"type_id": 34, "average_price": 0.0, "adjusted_price": 0.0},
        ]
        await connection.execute(insert(market_prices), prices)

    await run(engine, payload(victim={"ship_type_id": 587, "damage_taken": 1, "items": [item(34, quantity_dropped=1)]}))

    stored = await row(engine, 1000)
    assert (stored["ship_value"], stored["dropped_value"], stored["fully_priced"]) == (3.5, 0.01, False)


async def test_a_second_run_changes_nothing_and_says_so(engine: AsyncEngine) -> None:
    await seed(engine, dict(NPC.prices))
    first = await run(engine, NPC.payload)
    before = await row(engine, NPC.killmail_id), await counts(engine)

    # Prices move on: what is stored is the value at the time.
    await seed(engine, {3640: 1e9})
    second = await run(engine, NPC.payload)

    assert second == first | {"outcome": "exists"}
    assert (await row(engine, NPC.killmail_id), await counts(engine)) == before


async def test_eight_runs_at_once_store_it_once_and_whole(engine: AsyncEngine) -> None:
    data = payload(attackers=[{"damage_done": n, "final_blow": n == 0, "security_status": 0} for n in range(50)])
    data["esi"]["victim"]["items"] = [item(34, quantity_dropped=n) for n in range(200)]

    results = await asyncio.gather(*(run(engine, data) for _ in range(8)))

    assert sorted(one["outcome"] for one in results) == ["exists"] * 7 + ["stored"]
    assert {(one["totalValue"], one["attackers"], one["items"]) for one in results} == {(199.01, 50, 200)}
    assert await counts(engine) == (1, 50, 200)


async def test_a_crash_in_the_middle_leaves_nothing_and_the_next_run_stores_all(engine: AsyncEngine) -> None:
    def crash(*arguments: Any) -> None:
        if "INSERT INTO killmail_items" in arguments[2]:
            raise ConnectionResetError("the worker died here")

    event.listen(engine.sync_engine, "before_cursor_execute", crash)
    with pytest.raises(ConnectionResetError):
        await run(engine, IMPLANTS.payload)
    event.remove(engine.sync_engine, "before_cursor_execute", crash)
    assert await counts(engine) == (0, 0, 0)

    result = await run(engine, IMPLANTS.payload)

    assert result["outcome"] == "stored"
    assert await counts(engine) == (1, 2, 2)


async def test_a_job_without_a_document_fails_for_good(engine: AsyncEngine) -> None:
    with pytest.raises(UnrecoverableError, match=r"^the job carries no ESI document \(esi\)$"):
        await run(engine, {"killmailId": 5, "hash": "0" * 40})

    assert await counts(engine) == (0, 0, 0)


async def test_a_job_without_a_document_of_a_stored_killmail_has_nothing_to_do(engine: AsyncEngine) -> None:
    await run(engine, POD.payload)

    result = await run(engine, {"killmailId": POD.killmail_id, "hash": POD.killmail_hash})

    assert (result["outcome"], result["totalValue"]) == ("exists", 10000.0)


async def test_the_war_is_added_to_a_killmail_that_had_none(engine: AsyncEngine) -> None:
    await run(engine, POD.payload)

    await run(engine, POD.payload | {"warId": 672797})

    assert (await row(engine, POD.killmail_id))["war_id"] == 672797


async def test_another_war_than_the_stored_one_fails_for_good_and_changes_nothing(engine: AsyncEngine) -> None:
    await run(engine, WAR.payload)

    with pytest.raises(UnrecoverableError, match="stored with war 672797, the job says 1"):
        await run(engine, {"killmailId": WAR.killmail_id, "hash": WAR.killmail_hash, "warId": 1})

    assert (await row(engine, WAR.killmail_id))["war_id"] == 672797


async def test_the_reason_of_a_failure_holds_no_rows(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE killmail_attackers DROP COLUMN weapon_type_id")

    with pytest.raises(DBAPIError) as caught:
        await run(engine, POD.payload)

    assert str(POD.document["attackers"][0]["character_id"]) not in str(caught.value)
