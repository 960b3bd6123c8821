"""Killmails with attackers and items, and the market's prices."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _create_killmails()
    _create_attackers()
    _create_items()
    op.create_table(
        "market_prices",
        sa.Column("type_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("average_price", sa.Double()),
        sa.Column("adjusted_price", sa.Double()),
        sa.Column("fetched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("type_id", name="pk_market_prices"),
    )


def _create_killmails() -> None:
    op.create_table(
        "killmails",
        sa.Column("killmail_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("killmail_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("killmail_hash", sa.CHAR(40), nullable=False),
        sa.Column("solar_system_id", sa.BigInteger(), nullable=False),
        sa.Column("constellation_id", sa.BigInteger()),
        sa.Column("region_id", sa.BigInteger()),
        sa.Column("security_status", sa.Double()),
        sa.Column("victim_character_id", sa.BigInteger()),
        sa.Column("victim_corporation_id", sa.BigInteger()),
        sa.Column("victim_alliance_id", sa.BigInteger()),
        sa.Column("victim_faction_id", sa.BigInteger()),
        sa.Column("victim_ship_type_id", sa.BigInteger(), nullable=False),
        sa.Column("victim_ship_group_id", sa.BigInteger()),
        sa.Column("victim_damage_taken", sa.BigInteger(), nullable=False),
        sa.Column("position_x", sa.Double()),
        sa.Column("position_y", sa.Double()),
        sa.Column("position_z", sa.Double()),
        sa.Column("moon_id", sa.BigInteger()),
        sa.Column("war_id", sa.BigInteger()),
        sa.Column("top_attacker_character_id", sa.BigInteger()),
        sa.Column("top_attacker_corporation_id", sa.BigInteger()),
        sa.Column("top_attacker_alliance_id", sa.BigInteger()),
        sa.Column("top_attacker_ship_type_id", sa.BigInteger()),
        sa.Column("attacker_count", sa.Integer(), nullable=False),
        sa.Column("is_npc", sa.Boolean(), nullable=False),
        sa.Column("is_solo", sa.Boolean(), nullable=False),
        sa.Column("is_awox", sa.Boolean(), nullable=False),
        sa.Column("ship_value", sa.Double(), nullable=False),
        sa.Column("fitted_value", sa.Double(), nullable=False),
        sa.Column("dropped_value", sa.Double(), nullable=False),
        sa.Column("destroyed_value", sa.Double(), nullable=False),
        sa.Column("total_value", sa.Double(), nullable=False),
        sa.Column("fully_priced", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("attacker_count >= 0", name="ck_killmails_attackers"),
        sa.CheckConstraint("victim_damage_taken >= 0", name="ck_killmails_damage"),
        sa.PrimaryKeyConstraint("killmail_id", name="pk_killmails"),
    )
    op.create_index("ix_killmails_killmail_time", "killmails", ["killmail_time"])
    for column in ("victim_character_id", "victim_corporation_id", "victim_alliance_id", "region_id"):
        op.create_index(f"ix_killmails_{column}_killmail_time", "killmails", [column, "killmail_time"])
    op.create_index(
        "ix_killmails_not_fully_priced", "killmails", ["killmail_id"], postgresql_where=sa.text("NOT fully_priced")
    )


def _create_attackers() -> None:
    op.create_table(
        "killmail_attackers",
        sa.Column("killmail_id", sa.BigInteger(), nullable=False),
        sa.Column("attacker_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("character_id", sa.BigInteger()),
        sa.Column("corporation_id", sa.BigInteger()),
        sa.Column("alliance_id", sa.BigInteger()),
        sa.Column("faction_id", sa.BigInteger()),
        sa.Column("ship_type_id", sa.BigInteger()),
        sa.Column("weapon_type_id", sa.BigInteger()),
        sa.Column("damage_done", sa.BigInteger(), nullable=False),
        sa.Column("final_blow", sa.Boolean(), nullable=False),
        sa.Column("security_status", sa.Double(), nullable=False),
        sa.CheckConstraint("damage_done >= 0", name="ck_killmail_attackers_damage"),
        sa.ForeignKeyConstraint(
            ["killmail_id"], ["killmails.killmail_id"], name="fk_killmail_attackers_killmail_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("killmail_id", "attacker_index", name="pk_killmail_attackers"),
    )
    for column in ("character_id", "corporation_id", "alliance_id"):
        op.create_index(f"ix_killmail_attackers_{column}", "killmail_attackers", [column])


def _create_items() -> None:
    op.create_table(
        "killmail_items",
        sa.Column("killmail_id", sa.BigInteger(), nullable=False),
        sa.Column("item_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent_index", sa.Integer()),
        sa.Column("type_id", sa.BigInteger(), nullable=False),
        sa.Column("flag", sa.Integer(), nullable=False),
        sa.Column("quantity_dropped", sa.BigInteger(), nullable=False),
        sa.Column("quantity_destroyed", sa.BigInteger(), nullable=False),
        sa.Column("singleton", sa.SmallInteger(), nullable=False),
        sa.Column("unit_price", sa.Double()),
        sa.CheckConstraint("quantity_destroyed >= 0", name="ck_killmail_items_destroyed"),
        sa.CheckConstraint("quantity_dropped >= 0", name="ck_killmail_items_dropped"),
        sa.ForeignKeyConstraint(
            ["killmail_id"], ["killmails.killmail_id"], name="fk_killmail_items_killmail_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("killmail_id", "item_index", name="pk_killmail_items"),
    )
    op.create_index("ix_killmail_items_type_id", "killmail_items", ["type_id"])


def downgrade() -> None:
    for table in ("killmail_items", "killmail_attackers", "killmails", "market_prices"):
        op.drop_table(table)
