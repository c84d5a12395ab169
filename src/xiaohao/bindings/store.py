"""All SQL about bindings and their legs; how they get their numbers is in `allocation_store.py`.

Who writes several rows takes their locks in one order, so that writers wait for each other and never
deadlock: people (advisory), binding, numbers, legs.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    and_,
    bindparam,
    delete,
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

from xiaohao.bindings import allocation_store
from xiaohao.bindings.model import BindingState, LegState, Role
from xiaohao.clock import SECOND
from xiaohao.database.schema import bindings, legs, numbers, pools
from xiaohao.numbers.model import DEFAULT_RECYCLE_S

_SECOND: Final = literal(SECOND, BigInteger)  # the product of two 4-byte integers would not fit
_LOCK_PEOPLE: Final = text("SELECT pg_advisory_xact_lock(:first), pg_advisory_xact_lock(:second)")
# The statements of a reservation are put together once, as in `allocation_store`.
_CUSTOMER_AND_POOLS: Final = text("""
SELECT c.state, p.id FROM customers c
LEFT JOIN pools p ON p.id IN (:x_pool, :y_pool) AND (p.customer_id = c.id OR p.customer_id IS NULL)
WHERE c.id = :customer_id
""")
_OF_PAIR: Final = (
    select(bindings)
    .where(
        bindings.c.customer_id == bindparam("customer_id"),
        bindings.c.a_key == bindparam("a_key"),
        bindings.c.b_key == bindparam("b_key"),
        or_(bindings.c.state == BindingState.LIVE.value, bindings.c.recycle_until > bindparam("now")),
    )
    .order_by(bindings.c.seq.desc())
    .limit(10)
)
_ADD_LEGS: Final = insert(legs)
_ADD: Final = insert(bindings).returning(bindings.c.seq)
_FREE_KEYS: Final = delete(legs).where(
    or_(
        and_(legs.c.caller_key == bindparam("key_1"), legs.c.dialled == bindparam("dialled_1")),
        and_(legs.c.caller_key == bindparam("key_2"), legs.c.dialled == bindparam("dialled_2")),
    ),
    legs.c.state == LegState.QUARANTINED.value,
    or_(
        legs.c.quarantine_until <= bindparam("now"),
        legs.c.binding_id.in_(bindparam("predecessors", expanding=True)),
    ),
)


async def lock_people(connection: AsyncConnection, *keys: bytes) -> None:
    """Make other reservations for these two people wait. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        first, second = sorted(int.from_bytes(key[:8], signed=True) for key in keys)
        await connection.execute(_LOCK_PEOPLE, {"first": first, "second": second})


async def customer_and_pools(
    connection: AsyncConnection, customer_id: str, x_pool: str | None, y_pool: str | None
) -> tuple[str | None, set[str]]:
    """The state of a customer (None: unknown), and those of the two pools that are theirs or shared."""
    values = {"customer_id": customer_id, "x_pool": x_pool, "y_pool": y_pool}
    found = (await connection.execute(_CUSTOMER_AND_POOLS, values)).all()
    return (found[0].state if found else None), {row.id for row in found if row.id is not None}


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
    values = {"customer_id": customer_id, "a_key": a_key, "b_key": b_key, "now": now}
    return list((await connection.execute(_OF_PAIR, values)).mappings())


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
    await connection.execute(_ADD_LEGS, ordered)
    seq: int = (await connection.execute(_ADD, row)).scalar_one()
    return seq


async def free_keys(
    connection: AsyncConnection, keys: list[tuple[bytes, str]], now: int, predecessors: list[str]
) -> None:
    """Take away quarantined legs with these two keys if their time is over or they are of a predecessor."""
    # Several rows in one DELETE could lock in any order, but the people's lock keeps others off these keys.
    (key_1, dialled_1), (key_2, dialled_2) = keys
    values = {"key_1": key_1, "dialled_1": dialled_1, "key_2": key_2, "dialled_2": dialled_2}
    await connection.execute(_FREE_KEYS, {**values, "now": now, "predecessors": predecessors})


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
    await allocation_store.lock(connection, lent)
    keys = [(row.caller_key, row.dialled) for row in found]
    await connection.execute(delete(legs).where(over, tuple_(legs.c.caller_key, legs.c.dialled).in_(keys)))
    await allocation_store.give_back(connection, lent, now)
    return len(found)
