"""All SQL of corrections of CDRs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.call_tables import cdr_corrections
from xiaohao.database.schema import cdrs

_table = cdr_corrections.c


async def locked_cdr(connection: AsyncConnection, call_id: str) -> RowMapping | None:
    """A call's CDR, which nobody else corrects until this transaction ends."""
    query = select(cdrs).where(cdrs.c.call_id == call_id).with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Write a correction down."""
    await connection.execute(insert(cdr_corrections).values(**row))


async def of_call(
    connection: AsyncConnection, call_id: str, customer_id: str | None = None
) -> list[RowMapping]:
    """The corrections of a call, the first one first; of that customer only, unless it is None."""
    query = select(cdr_corrections).where(_table.call_id == call_id).order_by(_table.number)
    if customer_id is not None:
        query = query.where(_table.customer_id == customer_id)
    return list((await connection.execute(query)).mappings())


async def page(
    connection: AsyncConnection,
    before: int | None,
    limit: int,
    *,
    customer_id: str | None,
    since: int | None,
    until: int | None,
) -> list[RowMapping]:
    """Corrections made in a span of time, the newest first, those with a smaller seq than `before`."""
    query = select(cdr_corrections)
    if customer_id is not None:
        query = query.where(_table.customer_id == customer_id)
    if since is not None:
        query = query.where(_table.created_at >= since)
    if until is not None:
        query = query.where(_table.created_at < until)
    if before is not None:
        query = query.where(_table.seq < before)
    return list((await connection.execute(query.order_by(_table.seq.desc()).limit(limit))).mappings())
