"""All SQL of comparisons with carriers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, case, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.billing_tables import reconciliation_items, reconciliations
from xiaohao.database.call_tables import cdr_corrections
from xiaohao.database.schema import cdrs

Place = tuple[int, int]


async def answered(
    connection: AsyncConnection, trunk_id: str, leg: str, since: int, until: int, after: int, limit: int
) -> Sequence[RowMapping]:
    """Answered calls that a trunk brought (leg `in`) or took on (`out`), by seq, those behind `after`.

    A call counts as its newest correction has it: one may have been answered only according to that.
    """
    query = _answered(trunk_id, leg, since, until).where(cdrs.c.seq > after).order_by(cdrs.c.seq)
    return list((await connection.execute(query.limit(limit))).mappings())


async def count_answered(connection: AsyncConnection, trunk_id: str, leg: str, since: int, until: int) -> int:
    """How many there are."""
    query = select(func.count()).select_from(_answered(trunk_id, leg, since, until).subquery())
    return int((await connection.execute(query)).scalar_one())


def _answered(trunk_id: str, leg: str, since: int, until: int) -> Select[Any]:
    trunk = cdrs.c.trunk_in if leg == "in" else cdrs.c.trunk_out
    number, person = (
        (cdrs.c.dialled, cdrs.c.caller_key) if leg == "in" else (cdrs.c.displayed, cdrs.c.callee_key)
    )
    right = cdr_corrections.alias()
    newest = select(func.max(right.c.number)).where(right.c.call_id == cdrs.c.call_id).scalar_subquery()
    of_call = (cdr_corrections.c.call_id == cdrs.c.call_id) & (cdr_corrections.c.number == newest)
    is_corrected = cdr_corrections.c.seq.is_not(None)
    answered_at, ended_at = (
        case((is_corrected, cdr_corrections.c[name]), else_=cdrs.c[name])
        for name in ("answered_at", "ended_at")
    )
    return (
        select(
            cdrs.c.seq,
            cdrs.c.call_id,
            number.label("number"),
            person.label("person"),
            answered_at.label("answered_at"),
            ended_at.label("ended_at"),
        )
        .select_from(cdrs.outerjoin(cdr_corrections, of_call))
        .where(
            trunk == trunk_id,
            answered_at.is_not(None),
            cdrs.c.received_at >= since,
            cdrs.c.received_at < until,
        )
    )


async def add(
    connection: AsyncConnection, row: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
) -> None:
    """Insert a comparison with what it found."""
    await connection.execute(insert(reconciliations).values(**row))
    if items:
        await connection.execute(insert(reconciliation_items), list(items))


async def find(connection: AsyncConnection, reconciliation_id: str) -> RowMapping | None:
    """One comparison."""
    query = select(reconciliations).where(reconciliations.c.id == reconciliation_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def page(connection: AsyncConnection, after: str, limit: int) -> list[RowMapping]:
    """Comparisons in the order of their ids."""
    query = select(reconciliations).where(reconciliations.c.id > after)
    found = await connection.execute(query.order_by(reconciliations.c.id).limit(limit))
    return list(found.mappings())


async def items(
    connection: AsyncConnection, reconciliation_id: str, after: int, limit: int
) -> list[RowMapping]:
    """What a comparison found, in order."""
    query = (
        select(reconciliation_items)
        .where(
            reconciliation_items.c.reconciliation_id == reconciliation_id,
            reconciliation_items.c.place > after,
        )
        .order_by(reconciliation_items.c.place)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())
