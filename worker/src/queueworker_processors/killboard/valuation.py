"""What a killmail was worth, in ISK: pure functions of the document and of known prices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from queueworker_processors.killboard.documents import ContainedItem, Item, Killmail

LEAST_PRICE = 0.01
"""What counts where no price is known, and what a blueprint copy is worth: the smallest amount of ISK there is."""
CAPSULE_PRICE = 10_000.0
CAPSULES = frozenset({670, 33328})
"""The types of the group Capsule."""
BLUEPRINT_COPY = 2
"""`singleton` of a blueprint copy."""
FITTED_FLAGS = frozenset({*range(11, 35), 87, *range(92, 96), *range(125, 133), *range(158, 163)})
"""Slots of modules, rigs, subsystems and services, and the bays of drones and fighters."""


class PriceLookup(Protocol):
    """The price of one unit of a type at the time of the kill."""

    def __call__(self, type_id: int, /) -> float | None:
        """Return ISK, None where it is unknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatItem:
    """One item of a killmail with its place in the flat list, containers directly before what they held."""

    index: int
    parent_index: int | None
    item: ContainedItem
    unit_price: float | None
    """None where no price is known; LEAST_PRICE counts then."""

    @property
    def dropped_value(self) -> float:
        """ISK of what was left in the wreck."""
        return self._price * self.item.quantity_dropped

    @property
    def destroyed_value(self) -> float:
        """ISK of what was lost."""
        return self._price * self.item.quantity_destroyed

    @property
    def _price(self) -> float:
        return LEAST_PRICE if self.unit_price is None else self.unit_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """ISK rounded to the cent; `total` is ship + dropped + destroyed, `fitted` the hull and what was fitted to it."""

    ship: float
    fitted: float
    dropped: float
    destroyed: float
    total: float
    fully_priced: bool
    items: tuple[FlatItem, ...]


def type_ids(killmail: Killmail) -> frozenset[int]:
    """Return every type whose price `value` may ask for."""
    return frozenset({killmail.victim.ship_type_id, *(item.item_type_id for _, item in _flat(killmail.victim.items))})


def value(killmail: Killmail, price_of: PriceLookup) -> Valuation:
    """Value the hull and every item of a killmail."""
    items = tuple(
        FlatItem(index=index, parent_index=parent, item=item, unit_price=_unit_price(item, price_of))
        for index, (parent, item) in enumerate(_flat(killmail.victim.items))
    )
    hull = _hull_price(killmail.victim.ship_type_id, price_of)
    ship = _cents([LEAST_PRICE if hull is None else hull])
    dropped = _cents(item.dropped_value for item in items)
    destroyed = _cents(item.destroyed_value for item in items)
    fitted = (item for item in items if item.item.flag in FITTED_FLAGS)
    return Valuation(
        ship=ship,
        fitted=_cents([ship, *(item.dropped_value + item.destroyed_value for item in fitted)]),
        dropped=dropped,
        destroyed=destroyed,
        total=_cents([ship, dropped, destroyed]),
        fully_priced=hull is not None and all(item.unit_price is not None for item in items),
        items=items,
    )


def _flat(items: Iterable[Item]) -> Iterator[tuple[int | None, ContainedItem]]:
    """Yield every item with the index of its container, depth first."""
    index = 0
    for item in items:
        yield None, item
        parent = index
        index += 1
        for inner in item.items:
            yield parent, inner
            index += 1


def _hull_price(type_id: int, price_of: PriceLookup) -> float | None:
    return CAPSULE_PRICE if type_id in CAPSULES else price_of(type_id)


def _unit_price(item: ContainedItem, price_of: PriceLookup) -> float | None:
    return LEAST_PRICE if item.singleton == BLUEPRINT_COPY else price_of(item.item_type_id)


def _cents(values: Iterable[float]) -> float:
    return round(math.fsum(values), 2)
