"""All SQL about trunks."""

from typing import Any, Final

from sqlalchemy import RowMapping, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.marks import move_mark, value_of_mark
from xiaohao.database.schema import numbers, trunks

#: The row of `marks` that moves on with every change of any trunk.
MARK: Final = "trunks"


async def begin_change(connection: AsyncConnection) -> None:
    """Move the mark on; nobody else changes any trunk until the transaction's end."""
    await move_mark(connection, MARK)


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a trunk. Raises IntegrityError where the name is taken."""
    await connection.execute(insert(trunks).values(**row))


async def change(connection: AsyncConnection, trunk_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a trunk. Raises IntegrityError where the name is taken."""
    await connection.execute(update(trunks).where(trunks.c.id == trunk_id).values(**values))


async def remove(connection: AsyncConnection, trunk_id: str) -> bool:
    """Delete a trunk unless a number belongs to it; says whether a row went."""
    in_use = exists().where(numbers.c.trunk_id == trunk_id)
    result = await connection.execute(delete(trunks).where(trunks.c.id == trunk_id, ~in_use))
    return result.rowcount > 0


async def find(connection: AsyncConnection, trunk_id: str) -> RowMapping | None:
    """The row of a trunk."""
    found = await connection.execute(select(trunks).where(trunks.c.id == trunk_id))
    return found.mappings().one_or_none()


async def is_there(connection: AsyncConnection, trunk_id: str) -> bool:
    """Whether there is this trunk."""
    return (await connection.execute(select(exists().where(trunks.c.id == trunk_id)))).scalar_one()


async def page(connection: AsyncConnection, after: str, limit: int) -> list[RowMapping]:
    """Trunks in the order of their names, those after the name `after`."""
    query = select(trunks).where(trunks.c.name > after).order_by(trunks.c.name).limit(limit)
    return list((await connection.execute(query)).mappings())


async def everything(connection: AsyncConnection) -> list[RowMapping]:
    """All trunks, disabled ones included, in the order of their names."""
    return list((await connection.execute(select(trunks).order_by(trunks.c.name))).mappings())


async def names(connection: AsyncConnection) -> dict[str, str]:
    """The names of all trunks, by their ids."""
    found = await connection.execute(select(trunks.c.id, trunks.c.name))
    return {row.id: row.name for row in found}


async def mark(connection: AsyncConnection) -> int:
    """The version of the whole table; 0 before the first trunk."""
    return await value_of_mark(connection, MARK)
