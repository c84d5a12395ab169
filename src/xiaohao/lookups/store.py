"""All SQL of look-ups. `customer_id` is whose data is looked through; None: everybody's."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Result,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    union,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.ending_store import is_of_a_pair
from xiaohao.bindings.model import LegState
from xiaohao.clock import SECOND
from xiaohao.database.schema import (
    binding_versions,
    bindings,
    calls,
    cdrs,
    legs,
    number_history,
    numbers,
    pools,
)
from xiaohao.numbers.model import DEFAULT_RECYCLE_S

#: a row by its columns' names
Facts = dict[str, Any]


def _rows(result: Result[Any]) -> list[Facts]:
    return [{**row} for row in result.mappings()]


def _of(table: Table, customer_id: str | None) -> list[ColumnElement[bool]]:
    if customer_id is None:
        return []
    # An expression, so that no index by customer is taken: it leads through all that is the customer's.
    return [func.coalesce(table.c.customer_id, "") == customer_id]


async def number(connection: AsyncConnection, wanted: str, customer_id: str | None) -> Facts | None:
    """A number of the inventory; for a customer, its own only."""
    query = select(numbers).where(numbers.c.number == wanted, *_of(numbers, customer_id))
    return next(iter(_rows(await connection.execute(query))), None)


async def history(connection: AsyncConnection, wanted: str, at: int) -> Facts | None:
    """What was last written about a number until a moment."""
    query = (
        select(number_history)
        .where(number_history.c.number == wanted, number_history.c.at <= at)
        .order_by(number_history.c.at.desc(), number_history.c.seq.desc())
        .limit(1)
    )
    return next(iter(_rows(await connection.execute(query))), None)


async def bindings_on(
    connection: AsyncConnection,
    wanted: str,
    at: int,
    customer_id: str | None,
    person_key: bytes | None,
    before: int | None,
    limit: int,
    rest: int,
) -> list[Facts]:
    """Bindings that have, or had at that moment, this X or Y and were not over by then; the newest first.

    `person_key`: those of this person only. `rest` (µs): what was changed is of interest for so long.
    """
    same = [*_not_over(at), *_of(bindings, customer_id)]
    was = [binding_versions.c.valid_from <= at, binding_versions.c.valid_until > at - rest]
    # Each part finds its few rows by an index of its own; as one OR they would be looked for among all.
    parts = []
    for column in ("x", "y"):
        now = select(bindings.c.seq).where(bindings.c[column] == wanted, *same)
        earlier = (
            select(bindings.c.seq)
            .join_from(binding_versions, bindings, bindings.c.id == binding_versions.c.binding_id)
            .where(binding_versions.c[column] == wanted, *was, *same)
        )
        if person_key is not None:
            now = now.where(_is_of(bindings, person_key))
            earlier = earlier.where(_is_of(binding_versions, person_key))
        parts += [now, earlier]
    query = select(bindings).where(bindings.c.seq.in_(union(*parts)))
    if before is not None:
        query = query.where(bindings.c.seq < before)
    return _rows(await connection.execute(query.order_by(bindings.c.seq.desc()).limit(limit)))


async def recycle_s(connection: AsyncConnection, wanted: str) -> int:
    """For how long what falls away at a number rests there."""
    query = (
        select(pools.c.recycle_s)
        .join_from(numbers, pools, pools.c.id == numbers.c.pool_id)
        .where(numbers.c.number == wanted)
    )
    of_pool = (await connection.execute(query)).scalar_one_or_none()
    return DEFAULT_RECYCLE_S if of_pool is None else of_pool


def _is_of(table: Table, person_key: bytes) -> ColumnElement[bool]:
    return or_(table.c.a_key == person_key, table.c.b_key == person_key)


def _not_over(at: int) -> list[ColumnElement[bool]]:
    until = bindings.c.recycle_until
    return [bindings.c.created_at <= at, or_(until.is_(None), until > at)]


async def bindings_of_person(
    connection: AsyncConnection, key: bytes, at: int, customer_id: str | None, limit: int
) -> list[Facts]:
    """Bindings of a person that are not over: those whose legs the person dials or whose X is theirs."""
    dialled = select(legs.c.binding_id).where(legs.c.caller_key == key)
    own = (
        select(bindings.c.id)
        .join_from(numbers, bindings, bindings.c.x == numbers.c.number)
        .where(numbers.c.assigned_to_key == key, *_not_over(at))
    )
    query = (
        select(bindings)
        .where(bindings.c.id.in_(union(dialled, own)), _is_of(bindings, key))
        .where(*_not_over(at), *_of(bindings, customer_id))
        .order_by(bindings.c.seq.desc())
        .limit(limit)
    )
    return _rows(await connection.execute(query))


async def versions(connection: AsyncConnection, binding_ids: Sequence[str]) -> list[Facts]:
    """What these bindings said before they were changed."""
    query = select(binding_versions).where(binding_versions.c.binding_id.in_(binding_ids))
    return _rows(await connection.execute(query))


async def grace_to_come(
    connection: AsyncConnection, binding_ids: Sequence[str], wanted: str | None = None
) -> dict[str, int]:
    """Until when those of these that were not ended yet will connect (by this number) after their end."""
    query = (
        _with_pools(select(legs.c.binding_id, _GRACE.label("until")))
        .where(legs.c.binding_id.in_(binding_ids), legs.c.state == LegState.LIVE, is_of_a_pair())
        .where(_GRACE.is_not(None))
    )
    if wanted is not None:
        query = query.where(legs.c.dialled == wanted)
    found: dict[str, int] = {}
    for row in await connection.execute(query):
        found[row.binding_id] = max(found.get(row.binding_id, 0), row.until)
    return found


def _with_pools(query: Select[Any]) -> Select[Any]:
    joined = legs.outerjoin(numbers, numbers.c.number == legs.c.dialled)
    return query.select_from(joined.outerjoin(pools, pools.c.id == numbers.c.pool_id))


#: the end of a leg's time of grace: as it was written at its end, or as it will be
_GRACE: Final = func.coalesce(
    legs.c.grace_until,
    case(
        (
            and_(legs.c.state == LegState.LIVE.value, pools.c.grace_s > 0),
            legs.c.valid_until + pools.c.grace_s * literal(SECOND, BigInteger),
        )
    ),
)


async def legs_of_person(
    connection: AsyncConnection, key: bytes, customer_id: str | None, limit: int
) -> list[Facts]:
    """What a person can dial."""
    columns = [column for column in legs.c if column is not legs.c.grace_until]
    query = _with_pools(select(*columns, _GRACE.label("grace_until")))
    query = query.where(legs.c.caller_key == key, *_of(legs, customer_id))
    return _rows(await connection.execute(query.order_by(legs.c.dialled).limit(limit)))


async def numbers_of_person(connection: AsyncConnection, key: bytes, customer_id: str | None) -> list[str]:
    """The numbers that are a person's X."""
    query = select(numbers.c.number).where(numbers.c.assigned_to_key == key)
    if customer_id is not None:
        query = query.where(numbers.c.assigned_by == customer_id)
    return list((await connection.execute(query.order_by(numbers.c.number))).scalars())


async def live_calls(
    connection: AsyncConnection,
    customer_id: str | None,
    limit: int,
    *,
    number: str | None = None,
    binding_ids: Sequence[str] = (),
    until: int | None = None,
) -> list[bytes]:
    """The sealed facts of calls in progress that lead over a number, or else through these bindings."""
    if number is None:
        over: ColumnElement[bool] = calls.c.binding_id.in_(binding_ids)
    else:
        over = or_(calls.c.dialled == number, calls.c.displayed == number)
    query = select(calls.c.facts_sealed).where(over, *_of(calls, customer_id)).order_by(calls.c.id)
    if until is not None:
        query = query.where(calls.c.received_at <= until)
    return list((await connection.execute(query.limit(limit))).scalars())


async def ended_calls(
    connection: AsyncConnection,
    wanted: str,
    since: int,
    until: int,
    binding_ids: Sequence[str],
    customer_id: str | None,
    person_key: bytes | None,
    limit: int,
) -> list[Facts]:
    """CDRs over a number of calls that lasted into, or began within, a span of time; the oldest first.

    Those that began before it are found through the bindings that were behind the number.
    """
    over = or_(cdrs.c.dialled == wanted, cdrs.c.displayed == wanted)
    began = and_(cdrs.c.received_at >= since, cdrs.c.received_at <= until)
    lasted = and_(cdrs.c.binding_id.in_(binding_ids), cdrs.c.received_at <= until, cdrs.c.ended_at >= since)
    query = select(cdrs).where(over, or_(began, lasted), *_of(cdrs, customer_id))
    if person_key is not None:
        query = query.where(or_(cdrs.c.caller_key == person_key, cdrs.c.callee_key == person_key))
    query = query.order_by(cdrs.c.received_at, cdrs.c.seq).limit(limit)
    return _rows(await connection.execute(query))


async def was_ever_used(connection: AsyncConnection, wanted: str, customer_id: str) -> bool:
    """Whether a customer has, or had, a relation over a number that is not its own."""
    used = [
        select(table.c.seq).where(table.c[column] == wanted, *_of(table, customer_id)).exists()
        for table in (bindings, binding_versions)
        for column in ("x", "y")
    ]
    return bool((await connection.execute(select(or_(*used)))).scalar_one())
