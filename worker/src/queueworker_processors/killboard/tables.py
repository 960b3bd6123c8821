"""The tables of the killboard.

Killmails have no foreign key to characters and the like: a killmail is stored before anybody asked who took part.
"""

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)

from queueworker_processors.storage import metadata

killmails = Table(
    "killmails",
    metadata,
    Column("killmail_id", BigInteger, primary_key=True, autoincrement=False),
    Column("killmail_time", DateTime(timezone=True), nullable=False, index=True),
    Column("killmail_hash", CHAR(40), nullable=False),
    Column("solar_system_id", BigInteger, nullable=False),
    # From the static data of systems and types: NULL until something looks them up.
    Column("constellation_id", BigInteger),
    Column("region_id", BigInteger),
    Column("security_status", Double),
    Column("victim_character_id", BigInteger),
    Column("victim_corporation_id", BigInteger),
    Column("victim_alliance_id", BigInteger),
    Column("victim_faction_id", BigInteger),
    Column("victim_ship_type_id", BigInteger, nullable=False),
    Column("victim_ship_group_id", BigInteger),
    Column("victim_damage_taken", BigInteger, nullable=False),
    Column("position_x", Double),
    Column("position_y", Double),
    Column("position_z", Double),
    Column("moon_id", BigInteger),
    Column("war_id", BigInteger),
    Column("top_attacker_character_id", BigInteger),
    Column("top_attacker_corporation_id", BigInteger),
    Column("top_attacker_alliance_id", BigInteger),
    Column("top_attacker_ship_type_id", BigInteger),
    Column("attacker_count", Integer, nullable=False),
    Column("is_npc", Boolean, nullable=False),
    Column("is_solo", Boolean, nullable=False),
    Column("is_awox", Boolean, nullable=False),
    # ISK. A float of four bytes would be off by more than 100 ISK on a titan.
    Column("ship_value", Double, nullable=False),
    Column("fitted_value", Double, nullable=False),
    Column("dropped_value", Double, nullable=False),
    Column("destroyed_value", Double, nullable=False),
    Column("total_value", Double, nullable=False),
    Column("fully_priced", Boolean, nullable=False),
    Column("source", Text),
    Column("stored_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("victim_damage_taken >= 0", name="damage"),
    CheckConstraint("attacker_count >= 0", name="attackers"),
    Index(None, "victim_character_id", "killmail_time"),
    Index(None, "victim_corporation_id", "killmail_time"),
    Index(None, "victim_alliance_id", "killmail_time"),
    Index(None, "region_id", "killmail_time"),
)
Index("ix_killmails_not_fully_priced", killmails.c.killmail_id, postgresql_where=text("NOT fully_priced"))

killmail_attackers = Table(
    "killmail_attackers",
    metadata,
    Column("killmail_id", ForeignKey(killmails.c.killmail_id, ondelete="CASCADE"), primary_key=True),
    Column("attacker_index", Integer, primary_key=True, autoincrement=False),
    Column("character_id", BigInteger, index=True),
    Column("corporation_id", BigInteger, index=True),
    Column("alliance_id", BigInteger, index=True),
    Column("faction_id", BigInteger),
    Column("ship_type_id", BigInteger),
    Column("weapon_type_id", BigInteger),
    Column("damage_done", BigInteger, nullable=False),
    Column("final_blow", Boolean, nullable=False),
    Column("security_status", Double, nullable=False),
    CheckConstraint("damage_done >= 0", name="damage"),
)

killmail_items = Table(
    "killmail_items",
    metadata,
    Column("killmail_id", ForeignKey(killmails.c.killmail_id, ondelete="CASCADE"), primary_key=True),
    Column("item_index", Integer, primary_key=True, autoincrement=False),
    # The container that held it.
    Column("parent_index", Integer),
    Column("type_id", BigInteger, nullable=False, index=True),
    Column("flag", Integer, nullable=False),
    Column("quantity_dropped", BigInteger, nullable=False),
    Column("quantity_destroyed", BigInteger, nullable=False),
    Column("singleton", SmallInteger, nullable=False),
    # NULL where no price was known; it then counts 0.01 ISK.
    Column("unit_price", Double),
    CheckConstraint("quantity_dropped >= 0", name="dropped"),
    CheckConstraint("quantity_destroyed >= 0", name="destroyed"),
)

market_prices = Table(
    "market_prices",
    metadata,
    Column("type_id", BigInteger, primary_key=True, autoincrement=False),
    Column("average_price", Double),
    Column("adjusted_price", Double),
    Column("fetched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
