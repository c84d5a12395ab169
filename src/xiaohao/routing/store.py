"""All SQL of scheme 2: how customers are asked, what asks, and the answers kept."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from xiaohao.database.direct import insert_into
from xiaohao.database.marks import move_mark, value_of_mark
from xiaohao.database.routing_tables import routing_answers, routing_pools, routings
from xiaohao.database.schema import numbers, pools

#: The row of `marks` that moves on with every change of any customer's terms or of a pool.
MARK: Final = "routing"

#: What an answer is judged by. Parameters: `display` and `callee`, canonical. Columns in the order of
#: `judging.ShownRow`; no row: no number of the platform.
SHOWN_SQL: Final = """
SELECT n.customer_id, n.assigned_by, n.state,
       d.number, d.state, d.displayable, d.verification, d.verified_until, d.trunk_id,
       CASE WHEN EXISTS (SELECT 1 FROM numbers o WHERE o.number = :callee) THEN 1 ELSE 0 END
FROM numbers n
LEFT JOIN numbers d ON d.number = CASE WHEN n.displayable THEN n.number ELSE n.displayed_as END
WHERE n.number = :display
"""
#: The same for psycopg.
SHOWN_PSYCOPG: Final = SHOWN_SQL.replace(":callee", "%(callee)s").replace(":display", "%(display)s")
_SHOWN: Final = text(SHOWN_SQL).bindparams(bindparam("callee", type_=Text), bindparam("display", type_=Text))


async def begin_change(connection: AsyncConnection) -> int:
    """Move the mark on and give the version that rows changed now get; nobody else changes any until then."""
    return await move_mark(connection, MARK)


async def mark(connection: AsyncConnection) -> int:
    """The version of everything; 0 before the first change."""
    return await value_of_mark(connection, MARK)


async def find(connection: AsyncConnection, customer_id: str) -> bytes | None:
    """The sealed terms of a customer."""
    query = select(routings.c.terms_sealed).where(routings.c.customer_id == customer_id)
    sealed: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return sealed


async def put(connection: AsyncConnection, customer_id: str, sealed: bytes, version: int, now: int) -> None:
    """Write the terms of a customer."""
    values = {"terms_sealed": sealed, "version": version, "updated_at": now}
    statement = insert_into(connection.dialect, routings).values(customer_id=customer_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["customer_id"], set_=values))


async def changed(connection: AsyncConnection, after: int) -> list[RowMapping]:
    """Customers whose terms have a version after this one."""
    query = select(routings.c.customer_id, routings.c.terms_sealed).where(routings.c.version > after)
    return list((await connection.execute(query)).mappings())


async def changed_pools(connection: AsyncConnection, after: int) -> list[RowMapping]:
    """Pools of which something was said after this version."""
    return list(
        (await connection.execute(select(routing_pools).where(routing_pools.c.version > after))).mappings()
    )


async def pool(connection: AsyncConnection, pool_id: str) -> RowMapping | None:
    """Whose a pool is, and what is said of it."""
    query = (
        select(pools.c.customer_id, routing_pools.c.routing)
        .join_from(pools, routing_pools, routing_pools.c.pool_id == pools.c.id, isouter=True)
        .where(pools.c.id == pool_id)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def put_pool(
    connection: AsyncConnection, pool_id: str, customer_id: str, routing: str | None, version: int
) -> None:
    """Say who decides the calls of a pool's numbers."""
    values = {"customer_id": customer_id, "routing": routing, "version": version}
    statement = insert_into(connection.dialect, routing_pools).values(pool_id=pool_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["pool_id"], set_=values))


async def number(connection: AsyncConnection, number: str) -> RowMapping | None:
    """Whose a number is, and what is said of it and of its pool."""
    query = (
        select(
            numbers.c.number,
            numbers.c.customer_id,
            numbers.c.pool_id,
            numbers.c.routing,
            routing_pools.c.routing.label("pool_routing"),
        )
        .join_from(numbers, routing_pools, routing_pools.c.pool_id == numbers.c.pool_id, isouter=True)
        .where(numbers.c.number == number)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def put_number(connection: AsyncConnection, number: str, routing: str | None, now: int) -> None:
    """Say who decides the calls of a number."""
    await connection.execute(
        update(numbers).where(numbers.c.number == number).values(routing=routing, updated_at=now)
    )


async def shown(connection: AsyncConnection, display: str, callee: str) -> Sequence[Any] | None:
    """The row for `judging.way_of`."""
    found = await connection.execute(_SHOWN, {"display": display, "callee": callee})
    return found.one_or_none()


async def answer(
    connection: AsyncConnection, customer_id: str, dialled: str, caller_key: bytes
) -> RowMapping | None:
    """The sealed answer that is kept for a pair, and when its time is over."""
    query = select(routing_answers.c.answer_sealed, routing_answers.c.expires_at).where(
        routing_answers.c.customer_id == customer_id,
        routing_answers.c.dialled == dialled,
        routing_answers.c.caller_key == caller_key,
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def put_answers(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep answers, each in the place of the one before; a later one, of another switch, stays."""
    into = insert_into(connection.dialect, routing_answers)
    new = {name: into.excluded[name] for name in ("caller_sealed", "answer_sealed", "expires_at")}
    key = ["customer_id", "dialled", "caller_key"]
    statement = into.on_conflict_do_update(
        index_elements=key, set_=new, where=routing_answers.c.expires_at <= into.excluded.expires_at
    )
    await connection.execute(statement, [dict(row) for row in rows])


async def forget_answers(connection: AsyncConnection, customer_id: str) -> None:
    """Throw a customer's answers away."""
    await connection.execute(delete(routing_answers).where(routing_answers.c.customer_id == customer_id))


async def forget_old_answers(connection: AsyncConnection, now: int) -> None:
    """Throw away the answers whose time is over."""
    await connection.execute(delete(routing_answers).where(routing_answers.c.expires_at <= now))
