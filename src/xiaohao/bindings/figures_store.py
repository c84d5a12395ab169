"""All SQL that says how a pool stands, for refusals and explanations. It may read a whole pool."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    and_,
    bindparam,
    case,
    distinct,
    exists,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.allocation_store import IS_VERIFIED, is_verified
from xiaohao.bindings.choice import Need
from xiaohao.bindings.model import LegState, Role
from xiaohao.database.schema import legs, numbers
from xiaohao.numbers.model import USABLE_STATES, NumberState


async def pool_figures(
    connection: AsyncConnection, pool_id: str, cities: Sequence[str | None], most: int, now: int
) -> RowMapping:
    """How many numbers a pool has (in these cities; None among them: in all), and how they stand.

    In states that can be used; lent or fixed to somebody; with a real name that is not proven; with `most`
    live relations or more; that can neither be displayed themselves nor as another number.
    """
    usable = numbers.c.state.in_(USABLE_STATES)
    query = select(
        func.count().label("total"),
        _how_many(usable).label("usable"),
        func.count(numbers.c.assigned_to_key).label("assigned"),
        func.coalesce(func.sum(case((and_(usable, ~IS_VERIFIED), 1), else_=0)), 0).label("not_verified"),
        func.coalesce(func.sum(case((and_(usable, numbers.c.relations >= most), 1), else_=0)), 0).label(
            "full"
        ),
        _how_many(and_(usable, ~_can_be_shown())).label("not_displayable"),
    ).where(numbers.c.pool_id == pool_id, _in_cities(cities))
    return (await connection.execute(query, {"now": now})).mappings().one()


async def leg_figures(
    connection: AsyncConnection,
    pool_id: str,
    cities: Sequence[str | None],
    customer_id: str,
    key: bytes | None,
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
        .where(numbers.c.pool_id == pool_id, _in_cities(cities), legs.c.customer_id == customer_id)
        .where(legs.c.role == Role.B if key is None else legs.c.caller_key == key)
    )
    figures: RowMapping = (await connection.execute(query)).mappings().one()
    return figures


async def free_by_city(
    connection: AsyncConnection, pool_id: str, need: Need, now: int
) -> list[tuple[str | None, int]]:
    """How many numbers each city of a pool has left that are as needed, most first."""
    count = func.count()
    query = (
        select(numbers.c.city, count)
        .where(
            numbers.c.pool_id == pool_id,
            numbers.c.state == NumberState.AVAILABLE,
            numbers.c.assigned_to_key.is_(None),
            IS_VERIFIED,
            *_as_needed(need),
        )
        .group_by(numbers.c.city)
        .order_by(count.desc(), numbers.c.city)
    )
    rows: Sequence[Any] = (await connection.execute(query, {"now": now})).all()
    return [(city, free) for city, free in rows]


def _as_needed(need: Need) -> Iterator[ColumnElement[bool]]:
    """The rules of `Allocation`."""
    over = and_(legs.c.state == LegState.QUARANTINED, legs.c.quarantine_until <= bindparam("now"))
    own = and_(legs.c.state == LegState.QUARANTINED, legs.c.binding_id.in_(need.past))
    held = select(legs.c.dialled).where(legs.c.caller_key.in_(need.keys), ~over, ~own)
    yield numbers.c.number.not_in(held)
    policy = need.policy
    if policy.max_relations is not None:
        yield numbers.c.relations + need.legs <= policy.max_relations
    if policy.kind is not None:
        yield numbers.c.kind == policy.kind.value
    if policy.cities is not None:
        yield numbers.c.city.in_(policy.cities)
    if need.is_shown:
        yield _can_be_shown()
    if need.is_alone:
        yield numbers.c.relations == 0
        yield ~exists().where(legs.c.dialled == numbers.c.number, ~over)
    if need.but_for is not None:
        yield numbers.c.number != need.but_for


def _can_be_shown() -> ColumnElement[bool]:
    """The rule of `Desk.can_be_shown`."""
    shown = numbers.alias("shown")
    other = exists().where(
        shown.c.number == numbers.c.displayed_as,
        shown.c.displayable,
        shown.c.state.in_(USABLE_STATES),
        is_verified(shown),
    )
    return or_(numbers.c.displayable, other)


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _in_cities(cities: Sequence[str | None]) -> ColumnElement[bool]:
    if None in cities:
        return ~false()
    return numbers.c.city.in_([city for city in cities if city is not None])
