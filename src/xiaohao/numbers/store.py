"""All SQL about the inventory of numbers and its pools."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, case, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import legs, numbers
from xiaohao.numbers.model import NumberState


async def add(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    """Insert numbers. Raises IntegrityError where one is there already."""
    await connection.execute(insert(numbers), rows)


async def find(connection: AsyncConnection, number: str, *, lock: bool = False) -> RowMapping | None:
    """A number; `lock`: nobody else changes or lends it in the meantime."""
    query = select(numbers).where(numbers.c.number == number)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def find_all(connection: AsyncConnection, wanted: Sequence[str]) -> list[RowMapping]:
    """Those of the wanted numbers that are there."""
    return list((await connection.execute(select(numbers).where(numbers.c.number.in_(wanted)))).mappings())


async def page(
    connection: AsyncConnection, after: str, limit: int, where: Sequence[ColumnElement[bool]]
) -> list[RowMapping]:
    """Numbers in their own order, those after the number `after`."""
    query = select(numbers).where(numbers.c.number > after, *where).order_by(numbers.c.number).limit(limit)
    return list((await connection.execute(query)).mappings())


def filters(**equal: str | None) -> list[ColumnElement[bool]]:
    """Conditions for `page`: columns that must have a value; None: any."""
    return [numbers.c[name] == value for name, value in equal.items() if value is not None]


async def change(connection: AsyncConnection, number: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a number."""
    await connection.execute(update(numbers).where(numbers.c.number == number).values(**values))


async def resume(connection: AsyncConnection, number: str, now: int) -> None:
    """Put a suspended number back where it was."""
    assigned = (numbers.c.assigned_to_key.is_not(None), NumberState.IN_SERVICE.value)
    await connection.execute(
        update(numbers)
        .where(numbers.c.number == number, numbers.c.state == NumberState.SUSPENDED)
        .values(state=case(assigned, else_=NumberState.AVAILABLE.value), updated_at=now)
    )


async def is_dialled_by_callers_of_its_person(connection: AsyncConnection, number: str) -> bool:
    """Whether legs, live or in quarantine, lead through this X to the person whose it is."""
    found = await connection.execute(select(exists().where(legs.c.dialled == number, legs.c.role == "b")))
    return bool(found.scalar_one())


async def people_among(connection: AsyncConnection, keys: Sequence[bytes]) -> bool:
    """Whether one of these blind indexes is that of a person who is in a binding."""
    found = await connection.execute(select(legs.c.caller_key).where(legs.c.caller_key.in_(keys)).limit(1))
    return found.first() is not None
