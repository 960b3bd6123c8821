"""Writing killmails: every function works inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.ext.asyncio import AsyncConnection

from queueworker_processors.killboard.documents import Attacker, Killmail
from queueworker_processors.killboard.parties import Parties
from queueworker_processors.killboard.tables import killmail_attackers, killmail_items, killmails
from queueworker_processors.killboard.valuation import FlatItem, Valuation

_INSERT_OR_NOT = (
    insert_or_not(killmails).on_conflict_do_nothing(index_elements=["killmail_id"]).returning(killmails.c.killmail_id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that is stored of one killmail."""

    killmail: Killmail
    killmail_hash: str
    war_id: int | None
    source: str | None
    valuation: Valuation
    parties: Parties


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database holds of a killmail."""

    war_id: int | None
    total_value: float
    attackers: int
    items: int


async def find(connection: AsyncConnection, killmail_id: int) -> Stored | None:
    """Return what is stored of a killmail, None where nothing is."""
    items = select(func.count()).where(killmail_items.c.killmail_id == killmail_id).scalar_subquery()
    table = killmails.c
    query = select(table.war_id, table.total_value, table.attacker_count, items).where(table.killmail_id == killmail_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Stored(war_id=row[0], total_value=row[1], attackers=row[2], items=row[3])


async def insert_record(connection: AsyncConnection, record: Record) -> bool:
    """Insert a killmail with its attackers and items; return False, and write nothing, where it is stored already.

    Waits for another transaction that is inserting the same killmail.
    """
    if await connection.scalar(_INSERT_OR_NOT, _row(record)) is None:
        return False
    killmail_id = record.killmail.killmail_id
    attackers = [_attacker_row(killmail_id, index, one) for index, one in enumerate(record.killmail.attackers)]
    items = [_item_row(killmail_id, item) for item in record.valuation.items]
    if attackers:
        await connection.execute(insert(killmail_attackers), attackers)
    if items:
        await connection.execute(insert(killmail_items), items)
    return True


async def record_war(connection: AsyncConnection, killmail_id: int, war_id: int) -> int:
    """Write the war of a stored killmail that has none yet, and return the war that it has then."""
    table = killmails.c
    unknown = update(killmails).where(table.killmail_id == killmail_id, table.war_id.is_(None))
    await connection.execute(unknown.values(war_id=war_id))
    war: int = (await connection.execute(select(table.war_id).where(table.killmail_id == killmail_id))).scalar_one()
    return war


def _row(record: Record) -> dict[str, Any]:
    killmail, victim = record.killmail, record.killmail.victim
    top, position = record.parties.top_attacker, record.killmail.victim.position
    return {
        "killmail_id": killmail.killmail_id,
        "killmail_time": killmail.killmail_time,
        "killmail_hash": record.killmail_hash,
        "solar_system_id": killmail.solar_system_id,
        "victim_character_id": victim.character_id,
        "victim_corporation_id": victim.corporation_id,
        "victim_alliance_id": victim.alliance_id,
        "victim_faction_id": victim.faction_id,
        "victim_ship_type_id": victim.ship_type_id,
        "victim_damage_taken": victim.damage_taken,
        "position_x": position and position.x,
        "position_y": position and position.y,
        "position_z": position and position.z,
        "moon_id": killmail.moon_id,
        "war_id": record.war_id,
        "top_attacker_character_id": top and top.character_id,
        "top_attacker_corporation_id": top and top.corporation_id,
        "top_attacker_alliance_id": top and top.alliance_id,
        "top_attacker_ship_type_id": top and top.ship_type_id,
        "attacker_count": len(killmail.attackers),
        "is_npc": record.parties.is_npc,
        "is_solo": record.parties.is_solo,
        "is_awox": record.parties.is_awox,
        "source": record.source,
        **_values(record.valuation),
    }


def _values(valuation: Valuation) -> dict[str, Any]:
    return {
        "ship_value": valuation.ship,
        "fitted_value": valuation.fitted,
        "dropped_value": valuation.dropped,
        "destroyed_value": valuation.destroyed,
        "total_value": valuation.total,
        "fully_priced": valuation.fully_priced,
    }


def _attacker_row(killmail_id: int, index: int, attacker: Attacker) -> dict[str, Any]:
    return {
        "killmail_id": killmail_id,
        "attacker_index": index,
        "character_id": attacker.character_id,
        "corporation_id": attacker.corporation_id,
        "alliance_id": attacker.alliance_id,
        "faction_id": attacker.faction_id,
        "ship_type_id": attacker.ship_type_id,
        "weapon_type_id": attacker.weapon_type_id,
        "damage_done": attacker.damage_done,
        "final_blow": attacker.final_blow,
        "security_status": attacker.security_status,
    }


def _item_row(killmail_id: int, flat: FlatItem) -> dict[str, Any]:
    return {
        "killmail_id": killmail_id,
        "item_index": flat.index,
        "parent_index": flat.parent_index,
        "type_id": flat.item.item_type_id,
        "flag": flat.item.flag,
        "quantity_dropped": flat.item.quantity_dropped,
        "quantity_destroyed": flat.item.quantity_destroyed,
        "singleton": flat.item.singleton,
        "unit_price": flat.unit_price,
    }
