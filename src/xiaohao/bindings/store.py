"""All SQL by which bindings and their legs are read; how they are written is in `writing_store.py`."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, RowMapping, and_, exists, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.model import BindingState, Mode
from xiaohao.database.schema import bindings, legs, numbers


async def find(connection: AsyncConnection, customer_id: str, binding_id: str) -> RowMapping | None:
    """A binding of a customer."""
    query = select(bindings).where(bindings.c.id == binding_id, bindings.c.customer_id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def is_anything_over(connection: AsyncConnection, now: int) -> bool:
    """Whether a live binding is past its expiry, or a key past its quarantine."""
    # A partial index is used only where the statement says its condition in so many words.
    due = exists().where(bindings.c.state == literal_column("'live'"), bindings.c.expires_at <= now)
    rested = exists().where(legs.c.state == literal_column("'quarantined'"), legs.c.quarantine_until <= now)
    return bool((await connection.execute(select(or_(due, rested)))).scalar_one())


async def page(
    connection: AsyncConnection,
    customer_id: str,
    before: int | None,
    limit: int,
    where: Sequence[ColumnElement[bool]] = (),
    *,
    of_person: bool = False,
) -> list[RowMapping]:
    """Bindings of a customer, newest first, those made before the one with seq `before`.

    `of_person`: `where` names an A, whose bindings are so few that they are looked through and sorted.
    """
    customer = bindings.c.customer_id
    mine = (customer + "" if of_person else customer) == customer_id
    query = select(bindings).where(mine, *where)
    if before is not None:
        query = query.where(bindings.c.seq < before)
    return list((await connection.execute(query.order_by(bindings.c.seq.desc()).limit(limit))).mappings())


def filters(
    now: int,
    state: BindingState | None,
    *,
    mode: Mode | None,
    a_key: bytes | None,
    b_key: bytes | None,
    number: str | None,
    city: str | None,
    order_ref: str | None,
    parent_id: str | None,
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
    if mode is not None:
        chosen.append(bindings.c.mode == mode.value)
    if city is not None:
        either = or_(numbers.c.number == bindings.c.x, numbers.c.number == bindings.c.y)
        chosen.append(exists().where(either, numbers.c.city == city))
    if parent_id is not None:
        chosen.append(bindings.c.parent_id == parent_id)
    return chosen
