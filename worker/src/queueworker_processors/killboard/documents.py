"""A killmail as ESI sends it (`GET /killmails/{id}/{hash}`, compatibility date 2026-08-18).

Unknown fields are ignored: within one date ESI only adds. Numbers are bounded by what the tables hold, so that a
document that cannot be stored is refused as such and not retried.
"""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Id = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Position(_Document):
    """Where the victim was, in metres from the centre of the solar system."""

    x: Finite
    y: Finite
    z: Finite


class ContainedItem(_Document):
    """An item inside a container; ESI nests one level."""

    item_type_id: Id
    flag: Annotated[int, Field(ge=0, le=2**31 - 1)]
    singleton: Annotated[int, Field(ge=0, le=2**15 - 1)]
    quantity_dropped: Count = 0
    quantity_destroyed: Count = 0


class Item(ContainedItem):
    """An item that the victim carried, fitted or not."""

    items: tuple[ContainedItem, ...] = ()


class Victim(_Document):
    """Who lost what. A structure has no character, an old killmail no position."""

    ship_type_id: Id
    damage_taken: Count
    character_id: Id | None = None
    corporation_id: Id | None = None
    alliance_id: Id | None = None
    faction_id: Id | None = None
    position: Position | None = None
    items: tuple[Item, ...] = ()


class Attacker(_Document):
    """One of those who did it. Without a character it is an NPC or a structure."""

    damage_done: Count
    final_blow: bool
    security_status: Finite
    character_id: Id | None = None
    corporation_id: Id | None = None
    alliance_id: Id | None = None
    faction_id: Id | None = None
    ship_type_id: Id | None = None
    weapon_type_id: Id | None = None


class Killmail(_Document):
    """The whole document."""

    killmail_id: Annotated[int, Field(gt=0, le=2**63 - 1)]
    killmail_time: AwareDatetime
    solar_system_id: Id
    moon_id: Id | None = None
    war_id: Id | None = None
    victim: Victim
    attackers: tuple[Attacker, ...]
