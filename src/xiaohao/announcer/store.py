"""All SQL about callers whom no binding knows."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, delete, exists, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.announcer_tables import stranger_terms
from xiaohao.database.marks import move_mark, value_of_mark
from xiaohao.database.schema import bindings, numbers

#: The row of `marks` that moves on with every change of any terms.
MARK: Final = "unknown_callers"
_terms: Final = stranger_terms.c
#: so many live bindings of a number are looked through for a caller
MOST: Final = 2_000


async def find(connection: AsyncConnection, scope_id: str) -> RowMapping | None:
    """The terms of a customer or a pool."""
    query = select(stranger_terms).where(_terms.scope_id == scope_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def is_of_the_platform(connection: AsyncConnection, number: str) -> bool:
    """Whether calls to this number come to us."""
    return (await connection.execute(select(exists().where(numbers.c.number == number)))).scalar_one()


async def put(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """New terms in place of the old ones."""
    await remove(connection, row["scope_id"])
    await connection.execute(insert(stranger_terms).values(**row))


async def remove(connection: AsyncConnection, scope_id: str) -> None:
    """No terms of its own any more."""
    await connection.execute(delete(stranger_terms).where(_terms.scope_id == scope_id))


async def begin_change(connection: AsyncConnection) -> None:
    """Move the mark on; nobody else changes any terms until the transaction's end."""
    await move_mark(connection, MARK)


async def mark(connection: AsyncConnection) -> int:
    """The version of all terms; 0 before the first."""
    return await value_of_mark(connection, MARK)


async def everything(connection: AsyncConnection) -> Sequence[RowMapping]:
    """All terms."""
    return (await connection.execute(select(stranger_terms))).mappings().all()


async def bound_to(connection: AsyncConnection, number: str, now: int) -> Sequence[RowMapping]:
    """The live bindings of two known people that use a number, with these people; the newest first."""
    of = bindings.c
    query = (
        select(of.mode, of.x, of.y, of.a_sealed, of.b_sealed, of.order_ref)
        .where(
            or_(of.x == number, of.y == number),
            of.state == "live",
            or_(of.expires_at.is_(None), of.expires_at > now),
            of.a_sealed.is_not(None),
            of.b_sealed.is_not(None),
        )
        .order_by(of.seq.desc())
        .limit(MOST)
    )
    return (await connection.execute(query)).mappings().all()
