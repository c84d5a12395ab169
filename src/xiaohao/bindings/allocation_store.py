"""All SQL by which a binding gets its numbers."""

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    and_,
    case,
    distinct,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.model import LegState, Role
from xiaohao.database.schema import legs, numbers, pools
from xiaohao.numbers.model import USABLE_STATES, NumberState

#: (people's keys, now, ids of ended bindings of the same pair): what a number must be free of
_Taken = tuple[Sequence[bytes], int, list[str]]


async def find_numbers(connection: AsyncConnection, wanted: Sequence[str]) -> dict[str, RowMapping]:
    """Those of the wanted numbers that are the platform's, whoever's they are."""
    found = await connection.execute(select(numbers).where(numbers.c.number.in_(wanted)))
    return {row["number"]: row for row in found.mappings()}


async def pool_is_visible(connection: AsyncConnection, customer_id: str, pool_id: str) -> bool:
    """Whether a pool is the customer's own or shared."""
    owner = or_(pools.c.customer_id == customer_id, pools.c.customer_id.is_(None))
    found = await connection.execute(select(pools.c.id).where(pools.c.id == pool_id, owner))
    return found.scalar_one_or_none() is not None


async def holds(
    connection: AsyncConnection, key: bytes, number: str, now: int, predecessors: list[str]
) -> bool:
    """Whether this person dialling this number is taken, by a leg that lives or rests."""
    query = _held_by(key, now, predecessors).where(legs.c.dialled == number)
    return (await connection.execute(query)).first() is not None


async def own_x(
    connection: AsyncConnection, customer_id: str, a_key: bytes, pool_id: str | None, free_of: _Taken
) -> str | None:
    """An X that is A's already and that B can dial: a fixed one, else one lent from `pool_id` (None: any)."""
    query = (
        select(numbers.c.number)
        .where(
            numbers.c.assigned_to_key == a_key,
            numbers.c.assigned_by == customer_id,
            numbers.c.state == NumberState.IN_SERVICE,
            *_unused(free_of),
        )
        .order_by(numbers.c.fixed.desc(), numbers.c.last_used_at, numbers.c.number)
        .limit(1)
    )
    if pool_id is not None:
        query = query.where(or_(numbers.c.fixed, numbers.c.pool_id == pool_id))
    return (await connection.execute(query)).scalar_one_or_none()


async def least_recently_used(
    connection: AsyncConnection, pool_id: str, free_of: _Taken, but: str | None = None
) -> str | None:
    """The free number of a pool that has rested longest, except `but`; locked.

    Numbers that another reservation is just taking are passed over as long as there are others, so that
    writers spread over the pool instead of queueing for its first number.
    """
    query = (
        select(numbers.c.number)
        .where(numbers.c.pool_id == pool_id, numbers.c.state == NumberState.AVAILABLE, *_unused(free_of))
        .order_by(numbers.c.last_used_at, numbers.c.number)
        .limit(1)
    )
    if but is not None:
        query = query.where(numbers.c.number != but)
    for skip_locked in (True, False):
        found = await connection.execute(query.with_for_update(skip_locked=skip_locked))
        number: str | None = found.scalar_one_or_none()
        if number is not None:
            return number
    return None


async def lend(
    connection: AsyncConnection, number: str, customer_id: str, a_key: bytes, a_sealed: bytes, now: int
) -> bool:
    """Make an X one person's, or use it again for the person whose it is; False where it is neither's."""
    free = and_(numbers.c.state == NumberState.AVAILABLE, numbers.c.assigned_to_key.is_(None))
    theirs = and_(
        numbers.c.state == NumberState.IN_SERVICE,
        numbers.c.assigned_to_key == a_key,
        numbers.c.assigned_by == customer_id,
    )
    result = await connection.execute(
        update(numbers)
        .where(numbers.c.number == number, or_(free, theirs))
        .values(
            state=NumberState.IN_SERVICE.value,
            assigned_to_key=a_key,
            assigned_to_sealed=func.coalesce(numbers.c.assigned_to_sealed, a_sealed),
            assigned_by=customer_id,
            last_used_at=now,
            updated_at=now,
        )
    )
    return result.rowcount == 1


async def use(connection: AsyncConnection, number: str, now: int) -> bool:
    """Note that a Y is used now; False where it may not be used any more."""
    result = await connection.execute(
        update(numbers)
        .where(numbers.c.number == number, numbers.c.state == NumberState.AVAILABLE)
        .values(last_used_at=now)
    )
    return result.rowcount == 1


async def pool_figures(connection: AsyncConnection, pool_id: str) -> RowMapping:
    """How many numbers a pool has in all, in states that can be used, and lent or fixed to somebody."""
    usable = numbers.c.state.in_(USABLE_STATES)
    query = select(
        func.count().label("total"),
        func.coalesce(func.sum(case((usable, 1), else_=0)), 0).label("usable"),
        func.count(numbers.c.assigned_to_key).label("assigned"),
    ).where(numbers.c.pool_id == pool_id)
    return (await connection.execute(query)).mappings().one()


async def leg_figures(
    connection: AsyncConnection, pool_id: str, customer_id: str, key: bytes | None
) -> RowMapping:
    """How many numbers of a pool this customer's legs use: all of a role B, or one person's (`key`)."""
    quarantined = legs.c.state == LegState.QUARANTINED
    query = (
        select(
            func.count(distinct(case((legs.c.state == LegState.LIVE, legs.c.dialled)))).label("live"),
            func.count(distinct(case((quarantined, legs.c.dialled)))).label("quarantined"),
            func.min(legs.c.quarantine_until).label("earliest"),
        )
        .join_from(legs, numbers, numbers.c.number == legs.c.dialled)
        .where(numbers.c.pool_id == pool_id, legs.c.customer_id == customer_id)
        .where(legs.c.role == Role.B if key is None else legs.c.caller_key == key)
    )
    figures: RowMapping = (await connection.execute(query)).mappings().one()
    return figures


def _held_by(key: bytes, now: int, predecessors: list[str]) -> Select[tuple[str]]:
    resting = and_(legs.c.quarantine_until > now, legs.c.binding_id.not_in(predecessors))
    return select(legs.c.dialled).where(legs.c.caller_key == key, or_(legs.c.state == LegState.LIVE, resting))


def _unused(free_of: _Taken) -> list[ColumnElement[bool]]:
    keys, now, predecessors = free_of
    return [numbers.c.number.not_in(_held_by(key, now, predecessors)) for key in keys]


async def lock(connection: AsyncConnection, lent: list[str]) -> None:
    """Hold numbers: a reservation that is just taking one is seen by the statements that follow."""
    query = select(numbers.c.number).where(numbers.c.number.in_(lent)).order_by(numbers.c.number)
    await connection.execute(query.with_for_update())


async def give_back(connection: AsyncConnection, lent: list[str], now: int) -> None:
    """Make those of the numbers free that were lent and that no leg leads through any more."""
    in_use = exists().where(legs.c.dialled == numbers.c.number, legs.c.role == Role.B)
    await connection.execute(
        update(numbers)
        .where(numbers.c.number.in_(lent), ~numbers.c.fixed, numbers.c.assigned_to_key.is_not(None), ~in_use)
        .values(
            assigned_to_key=None,
            assigned_to_sealed=None,
            assigned_by=None,
            state=case(
                (numbers.c.state == NumberState.IN_SERVICE, NumberState.AVAILABLE.value),
                else_=numbers.c.state,
            ),
            updated_at=now,
        )
    )
