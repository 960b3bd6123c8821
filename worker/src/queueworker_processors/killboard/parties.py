"""Who took part in a kill, and what that makes of it: pure functions of the document."""

from __future__ import annotations

from dataclasses import dataclass

from queueworker_processors.killboard.documents import Attacker, Killmail, Victim

NPC_CORPORATIONS = range(1_000_000, 2_000_000)
"""The ids of corporations that no player runs; their members are no comrades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """What the attackers make of a kill."""

    top_attacker: Attacker | None
    """Who struck the final blow, else who did most damage, the first of equals; None where there is no attacker."""
    is_npc: bool
    """No attacker is a character."""
    is_solo: bool
    """Exactly one character attacked."""
    is_awox: bool
    """An attacker was of the victim's own alliance or player corporation."""


def parties(killmail: Killmail) -> Parties:
    """Read the attackers of a killmail."""
    characters = {one.character_id for one in killmail.attackers if one.character_id is not None}
    return Parties(
        top_attacker=_top_attacker(killmail.attackers),
        is_npc=not characters,
        is_solo=len(characters) == 1,
        is_awox=any(_comrades(one, killmail.victim) for one in killmail.attackers),
    )


def _top_attacker(attackers: tuple[Attacker, ...]) -> Attacker | None:
    # max() returns the first of equals.
    return max(attackers, key=lambda one: (one.final_blow, 0 if one.final_blow else one.damage_done), default=None)


def _comrades(attacker: Attacker, victim: Victim) -> bool:
    if attacker.character_id is not None and attacker.character_id == victim.character_id:
        return False
    if attacker.alliance_id is not None and attacker.alliance_id == victim.alliance_id:
        return True
    corporation = attacker.corporation_id
    return corporation is not None and corporation == victim.corporation_id and corporation not in NPC_CORPORATIONS
