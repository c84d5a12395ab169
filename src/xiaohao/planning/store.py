"""All SQL of planning: what a pool's history says, how it stands, and how it stood each hour."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.model import LegState, Mode
from xiaohao.database.direct import insert_into
from xiaohao.database.schema import bindings, legs, numbers, pool_samples, pools
from xiaohao.numbers.model import USABLE_STATES
from xiaohao.planning.model import Standing

_USABLE: Final = numbers.c.state.in_(USABLE_STATES)
#: a person's key has 16 bytes; what is shorter stands for anyone, or for an extension
_PERSON_KEY_BYTES: Final = 16
_SAMPLED: Final = ("usable", "assigned", "used", "resting", "free", "peak")


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _held(
    person: ColumnElement[Any],
    number: ColumnElement[Any],
    pool_id: str,
    since: int,
    *where: ColumnElement[bool],
) -> Select[Any]:
    return (
        select(
            person.label("person"),
            bindings.c.created_at.label("since"),
            func.coalesce(bindings.c.ended_at, bindings.c.expires_at).label("until"),
            numbers.c.city.label("city"),
        )
        .join_from(numbers, bindings, number == numbers.c.number)
        .where(numbers.c.pool_id == pool_id, bindings.c.created_at >= since, person.is_not(None), *where)
    )


def history(pool_id: str, since: int, customer_id: str | None) -> dict[str, Any]:
    """Queries of who held a number of a pool and when: as `y` (and both people of AXB), or as `x`."""
    own = [] if customer_id is None else [bindings.c.customer_id == customer_id]
    is_axb = bindings.c.mode == Mode.AXB.value
    as_y = union_all(
        _held(bindings.c.a_key, bindings.c.y, pool_id, since, *own),
        _held(bindings.c.a_key, bindings.c.x, pool_id, since, is_axb, *own),
        _held(bindings.c.b_key, bindings.c.x, pool_id, since, is_axb, *own),
    )
    return {"y": as_y, "x": _held(bindings.c.a_key, bindings.c.x, pool_id, since, ~is_axb, *own)}


async def count(connection: AsyncConnection, query: Any) -> int:
    """How many rows a query of `history` has."""
    found = await connection.execute(select(func.count()).select_from(query.subquery()))
    return int(found.scalar_one())


async def rows(connection: AsyncConnection, query: Any, below: bytes | None) -> Sequence[Row[Any]]:
    """The rows of a query of `history`, in the order of time: of all people, or of those keyed `below`."""
    part = query.subquery()
    chosen = select(part).order_by(part.c.since)
    if below is not None:
        chosen = chosen.where(part.c.person < below)
    return (await connection.execute(chosen)).all()


async def pools_to_watch(connection: AsyncConnection) -> dict[str, str | None]:
    """Every pool with its customer (None: shared)."""
    found = await connection.execute(select(pools.c.id, pools.c.customer_id))
    return {row.id: row.customer_id for row in found}


async def standing(connection: AsyncConnection, pool_id: str, now: int) -> Standing:
    """How a pool stands. It costs as much as its numbers have legs."""
    of_number = legs.c.dialled == numbers.c.number
    is_live = and_(
        legs.c.state == LegState.LIVE.value, or_(legs.c.valid_until.is_(None), legs.c.valid_until > now)
    )
    rests = or_(legs.c.state == LegState.LIVE.value, legs.c.quarantine_until > now)
    live, any_ = exists().where(of_number, is_live), exists().where(of_number, rests)
    query = select(
        func.count().label("total"),
        _sum(_USABLE).label("usable"),
        _sum(numbers.c.assigned_to_key.is_not(None)).label("assigned"),
        _sum(live).label("used"),
        _sum(and_(~live, any_)).label("resting"),
        _sum(and_(_USABLE, numbers.c.assigned_to_key.is_(None), ~any_)).label("free"),
    ).where(numbers.c.pool_id == pool_id)
    row = (await connection.execute(query)).one()
    held = (
        select(func.count().label("relations"))
        .join_from(numbers, legs, of_number)
        .where(
            numbers.c.pool_id == pool_id,
            numbers.c.assigned_to_key.is_(None),
            func.length(legs.c.caller_key) == _PERSON_KEY_BYTES,
            rests,
        )
        .group_by(legs.c.caller_key)
        .subquery()
    )
    peak = (await connection.execute(select(func.coalesce(func.max(held.c.relations), 0)))).scalar_one()
    return Standing(**{name: int(value) for name, value in row._mapping.items()}, peak=int(peak))


async def has_samples(connection: AsyncConnection, at: int) -> bool:
    """Whether the samples of this hour have been taken."""
    return (await connection.execute(select(exists().where(pool_samples.c.at == at)))).scalar_one()


async def add_samples(connection: AsyncConnection, at: int, standings: dict[str, Standing]) -> None:
    """Store how pools stood at an hour; a sample that is there already stays."""
    if not standings:
        return
    values = [
        {"pool_id": pool_id, "at": at, **{name: getattr(one, name) for name in _SAMPLED}}
        for pool_id, one in standings.items()
    ]
    into = insert_into(connection.dialect, pool_samples)
    await connection.execute(into.on_conflict_do_nothing(index_elements=["pool_id", "at"]), values)


async def samples(
    connection: AsyncConnection, since: int, pool_id: str | None = None
) -> dict[str, list[tuple[int, int]]]:
    """By pool the moments since `since` and the numbers that were needed at them, in the order of time."""
    query = (
        select(pool_samples.c.pool_id, pool_samples.c.at, pool_samples.c.assigned + pool_samples.c.peak)
        .where(pool_samples.c.at >= since)
        .order_by(pool_samples.c.at)
    )
    if pool_id is not None:
        query = query.where(pool_samples.c.pool_id == pool_id)
    found: dict[str, list[tuple[int, int]]] = {}
    for one, at, needed in await connection.execute(query):
        found.setdefault(one, []).append((at, int(needed)))
    return found


async def forget_samples(connection: AsyncConnection, before: int) -> None:
    """Delete samples that no trend is reckoned from any more."""
    await connection.execute(delete(pool_samples).where(pool_samples.c.at < before))
