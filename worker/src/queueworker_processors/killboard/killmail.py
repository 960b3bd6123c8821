"""The queue `killmail`: store a killmail with its attackers and items, once, however often the job runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from queueworker_processors.database import open_database
from queueworker_processors.killboard.documents import Id, Killmail
from queueworker_processors.killboard.parties import parties
from queueworker_processors.killboard.prices import load_prices
from queueworker_processors.killboard.store import Record, Stored, find, insert_record, record_war
from queueworker_processors.killboard.valuation import type_ids, value
from queueworker_worker.context import Depends
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.processor import processor

QUEUE = "killmail"


class KillmailJob(BaseModel):
    """The payload: `{killmailId, hash, warId?, esi, source?}`; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True)

    killmail_id: Annotated[int, Field(alias="killmailId", gt=0, le=2**63 - 1)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{40}\z")]
    war_id: Annotated[Id | None, Field(alias="warId")] = None
    esi: Killmail | None = None
    """The whole document, as the feeds of killmails carry it."""
    source: Annotated[str | None, Field(max_length=64, pattern=r"^[^\x00]*$")] = None
    """Where the killmail was found, for the record."""

    @model_validator(mode="after")
    def _of_one_kill(self) -> Self:
        if self.esi is None:
            return self
        if self.esi.killmail_id != self.killmail_id:
            raise ValueError(f"esi.killmail_id {self.esi.killmail_id} is not killmailId {self.killmail_id}")
        if None not in (self.war_id, self.esi.war_id) and self.war_id != self.esi.war_id:
            raise ValueError(f"esi.war_id {self.esi.war_id} is not warId {self.war_id}")
        return self

    @property
    def war(self) -> int | None:
        """The war that the kill belongs to, as far as the job knows."""
        return self.war_id if self.war_id is not None or self.esi is None else self.esi.war_id


class KillmailResult(TypedDict):
    """What became of the job; ISK and counts are those of the stored killmail."""

    outcome: Literal["stored", "exists"]
    killmailId: int
    totalValue: float
    attackers: int
    items: int


@processor(QUEUE)
async def store_killmail(
    payload: KillmailJob, database: Annotated[AsyncEngine, Depends(open_database)]
) -> KillmailResult:
    """Store a killmail in one transaction; what is stored already stays as it is.

    Raises UnrecoverableError where the job carries no document, or names another war than the stored killmail.
    """
    async with database.begin() as connection:
        found = await find(connection, payload.killmail_id)
        if found is None:
            record = await _record(connection, payload)
            if await insert_record(connection, record):
                return _result("stored", payload, _stored(record))
            # Another run of this job was faster and has committed by now.
            found = await find(connection, payload.killmail_id)
        if found is None:
            raise RuntimeError(f"killmail {payload.killmail_id} was removed while it was being stored")
        await _check_war(connection, payload, found)
        return _result("exists", payload, found)


async def _record(connection: AsyncConnection, payload: KillmailJob) -> Record:
    if payload.esi is None:
        raise UnrecoverableError("the job carries no ESI document (esi)")
    return Record(
        killmail=payload.esi,
        killmail_hash=payload.hash,
        war_id=payload.war,
        source=payload.source,
        valuation=value(payload.esi, await load_prices(connection, type_ids(payload.esi))),
        parties=parties(payload.esi),
    )


async def _check_war(connection: AsyncConnection, payload: KillmailJob, found: Stored) -> None:
    if payload.war is None or payload.war == found.war_id:
        return
    war = await record_war(connection, payload.killmail_id, payload.war)
    if war != payload.war:
        raise UnrecoverableError(f"killmail {payload.killmail_id} is stored with war {war}, the job says {payload.war}")


def _stored(record: Record) -> Stored:
    return Stored(
        war_id=record.war_id,
        total_value=record.valuation.total,
        attackers=len(record.killmail.attackers),
        items=len(record.valuation.items),
    )


def _result(outcome: Literal["stored", "exists"], payload: KillmailJob, stored: Stored) -> KillmailResult:
    return {
        "outcome": outcome,
        "killmailId": payload.killmail_id,
        "totalValue": stored.total_value,
        "attackers": stored.attackers,
        "items": stored.items,
    }
