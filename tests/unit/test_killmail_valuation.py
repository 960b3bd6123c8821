"""What a killmail is worth, and who took part."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from killmail_documents import CASES, Case, attacker, document, item

from queueworker_processors.killboard.documents import Killmail
from queueworker_processors.killboard.parties import parties
from queueworker_processors.killboard.valuation import LEAST_PRICE, type_ids, value


def read(raw: dict[str, Any]) -> Killmail:
    return Killmail.model_validate(raw)


def with_items(*items: dict[str, Any]) -> Killmail:
    victim = {"ship_type_id": 587, "damage_taken": 1, "items": list(items)}
    return read(document(victim=victim))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.killmail_id))
def test_values_of_killmails_that_happened(case: Case) -> None:
    worth = value(read(case.document), case.prices.get)

    assert (worth.ship, worth.dropped, worth.destroyed, worth.total) == (
        case.ship,
        case.dropped,
        case.destroyed,
        case.total,
    )
    assert worth.fully_priced is case.fully_priced


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.killmail_id))
def test_flags_of_killmails_that_happened(case: Case) -> None:
    found = parties(read(case.document))

    assert (found.is_npc, found.is_solo, found.is_awox) == (case.npc, case.solo, False)


def test_blueprint_copy_is_worth_the_least_whatever_its_original_costs() -> None:
    worth = value(with_items(item(1000, quantity_dropped=3) | {"singleton": 2}), {587: 1.0, 1000: 5e9}.get)

    assert worth.dropped == pytest.approx(3 * LEAST_PRICE)
    assert worth.fully_priced


def test_unknown_hull_counts_the_least_and_is_not_fully_priced() -> None:
    worth = value(with_items(), {}.get)

    assert worth.total == LEAST_PRICE
    assert not worth.fully_priced


def test_fitted_value_is_the_hull_and_what_was_in_its_slots() -> None:
    high_slot, drone_bay, cargo = item(1, flag=27, quantity_dropped=1), item(1, flag=87), item(1, quantity_dropped=7)
    drone_bay["quantity_destroyed"] = 2

    worth = value(with_items(high_slot, drone_bay, cargo), {587: 100.0, 1: 10.0}.get)

    assert worth.fitted == 130.0
    assert worth.total == 200.0


def test_a_container_comes_directly_before_what_it_held_and_counts_itself() -> None:
    container = item(3293, quantity_destroyed=1) | {"items": [item(32014, quantity_dropped=16), item(34)]}

    worth = value(with_items(item(34), container, item(35)), {587: 1.0, 3293: 5.0, 32014: 2.0, 34: 1.0, 35: 1.0}.get)

    assert [(one.index, one.parent_index, one.item.item_type_id) for one in worth.items] == [
        (0, None, 34),
        (1, None, 3293),
        (2, 1, 32014),
        (3, 1, 34),
        (4, None, 35),
    ]
    assert (worth.destroyed, worth.dropped) == (5.0, 32.0)


def test_top_attacker_is_the_final_blow_before_any_damage() -> None:
    attackers = [
        attacker(character_id=1, final_blow=False, damage_done=900),
        attacker(character_id=2, final_blow=True, damage_done=1),
    ]

    top = parties(read(document(attackers=attackers))).top_attacker

    assert top is not None
    assert top.character_id == 2


def test_without_a_final_blow_the_first_of_most_damage_is_on_top() -> None:
    attackers = [attacker(character_id=n, final_blow=False, damage_done=d) for n, d in ((1, 5), (2, 9), (3, 9))]

    top = parties(read(document(attackers=attackers))).top_attacker

    assert top is not None
    assert top.character_id == 2


def test_one_character_with_npcs_around_is_solo_and_two_ships_of_one_character_too() -> None:
    attackers = [attacker(character_id=7), attacker(corporation_id=1000125), attacker(character_id=7)]

    found = parties(read(document(attackers=attackers)))

    assert (found.is_solo, found.is_npc) == (True, False)


VICTIM = {
    "ship_type_id": 587,
    "damage_taken": 1,
    "character_id": 1,
    "corporation_id": 98000001,
    "alliance_id": 99000001,
}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"character_id": 2, "alliance_id": 99000001}, True),
        ({"character_id": 2, "corporation_id": 98000001}, True),
        ({"character_id": 2, "corporation_id": 98000002, "alliance_id": 99000002}, False),
        ({"character_id": 1, "corporation_id": 98000001, "alliance_id": 99000001}, False),
        ({}, False),
    ],
    ids=["alliance", "corporation", "foreign", "the victim itself", "nobody known"],
)
def test_awox(facts: dict[str, Any], expected: bool) -> None:
    assert parties(read(document(victim=VICTIM, attackers=[attacker(**facts)]))).is_awox is expected


def test_members_of_one_npc_corporation_are_no_comrades() -> None:
    victim = VICTIM | {"corporation_id": 1000166, "alliance_id": None}

    found = parties(read(document(victim=victim, attackers=[attacker(character_id=2, corporation_id=1000166)])))

    assert not found.is_awox


quantities = st.integers(0, 10**6)
plain_items = st.builds(
    lambda type_id, flag, dropped, destroyed, singleton: (
        item(type_id, flag=flag)
        | {"quantity_dropped": dropped, "quantity_destroyed": destroyed, "singleton": singleton}
    ),
    st.integers(1, 40),
    st.integers(0, 180),
    quantities,
    quantities,
    st.sampled_from([0, 1, 2]),
)
items = st.builds(lambda one, inner: one | {"items": inner}, plain_items, st.lists(plain_items, max_size=4))
prices = st.dictionaries(st.integers(1, 40), st.floats(0.01, 1e11).map(lambda isk: round(isk, 2)), max_size=40)


@given(st.lists(items, max_size=12), prices)
def test_total_is_ship_and_dropped_and_destroyed(raw: list[dict[str, Any]], known: dict[int, float]) -> None:
    worth = value(with_items(*raw), known.get)

    assert worth.total == round(math.fsum([worth.ship, worth.dropped, worth.destroyed]), 2)
    assert worth.ship <= worth.fitted <= worth.total + 0.01
    assert min(worth.ship, worth.dropped, worth.destroyed) >= 0


@given(st.lists(items, max_size=12))
def test_flattening_keeps_every_item_with_its_quantities(raw: list[dict[str, Any]]) -> None:
    worth = value(with_items(*raw), {}.get)
    everything = [one for outer in raw for one in (outer, *outer["items"])]

    assert [one.index for one in worth.items] == list(range(len(everything)))
    for kind in ("quantity_dropped", "quantity_destroyed"):
        assert [getattr(one.item, kind) for one in worth.items] == [one[kind] for one in everything]
    assert sum(one.parent_index is not None for one in worth.items) == sum(len(outer["items"]) for outer in raw)
    assert all(one.parent_index is None or one.parent_index < one.index for one in worth.items)


@given(st.lists(items, max_size=12))
def test_prices_are_asked_for_the_types_that_were_announced_and_no_others(raw: list[dict[str, Any]]) -> None:
    killmail = with_items(*raw)
    asked: set[int] = set()

    value(killmail, asked.add)

    assert asked <= type_ids(killmail)
