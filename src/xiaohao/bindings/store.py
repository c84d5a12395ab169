"""All SQL about bindings and their legs.

Who writes several rows takes their locks in one order, so that writers wait for each other and never
deadlock: people (advisory), binding, numbers, legs.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    and_,
    case,
    delete,
    distinct,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.model import BindingState, LegState, Role
from xiaohao.clock import SECOND
from xiaohao.database.schema import bindings, customers, legs, numbers, pools
from xiaohao.numbers.model import DEFAULT_RECYCLE_S, USABLE_STATES, NumberState

#: (people's keys, now, ids of ended bindings of the same pair): what a number must be free of
_Taken = tuple[Sequence[bytes], int, list[str]]

#: The one query of the hot path. Parameters: `caller_key` (the caller's blind index, b"" where there is none)
#: and `dialled` (canonical). No row: nobody's number. Columns in the order of `model.LegRow`.
HOT_LOOKUP_SQL: Final = """
SELECT n.state, c.id, c.state, l.state, l.role, l.binding_id, l.callee_sealed, l.display, d.state, d.trunk_id,
       l.valid_until, l.quarantine_until, l.record, l.max_duration_s, l.order_ref, l.user_data
FROM numbers n
LEFT JOIN legs l ON l.caller_key = :caller_key AND l.dialled = n.number
LEFT JOIN customers c ON c.id = COALESCE(l.customer_id, n.customer_id, n.assigned_by)
LEFT JOIN numbers d ON d.number = l.display
WHERE n.number = :dialled
"""
#: The same for psycopg.
HOT_LOOKUP_PSYCOPG: Final = HOT_LOOKUP_SQL.replace(":caller_key", "%(caller_key)s").replace(
    ":dialled", "%(dialled)s"
)

_SECOND: Final = literal(SECOND, BigInteger)  # the product of two 4-byte integers would not fit
_LOOK_UP: Final = text(HOT_LOOKUP_SQL)
_LOCK_PEOPLE: Final = text("SELECT pg_advisory_xact_lock(:first), pg_advisory_xact_lock(:second)")


async def look_up(connection: AsyncConnection, caller_key: bytes, dialled: str) -> Sequence[Any] | None:
    """The row for `model.judge`."""
    found = await connection.execute(_LOOK_UP, {"caller_key": caller_key, "dialled": dialled})
    return found.one_or_none()


async def lock_people(connection: AsyncConnection, *keys: bytes) -> None:
    """Make other reservations for these two people wait. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        first, second = sorted(int.from_bytes(key[:8], signed=True) for key in keys)
        await connection.execute(_LOCK_PEOPLE, {"first": first, "second": second})


async def customer_state(connection: AsyncConnection, customer_id: str) -> str | None:
    """The state of a customer."""
    query = select(customers.c.state).where(customers.c.id == customer_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def find(
    connection: AsyncConnection, customer_id: str, binding_id: str, *, lock: bool = False
) -> RowMapping | None:
    """A binding of a customer; `lock`: nobody else ends it in the meantime."""
    query = select(bindings).where(bindings.c.id == binding_id, bindings.c.customer_id == customer_id)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def of_pair(
    connection: AsyncConnection, customer_id: str, a_key: bytes, b_key: bytes, now: int
) -> list[RowMapping]:
    """The live binding of a pair and those in quarantine, newest first."""
    query = (
        select(bindings)
        .where(
            bindings.c.customer_id == customer_id,
            bindings.c.a_key == a_key,
            bindings.c.b_key == b_key,
            or_(bindings.c.state == BindingState.LIVE, bindings.c.recycle_until > now),
        )
        .order_by(bindings.c.seq.desc())
        .limit(10)
    )
    return list((await connection.execute(query)).mappings())


async def page(
    connection: AsyncConnection,
    customer_id: str,
    before: int | None,
    limit: int,
    where: Sequence[ColumnElement[bool]] = (),
) -> list[RowMapping]:
    """Bindings of a customer, newest first, those made before the one with seq `before`."""
    query = select(bindings).where(bindings.c.customer_id == customer_id, *where)
    if before is not None:
        query = query.where(bindings.c.seq < before)
    return list((await connection.execute(query.order_by(bindings.c.seq.desc()).limit(limit))).mappings())


def filters(
    now: int,
    state: BindingState | None,
    a_key: bytes | None,
    b_key: bytes | None,
    number: str | None,
    order_ref: str | None,
) -> list[ColumnElement[bool]]:
    """Conditions for `page`; a live binding past its expiry counts as expired."""
    overdue = and_(bindings.c.state == BindingState.LIVE, bindings.c.expires_at <= now)
    by_state = {
        BindingState.LIVE: and_(
            bindings.c.state == BindingState.LIVE,
            or_(bindings.c.expires_at.is_(None), bindings.c.expires_at > now),
        ),
        BindingState.EXPIRED: or_(bindings.c.state == BindingState.EXPIRED, overdue),
        BindingState.RELEASED: bindings.c.state == BindingState.RELEASED,
    }
    chosen: list[ColumnElement[bool]] = [] if state is None else [by_state[state]]
    if a_key is not None:
        chosen.append(bindings.c.a_key == a_key)
    if b_key is not None:
        chosen.append(bindings.c.b_key == b_key)
    if number is not None:
        chosen.append(or_(bindings.c.x == number, bindings.c.y == number))
    if order_ref is not None:
        chosen.append(bindings.c.order_ref == order_ref)
    return chosen


async def add(connection: AsyncConnection, row: dict[str, Any], leg_rows: list[dict[str, Any]]) -> int:
    """Insert a binding and its legs; gives its seq. Raises IntegrityError where one is taken."""
    ordered = sorted(leg_rows, key=lambda leg: (leg["caller_key"], leg["dialled"]))
    await connection.execute(insert(legs).values(ordered))
    seq: int = (
        await connection.execute(insert(bindings).values(**row).returning(bindings.c.seq))
    ).scalar_one()
    return seq


async def free_keys(
    connection: AsyncConnection, keys: list[tuple[bytes, str]], now: int, predecessors: list[str]
) -> None:
    """Take away quarantined legs with these keys if their time is over or they are of a predecessor."""
    # Several rows in one DELETE could lock in any order, but the people's lock keeps others off these keys.
    condition = and_(
        tuple_(legs.c.caller_key, legs.c.dialled).in_(keys),
        legs.c.state == LegState.QUARANTINED,
        or_(legs.c.quarantine_until <= now, legs.c.binding_id.in_(predecessors)),
    )
    await connection.execute(delete(legs).where(condition))


async def due(connection: AsyncConnection, now: int, limit: int) -> list[str]:
    """Live bindings past their expiry that nobody else is ending; locked."""
    query = (
        select(bindings.c.id)
        .where(bindings.c.state == BindingState.LIVE, bindings.c.expires_at <= now)
        .order_by(bindings.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await connection.execute(query)).scalars())


async def end(
    connection: AsyncConnection, ids: list[str], state: BindingState, now: int, ended_at: int | None
) -> None:
    """End live bindings, put their legs into quarantine. `ended_at` None: each at its own expiry."""
    leg_ended = legs.c.valid_until if ended_at is None else literal(ended_at, BigInteger)
    recycle_s = (
        select(pools.c.recycle_s)
        .join(numbers, numbers.c.pool_id == pools.c.id)
        .where(numbers.c.number == legs.c.dialled)
        .scalar_subquery()
    )
    await connection.execute(
        update(legs)
        .where(legs.c.binding_id.in_(ids), legs.c.state == LegState.LIVE)
        .values(
            state=LegState.QUARANTINED.value,
            quarantine_until=leg_ended + func.coalesce(recycle_s, DEFAULT_RECYCLE_S) * _SECOND,
        )
    )
    until = (
        select(func.max(legs.c.quarantine_until)).where(legs.c.binding_id == bindings.c.id).scalar_subquery()
    )
    await connection.execute(
        update(bindings)
        .where(bindings.c.id.in_(ids), bindings.c.state == BindingState.LIVE)
        .values(
            state=state.value,
            ended_at=bindings.c.expires_at if ended_at is None else ended_at,
            recycle_until=until,
            updated_at=now,
        )
    )


async def purge(connection: AsyncConnection, now: int, limit: int) -> int:
    """Delete legs whose quarantine is over and give back what was lent; says how many legs."""
    over = and_(legs.c.state == LegState.QUARANTINED, legs.c.quarantine_until <= now)
    found = (
        await connection.execute(
            select(legs.c.caller_key, legs.c.dialled, legs.c.role)
            .where(over)
            .order_by(legs.c.quarantine_until)
            .limit(limit)
        )
    ).all()
    if not found:
        return 0
    lent = sorted({row.dialled for row in found if row.role == Role.B})
    # Locked first: a reservation that is just taking such an X is seen by the statements after this one.
    await connection.execute(
        select(numbers.c.number)
        .where(numbers.c.number.in_(lent))
        .order_by(numbers.c.number)
        .with_for_update()
    )
    keys = [(row.caller_key, row.dialled) for row in found]
    await connection.execute(delete(legs).where(over, tuple_(legs.c.caller_key, legs.c.dialled).in_(keys)))
    await _give_back(connection, lent, now)
    return len(found)


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


async def least_recently_used(connection: AsyncConnection, pool_id: str, free_of: _Taken) -> str | None:
    """The free number of a pool that has rested longest; locked.

    Numbers that another reservation is just taking are passed over as long as there are others, so that
    writers spread over the pool instead of queueing for its first number.
    """
    query = (
        select(numbers.c.number)
        .where(numbers.c.pool_id == pool_id, numbers.c.state == NumberState.AVAILABLE, *_unused(free_of))
        .order_by(numbers.c.last_used_at, numbers.c.number)
        .limit(1)
    )
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


async def _give_back(connection: AsyncConnection, lent: list[str], now: int) -> None:
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
