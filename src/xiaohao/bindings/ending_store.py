"""The SQL that ends bindings: their legs are counted off their numbers, and rest."""

from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, case, func, literal, or_, select, update

from xiaohao.bindings.model import BindingState, LegState
from xiaohao.bindings.modes import PAIRS
from xiaohao.clock import SECOND
from xiaohao.database.schema import bindings, legs, numbers, pools
from xiaohao.numbers.model import DEFAULT_RECYCLE_S

_SECOND: Final = literal(SECOND, BigInteger)  # the product of two 4-byte integers would not fit


def dialled_on(ids: list[Any]) -> Any:
    """The numbers on which these bindings have live legs."""
    return select(legs.c.dialled).where(_live_legs(ids))


def count_off(ids: list[Any]) -> Any:
    """Count the live legs of these bindings off `numbers.relations`."""
    ended = (
        select(legs.c.dialled, func.count().label("ended"))
        .where(_live_legs(ids))
        .group_by(legs.c.dialled)
        .subquery()
    )
    return (
        update(numbers)
        .where(numbers.c.number == ended.c.dialled)
        .values(relations=numbers.c.relations - ended.c.ended)
    )


def rest_legs(ids: list[Any]) -> Any:
    """Put their live legs into quarantine, from `ended_at` on (None: each from its own expiry)."""
    ended_at = func.coalesce(bindparam("ended_at", type_=BigInteger), legs.c.valid_until)
    of_pool = (
        select(pools.c.id)
        .join(numbers, numbers.c.pool_id == pools.c.id)
        .where(numbers.c.number == legs.c.dialled)
    )
    recycle_s = of_pool.with_only_columns(pools.c.recycle_s).scalar_subquery()
    shorter = case((pools.c.grace_s < pools.c.recycle_s, pools.c.grace_s), else_=pools.c.recycle_s)
    grace_s = of_pool.with_only_columns(shorter).where(pools.c.grace_s > 0).scalar_subquery()
    return (
        update(legs)
        .where(_live_legs(ids))
        .values(
            state=LegState.QUARANTINED.value,
            quarantine_until=ended_at + func.coalesce(recycle_s, DEFAULT_RECYCLE_S) * _SECOND,
            grace_until=ended_at + grace_s * _SECOND,
        )
    )


def end(ids: list[Any]) -> Any:
    """End those that live, after their legs."""
    of_binding = legs.c.binding_id == bindings.c.id
    rest = select(func.max(legs.c.quarantine_until)).where(of_binding)
    # only two people who were bound to each other are connected in their time of grace
    grace = select(func.max(legs.c.grace_until)).where(of_binding, is_of_a_pair())
    dialled = legs.c.dialled + ""  # a number may have thousands of legs: SQLite is not to begin there
    on_x, on_y = dialled == bindings.c.x, dialled == bindings.c.y
    return (
        update(bindings)
        .where(bindings.c.id.in_(ids), bindings.c.state == BindingState.LIVE.value)
        .values(
            state=bindparam("state"),
            ended_at=func.coalesce(bindparam("ended_at", type_=BigInteger), bindings.c.expires_at),
            recycle_until=rest.scalar_subquery(),
            x_recycle_until=rest.where(on_x).scalar_subquery(),
            y_recycle_until=rest.where(on_y).scalar_subquery(),
            x_grace_until=grace.where(on_x).scalar_subquery(),
            y_grace_until=grace.where(on_y).scalar_subquery(),
            updated_at=bindparam("now", type_=BigInteger),
        )
    )


def is_of_a_pair() -> ColumnElement[bool]:
    """Of a leg. The rule of `recognition`."""
    return and_(or_(*(legs.c.mode == mode.value for mode in PAIRS)), legs.c.display.is_not(None))


def _live_legs(ids: list[Any]) -> Any:
    # The `+` keeps SQLite off the index by state, which holds every live leg.
    return and_(legs.c.binding_id.in_(ids), legs.c.state + "" == LegState.LIVE.value)
