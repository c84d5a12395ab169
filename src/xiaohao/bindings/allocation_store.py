"""All SQL by which a binding gets its numbers."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    RowMapping,
    Select,
    Text,
    and_,
    bindparam,
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
from xiaohao.database.schema import legs, numbers
from xiaohao.numbers.model import USABLE_STATES, NumberState

#: (people's keys, now, ids of ended bindings of the same pair): what a number must be free of
_Taken = tuple[Sequence[bytes], int, list[str]]
_Values = dict[str, Any]


# The statements of a reservation are put together once: doing so again for each one costs more than SQLite's
# own work.
def _held_by(key: str) -> Select[tuple[str]]:
    """What a person dials, live or in quarantine, except on legs of their pair's own past."""
    past = bindparam("predecessors", type_=Text, expanding=True)
    resting = and_(legs.c.quarantine_until > bindparam("now"), legs.c.binding_id.not_in(past))
    return select(legs.c.dialled).where(
        legs.c.caller_key == bindparam(key), or_(legs.c.state == LegState.LIVE, resting)
    )


_ALL: Final = bindparam("wanted", type_=Text, expanding=True)
_NUMBER: Final = numbers.c.number == bindparam("wanted_number")
_FIND_NUMBERS: Final = select(numbers).where(numbers.c.number.in_(_ALL))
_HOLDS: Final = _held_by("key").where(legs.c.dialled == bindparam("dialled"))
_OWN_X: Final = (
    select(numbers.c.number)
    .where(
        numbers.c.assigned_to_key == bindparam("a_key"),
        numbers.c.assigned_by == bindparam("customer_id"),
        numbers.c.state == NumberState.IN_SERVICE.value,
        numbers.c.number.not_in(_held_by("key")),
    )
    .order_by(numbers.c.fixed.desc(), numbers.c.last_used_at, numbers.c.number)
    .limit(1)
)
_OWN_X_OF_POOL: Final = _OWN_X.where(or_(numbers.c.fixed, numbers.c.pool_id == bindparam("pool_id")))
_LEAST_RECENTLY_USED: Final = (
    select(numbers.c.number)
    .where(
        numbers.c.pool_id == bindparam("pool_id"),
        numbers.c.state == NumberState.AVAILABLE.value,
        numbers.c.number != bindparam("but"),
        numbers.c.number.not_in(_held_by("first_key")),
        numbers.c.number.not_in(_held_by("second_key")),
    )
    .order_by(numbers.c.last_used_at, numbers.c.number)
    .limit(1)
)
_LOCK_WHAT_NOBODY_LOCKS: Final = _LEAST_RECENTLY_USED.with_for_update(skip_locked=True)
_LOCK_WHAT_OTHERS_LOCK: Final = _LEAST_RECENTLY_USED.with_for_update()
_IS_FREE: Final = and_(numbers.c.state == NumberState.AVAILABLE.value, numbers.c.assigned_to_key.is_(None))
_IS_THEIRS: Final = and_(
    numbers.c.state == NumberState.IN_SERVICE.value,
    numbers.c.assigned_to_key == bindparam("a_key"),
    numbers.c.assigned_by == bindparam("borrower"),
)
_LEND: Final = (
    update(numbers)
    .where(_NUMBER, or_(_IS_FREE, _IS_THEIRS))
    .values(
        state=NumberState.IN_SERVICE.value,
        assigned_to_key=bindparam("a_key"),
        assigned_to_sealed=func.coalesce(numbers.c.assigned_to_sealed, bindparam("a_sealed")),
        assigned_by=bindparam("borrower"),
        last_used_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_USE: Final = (
    update(numbers)
    .where(_NUMBER, numbers.c.state == NumberState.AVAILABLE.value)
    .values(last_used_at=bindparam("now"))
)


async def find_numbers(connection: AsyncConnection, wanted: Sequence[str]) -> dict[str, RowMapping]:
    """Those of the wanted numbers that are the platform's, whoever's they are."""
    found = await connection.execute(_FIND_NUMBERS, {"wanted": wanted})
    return {row["number"]: row for row in found.mappings()}


async def holds(
    connection: AsyncConnection, key: bytes, number: str, now: int, predecessors: list[str]
) -> bool:
    """Whether this person dialling this number is taken, by a leg that lives or rests."""
    values = {"key": key, "dialled": number, "now": now, "predecessors": predecessors}
    return (await connection.execute(_HOLDS, values)).first() is not None


async def own_x(
    connection: AsyncConnection, customer_id: str, a_key: bytes, pool_id: str | None, free_of: _Taken
) -> str | None:
    """An X that is A's already and that B can dial: a fixed one, else one lent from `pool_id` (None: any)."""
    (b_key,), now, predecessors = free_of
    values: _Values = {"a_key": a_key, "customer_id": customer_id, "key": b_key}
    values |= {"now": now, "predecessors": predecessors, "pool_id": pool_id}
    found = await connection.execute(_OWN_X if pool_id is None else _OWN_X_OF_POOL, values)
    number: str | None = found.scalar_one_or_none()
    return number


async def least_recently_used(
    connection: AsyncConnection, pool_id: str, free_of: _Taken, but: str | None = None
) -> str | None:
    """The free number of a pool that has rested longest, except `but`; locked.

    Numbers that another reservation is just taking are passed over as long as there are others, so that
    writers spread over the pool instead of queueing for its first number.
    """
    keys, now, predecessors = free_of
    values: _Values = {"pool_id": pool_id, "but": but or "", "first_key": keys[0], "second_key": keys[-1]}
    values |= {"now": now, "predecessors": predecessors}
    for query in (_LOCK_WHAT_NOBODY_LOCKS, _LOCK_WHAT_OTHERS_LOCK):
        number: str | None = (await connection.execute(query, values)).scalar_one_or_none()
        if number is not None:
            return number
    return None


async def lend(
    connection: AsyncConnection, number: str, customer_id: str, a_key: bytes, a_sealed: bytes, now: int
) -> bool:
    """Make an X one person's, or use it again for the person whose it is; False where it is neither's."""
    values: _Values = {"wanted_number": number, "borrower": customer_id, "a_key": a_key}
    result = await connection.execute(_LEND, {**values, "a_sealed": a_sealed, "now": now})
    return result.rowcount == 1


async def use(connection: AsyncConnection, number: str, now: int) -> bool:
    """Note that a Y is used now; False where it may not be used any more."""
    result = await connection.execute(_USE, {"wanted_number": number, "now": now})
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
