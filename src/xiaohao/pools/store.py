"""All SQL about pools."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import numbers, pools


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a pool."""
    await connection.execute(insert(pools).values(**row))


async def change(connection: AsyncConnection, pool_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a pool."""
    await connection.execute(update(pools).where(pools.c.id == pool_id).values(**values))


async def find(connection: AsyncConnection, pool_id: str, *, lock: bool = False) -> RowMapping | None:
    """A pool; `lock`: nobody else changes it, or puts a number into it, in the meantime."""
    query = select(pools).where(pools.c.id == pool_id)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def find_all(
    connection: AsyncConnection, wanted: Sequence[str], *, lock: bool = False
) -> dict[str, RowMapping]:
    """Those of the wanted pools that are there; `lock`: their policies stay as they are in the meantime."""
    query = select(pools).where(pools.c.id.in_(wanted)).order_by(pools.c.id)
    if lock:
        query = query.with_for_update(read=True)
    return {row["id"]: row for row in (await connection.execute(query)).mappings()}


async def page(
    connection: AsyncConnection, customer_id: str | None, after: str, limit: int
) -> list[RowMapping]:
    """Pools in the order of their ids: a customer's own and the shared ones, or (None) all."""
    query = select(pools).where(pools.c.id > after).order_by(pools.c.id).limit(limit)
    if customer_id is not None:
        query = query.where(or_(pools.c.customer_id == customer_id, pools.c.customer_id.is_(None)))
    return list((await connection.execute(query)).mappings())


async def number_that_does_not_fit(
    connection: AsyncConnection, pool_id: str, kind: str | None, cities: Sequence[str] | None
) -> str | None:
    """A number of the pool that is of another kind or of none of the cities (None: any), if there is one."""
    faults = []
    if kind is not None:
        faults.append(numbers.c.kind != kind)
    if cities is not None:
        faults += [numbers.c.city.is_(None), numbers.c.city.not_in(cities)]
    if not faults:
        return None
    query = select(numbers.c.number).where(numbers.c.pool_id == pool_id, or_(*faults)).limit(1)
    number: str | None = (await connection.execute(query)).scalar_one_or_none()
    return number
