"""All SQL about the inventory of numbers."""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, RowMapping, Select, and_, exists, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.binding_tables import AX_WITH_B
from xiaohao.database.schema import bindings, customers, legs, number_history, numbers, trunks
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


class LegsThrough(NamedTuple):
    """What legs lead through a number: any at all; to the person whose X it is; live ones of these."""

    any: bool
    to_its_person: bool
    live_to_its_person: bool


async def legs_through(connection: AsyncConnection, number: str) -> LegsThrough:
    """Which legs, live or in quarantine, lead through a number."""
    through = legs.c.dialled == number
    to_person = and_(through, legs.c.role == "b")
    live = and_(to_person, legs.c.state == "live")
    query = select(*(exists().where(condition) for condition in (through, to_person, live)))
    return LegsThrough(*map(bool, (await connection.execute(query)).one()))


async def is_shown_for_another(connection: AsyncConnection, number: str) -> bool:
    """Whether a number that is not retired is displayed as this one."""
    query = (
        select(numbers.c.number)
        .where(numbers.c.displayed_as == number, numbers.c.state != NumberState.RETIRED)
        .limit(1)
    )
    return (await connection.execute(query)).first() is not None


async def suspensions_over(connection: AsyncConnection, now: int, limit: int) -> list[RowMapping]:
    """Suspended numbers whose time is over and that nobody else is resuming; locked."""
    query = (
        select(numbers)
        .where(numbers.c.state == NumberState.SUSPENDED, numbers.c.suspended_until <= now)
        .order_by(numbers.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await connection.execute(query)).mappings())


async def add_history(connection: AsyncConnection, entry: dict[str, Any]) -> int:
    """Write a line of history; gives its seq."""
    found = await connection.execute(insert(number_history).values(entry).returning(number_history.c.seq))
    seq: int = found.scalar_one()
    return seq


async def add_imports(connection: AsyncConnection, rows: Sequence[dict[str, Any]], by: str | None) -> None:
    """Write the first line of history of new numbers."""
    entries = [
        {
            "number": row["number"],
            "at": row["created_at"],
            "to_state": row["state"],
            "reason": row["state_reason"],
            "changed_by": by,
            "customer_id": row["customer_id"],
            "owner_id": row["customer_id"],
            "pool_id": row["pool_id"],
        }
        for row in rows
    ]
    await connection.execute(insert(number_history), entries)


async def page_history(
    connection: AsyncConnection, number: str, before: int | None, limit: int, customer_id: str | None
) -> list[RowMapping]:
    """Lines of a number's history, newest first, before the one with seq `before`; of a customer, or all."""
    query = select(number_history).where(number_history.c.number == number)
    if before is not None:
        query = query.where(number_history.c.seq < before)
    if customer_id is not None:
        query = query.where(number_history.c.customer_id == customer_id)
    newest_first = query.order_by(number_history.c.seq.desc()).limit(limit)
    return list((await connection.execute(newest_first)).mappings())


async def customers_among(connection: AsyncConnection, wanted: Collection[str]) -> set[str]:
    """Those of the wanted customers that are there."""
    return await _ids_among(connection, customers.c.id, wanted)


async def trunks_among(connection: AsyncConnection, wanted: Collection[str]) -> set[str]:
    """Those of the wanted trunks that are there."""
    return await _ids_among(connection, trunks.c.id, wanted)


async def _ids_among(connection: AsyncConnection, column: Column[str], wanted: Collection[str]) -> set[str]:
    if not wanted:
        return set()
    return set((await connection.execute(select(column).where(column.in_(wanted)))).scalars())


async def people_among(connection: AsyncConnection, keys: Sequence[bytes]) -> bool:
    """Whether one of these blind indexes is that of a person who is in a binding, or has an X."""
    for among in PEOPLE_AMONG:
        if (await connection.execute(among(keys).limit(1))).first() is not None:
            return True
    return False


def _who_dial(keys: Sequence[Any]) -> Select[Any]:
    return select(legs.c.caller_key).distinct().where(legs.c.caller_key.in_(keys))


def _who_have_an_x(keys: Sequence[Any]) -> Select[Any]:
    return select(numbers.c.assigned_to_key).distinct().where(numbers.c.assigned_to_key.in_(keys))


def _who_are_bound(keys: Sequence[Any]) -> Select[Any]:
    # The `+` keeps SQLite off the index of all live bindings.
    live = bindings.c.state + "" == "live"
    return select(bindings.c.a_key).distinct().where(bindings.c.a_key.in_(keys), live)


def _who_are_called_by_x(keys: Sequence[Any]) -> Select[Any]:
    return select(bindings.c.b_key).distinct().where(bindings.c.b_key.in_(keys), text(AX_WITH_B))


#: The people among blind indexes. A of mode AXE dials nothing, nor does a B of mode AX; A of a Y on demand
#: does not before somebody calls.
PEOPLE_AMONG: Final = (_who_dial, _who_have_an_x, _who_are_bound, _who_are_called_by_x)
