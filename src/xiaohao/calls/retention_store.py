"""All SQL of how long CDRs are kept."""

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.call_tables import cdr_retention
from xiaohao.database.direct import insert_into
from xiaohao.database.schema import customers


async def has_customer(connection: AsyncConnection, customer_id: str) -> bool:
    """Whether there is such a customer."""
    query = select(customers.c.id).where(customers.c.id == customer_id)
    return (await connection.execute(query)).first() is not None


async def all_of(connection: AsyncConnection) -> dict[str, int]:
    """The days of every customer that has days of its own."""
    rows = await connection.execute(select(cdr_retention.c.customer_id, cdr_retention.c.days))
    return {row.customer_id: row.days for row in rows}


async def put(connection: AsyncConnection, customer_id: str, days: int | None, now: int) -> None:
    """Set a customer's days; None takes them away."""
    if days is None:
        await connection.execute(delete(cdr_retention).where(cdr_retention.c.customer_id == customer_id))
        return
    values = {"days": days, "updated_at": now}
    into = insert_into(connection.dialect, cdr_retention).values(customer_id=customer_id, **values)
    await connection.execute(into.on_conflict_do_update(index_elements=["customer_id"], set_=values))
