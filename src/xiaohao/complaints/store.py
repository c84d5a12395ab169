"""All SQL about complaints."""

from typing import Any

from sqlalchemy import RowMapping, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import complaints, numbers, pools


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a complaint."""
    await connection.execute(insert(complaints).values(row))


async def number_and_policy(connection: AsyncConnection, number: str) -> RowMapping | None:
    """A number with what its pool says of complaints; nobody else complains of it in the meantime."""
    query = (
        select(
            numbers.c.number,
            numbers.c.customer_id,
            numbers.c.state,
            numbers.c.suspended_until,
            pools.c.complaints_limit,
            pools.c.complaint_rest_s,
        )
        .join_from(numbers, pools, pools.c.id == numbers.c.pool_id, isouter=True)
        .where(numbers.c.number == number)
        .with_for_update(of=numbers)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def count_since(connection: AsyncConnection, number: str, since: int) -> tuple[int, int]:
    """How many complaints of a number were made after `since`, and when the last of them was."""
    query = select(func.count(), func.max(complaints.c.at)).where(
        complaints.c.number == number, complaints.c.at > since
    )
    count, last = (await connection.execute(query)).one()
    return int(count), int(last or 0)


async def page(
    connection: AsyncConnection, after: str, limit: int, customer_id: str | None, number: str | None
) -> list[RowMapping]:
    """Complaints in the order of their ids, those after `after`: of a customer's numbers, or (None) all."""
    query = select(complaints).where(complaints.c.id > after).order_by(complaints.c.id).limit(limit)
    if customer_id is not None:
        query = query.where(complaints.c.customer_id == customer_id)
    if number is not None:
        query = query.where(complaints.c.number == number)
    return list((await connection.execute(query)).mappings())
