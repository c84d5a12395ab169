"""All SQL about the audit log. Entries are added and read, never changed and never taken away."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Filter
from xiaohao.database.schema import audit


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert an entry."""
    await connection.execute(insert(audit).values(**row))


async def page(
    connection: AsyncConnection, before: int | None, limit: int, where: Sequence[ColumnElement[bool]]
) -> list[RowMapping]:
    """Entries, the newest first, those written before the one with seq `before`."""
    query = select(audit).where(*where)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return list((await connection.execute(query.order_by(audit.c.seq.desc()).limit(limit))).mappings())


def filters(customer_id: str | None, wanted: Filter) -> list[ColumnElement[bool]]:
    """Conditions for `page`; `customer_id`: only what this customer's own keys did."""
    chosen: list[ColumnElement[bool]] = []
    equal = {
        "customer_id": customer_id or wanted.customer_id,
        "action": None if wanted.action is None else wanted.action.value,
        "key_id": wanted.key_id,
    }
    chosen += [audit.c[name] == value for name, value in equal.items() if value is not None]
    if wanted.since is not None:
        chosen.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        chosen.append(audit.c.at < wanted.until)
    return chosen
