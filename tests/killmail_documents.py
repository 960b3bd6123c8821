"""Five killmails that happened, as ESI documents, and what they were worth.

The ids, times, types, prices and flags are CCP's facts; the damage of an attacker is made up where nobody counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A document, the prices of its day, and what must come out."""

    killmail_hash: str
    document: JsonObject
    prices: Mapping[int, float] = field(default_factory=dict)
    ship: float
    dropped: float
    destroyed: float
    total: float
    npc: bool = False
    solo: bool = False
    fully_priced: bool = True

    @property
    def killmail_id(self) -> int:
        """The id of the kill."""
        killmail_id: int = self.document["killmail_id"]
        return killmail_id

    @property
    def payload(self) -> JsonObject:
        """The job's data."""
        return {"killmailId": self.killmail_id, "hash": self.killmail_hash, "esi": self.document}


def attacker(**facts: Any) -> JsonObject:
    """Return an attacker who struck the final blow, unless told otherwise."""
    return {"damage_done": 425, "final_blow": True, "security_status": 0.0, **facts}


def item(type_id: int, *, flag: int = 5, **facts: Any) -> JsonObject:
    """Return an item of a victim."""
    return {"item_type_id": type_id, "flag": flag, "singleton": 0, **facts}


def document(killmail_id: int = 1000, **facts: Any) -> JsonObject:
    """Return a killmail with a character on each side and nothing special, changed by `facts`."""
    return {
        "killmail_id": killmail_id,
        "killmail_time": "2026-04-15T14:56:23Z",
        "solar_system_id": 30000142,
        "victim": {"ship_type_id": 587, "damage_taken": 425, "character_id": 90000001, "corporation_id": 98000001},
        "attackers": [attacker(character_id=90000002, corporation_id=98000002, ship_type_id=24688)],
        **facts,
    }


def payload(killmail_id: int = 1000, **facts: Any) -> JsonObject:
    """Return the data of a job for `document(...)`."""
    return {"killmailId": killmail_id, "hash": "0" * 40, "esi": document(killmail_id, **facts)}


POD = Case(
    killmail_hash="70cae925b6c971e174aa470e9509180e14baf2c1",
    document={
        "killmail_id": 134762446,
        "killmail_time": "2026-04-15T14:56:23Z",
        "solar_system_id": 30003586,
        "victim": {
            "ship_type_id": 670,
            "damage_taken": 425,
            "character_id": 2124279541,
            "corporation_id": 98830728,
            "position": {"x": 1.0e11, "y": -2.5e10, "z": 3.25e11},
            "items": [],
        },
        "attackers": [
            attacker(
                character_id=2122585718,
                corporation_id=98535868,
                alliance_id=99014783,
                ship_type_id=24688,
                weapon_type_id=9668,
                security_status=-1.9,
            )
        ],
    },
    ship=10000,
    dropped=0,
    destroyed=0,
    total=10000,
    solo=True,
)

NPC = Case(
    killmail_hash="b71cd4d95f77694846bbfce10a6010fd34228bc9",
    document={
        "killmail_id": 34663598,
        "killmail_time": "2013-11-21T13:42:00Z",
        "solar_system_id": 30000131,
        "victim": {
            "ship_type_id": 606,
            "damage_taken": 425,
            "character_id": 90000001,
            "corporation_id": 1000166,
            "items": [
                item(3640, flag=27, quantity_dropped=1),
                item(34, flag=5, quantity_dropped=1),
                item(3651, flag=28, quantity_destroyed=1),
            ],
        },
        "attackers": [attacker(corporation_id=1000125, ship_type_id=3885)],
    },
    prices={606: 5819.99, 34: 4.8, 3651: 75.0},
    ship=5819.99,
    dropped=4.81,
    destroyed=75.00,
    total=5899.80,
    npc=True,
    fully_priced=False,
)

IMPLANTS = Case(
    killmail_hash="68c0265df7479678de95cbc2cfdb574e3e65c592",
    document={
        "killmail_id": 55678613,
        "killmail_time": "2016-08-21T14:01:57Z",
        "solar_system_id": 30004165,
        "victim": {
            "ship_type_id": 33328,
            "damage_taken": 425,
            "character_id": 90000001,
            "corporation_id": 98000001,
            "position": {"x": 1.0, "y": 2.0, "z": 3.0},
            "items": [
                item(10216, flag=89, quantity_destroyed=1),
                item(10212, flag=89, quantity_destroyed=1),
            ],
        },
        "attackers": [
            attacker(character_id=90000002, corporation_id=1000046, damage_done=400),
            attacker(character_id=90000003, corporation_id=98000003, damage_done=25, final_blow=False),
        ],
    },
    prices={10216: 17603000.06, 10212: 17520000.01},
    ship=10000,
    dropped=0,
    destroyed=35123000.07,
    total=35133000.07,
)

WAR = Case(
    killmail_hash="e74fe4b03e93d0e886b3c3ea8b2aebeaacabb6f2",
    document={
        "killmail_id": 84508915,
        "killmail_time": "2020-05-26T20:28:17Z",
        "solar_system_id": 30000142,
        "war_id": 672797,
        "victim": {"ship_type_id": 670, "damage_taken": 425, "character_id": 90000001, "corporation_id": 98000001},
        "attackers": [attacker(character_id=90000002, corporation_id=98000002)],
    },
    ship=10000,
    dropped=0,
    destroyed=0,
    total=10000,
    solo=True,
)

FACTION = Case(
    killmail_hash="b8463d4cdb11aea295c6e2626b8c4d8de9ef74d9",
    document={
        "killmail_id": 24209201,
        "killmail_time": "2012-06-05T06:24:00Z",
        "solar_system_id": 30011407,
        "victim": {"ship_type_id": 583, "damage_taken": 425, "character_id": 90000001, "corporation_id": 98000001},
        "attackers": [attacker(faction_id=500010)],
    },
    prices={583: 119999.98},
    ship=119999.98,
    dropped=0,
    destroyed=0,
    total=119999.98,
    npc=True,
)

CASES = (POD, NPC, IMPLANTS, WAR, FACTION)
