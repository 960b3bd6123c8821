"""Killmails that never happened, in the shape of ESI's documents, always the same for the same seed.

What each is worth is counted here in cents, while it is made up: it shares no code with the processor that values it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

JsonObject = dict[str, Any]

SHIPS = (582, 587, 603, 621, 638, 16227, 17703, 24690, 24702, 29990)
CAPSULE = 670
CAPSULE_CENTS = 1_000_000
MODULES = (438, 519, 1541, 2048, 2281, 2410, 3244, 3841, 5973, 10190)
CARGO = (34, 35, 36, 37, 38, 39, 40, 11399, 16273, 28668)
BLUEPRINTS = (681, 683, 692, 785)
CONTAINER = 3465
UNPRICED = (60_001, 60_002)
"""Types that no price is known of: each counts one cent."""
SYSTEMS = (30000142, 30002187, 30002537, 30002659, 30003586)
FITTED_FLAGS = (11, 12, 19, 20, 27, 28, 29, 92)
CARGO_FLAG = 5
BLUEPRINT_COPY = 2
FIRST_KILL = datetime(2026, 8, 18, 11, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A document, and what must be stored of it."""

    document: JsonObject
    killmail_hash: str
    cents: int
    attackers: int
    items: int

    @property
    def killmail_id(self) -> int:
        """The id of the kill."""
        killmail_id: int = self.document["killmail_id"]
        return killmail_id

    @property
    def payload(self) -> JsonObject:
        """The data of its job."""
        return {"killmailId": self.killmail_id, "hash": self.killmail_hash, "esi": self.document, "source": "demo"}


def prices(seed: int) -> dict[int, int]:
    """Return what the market asks for each type, in cents."""
    dice = random.Random(f"prices:{seed}")
    ranges = {SHIPS: (10**7, 10**11), MODULES: (10**5, 10**9), CARGO: (100, 10**6), BLUEPRINTS: (10**8, 10**9)}
    known = {type_id: dice.randint(*between) for types, between in ranges.items() for type_id in types}
    return known | {CONTAINER: dice.randint(10**6, 10**7)}


def kills(count: int, *, seed: int, first_id: int) -> Iterator[Kill]:
    """Yield so many killmails with ids in a row."""
    market = prices(seed)
    for killmail_id in range(first_id, first_id + count):
        yield _Maker(killmail_id, random.Random(f"kill:{seed}:{killmail_id}"), market).make()


class _Maker:
    """Makes up one killmail and counts what it makes."""

    def __init__(self, killmail_id: int, dice: random.Random, market: dict[int, int]) -> None:
        self._id = killmail_id
        self._dice = dice
        self._market = market
        self._cents = 0
        self._items = 0

    def make(self) -> Kill:
        dice = self._dice
        attackers = [self._attacker(index) for index in range(min(40, 1 + int(dice.expovariate(0.3))))]
        moment = FIRST_KILL + timedelta(seconds=5.5 * (self._id % 100_000))
        document = {
            "killmail_id": self._id,
            "killmail_time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "solar_system_id": dice.choice(SYSTEMS),
            "victim": self._victim(),
            "attackers": attackers,
        }
        return Kill(
            document=document,
            killmail_hash=f"{dice.getrandbits(160):040x}",
            cents=self._cents,
            attackers=len(attackers),
            items=self._items,
        )

    def _victim(self) -> JsonObject:
        dice = self._dice
        pod = dice.random() < 0.2
        ship = CAPSULE if pod else dice.choice(SHIPS)
        self._cents += CAPSULE_CENTS if pod else self._market[ship]
        return {
            "ship_type_id": ship,
            "damage_taken": dice.randint(400, 90_000),
            "character_id": dice.randint(90_000_000, 90_000_500),
            "corporation_id": dice.randint(98_000_000, 98_000_050),
            "position": {axis: dice.uniform(-1e12, 1e12) for axis in "xyz"},
            "items": [] if pod else [self._top_item() for _ in range(dice.randint(2, 30))],
        }

    def _attacker(self, index: int) -> JsonObject:
        dice = self._dice
        known = {"damage_done": dice.randint(0, 9_000), "final_blow": index == 0, "ship_type_id": dice.choice(SHIPS)}
        if dice.random() < 0.1:
            return known | {"security_status": 0.0, "faction_id": dice.choice((500010, 500011, 500012))}
        return known | {
            "security_status": round(dice.uniform(-10, 5), 1),
            "character_id": dice.randint(90_000_000, 90_000_500),
            "corporation_id": dice.randint(98_000_000, 98_000_050),
            "alliance_id": dice.randint(99_000_000, 99_000_010),
            "weapon_type_id": dice.choice(MODULES),
        }

    def _top_item(self) -> JsonObject:
        dice = self._dice
        kind = dice.random()
        if kind < 0.05:
            held = [self._item(dice.choice(CARGO), flag=CARGO_FLAG) for _ in range(dice.randint(1, 4))]
            return self._item(CONTAINER, flag=CARGO_FLAG) | {"items": held}
        if kind < 0.10:
            return self._item(dice.choice(BLUEPRINTS), flag=CARGO_FLAG, singleton=BLUEPRINT_COPY)
        if kind < 0.12:
            return self._item(dice.choice(UNPRICED), flag=CARGO_FLAG)
        if kind < 0.60:
            return self._item(dice.choice(MODULES), flag=dice.choice(FITTED_FLAGS))
        return self._item(dice.choice(CARGO), flag=CARGO_FLAG)

    def _item(self, type_id: int, *, flag: int, singleton: int = 0) -> JsonObject:
        quantity = self._dice.randint(1, 5_000) if type_id in CARGO else 1
        fate = self._dice.choice(("quantity_dropped", "quantity_destroyed"))
        self._cents += quantity * (1 if singleton == BLUEPRINT_COPY else self._market.get(type_id, 1))
        self._items += 1
        return {"item_type_id": type_id, "flag": flag, "singleton": singleton, fate: quantity}
