"""The prices that the database knows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from queueworker_processors.killboard.tables import market_prices
from queueworker_processors.killboard.valuation import PriceLookup


async def load_prices(connection: AsyncConnection, type_ids: Iterable[int]) -> PriceLookup:
    """Read the market's average prices of some types, where there is none CCP's adjusted ones.

    A price of zero is none: ESI sends it for what nobody trades.
    """
    table = market_prices.c
    rows = await connection.execute(
        select(table.type_id, table.average_price, table.adjusted_price).where(table.type_id.in_(sorted(type_ids)))
    )
    known = {type_id: average or adjusted for type_id, average, adjusted in rows}
    return lambda type_id: known.get(type_id) or None
