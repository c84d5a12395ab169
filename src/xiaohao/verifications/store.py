"""All SQL about verifications, and about what they say of numbers."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import numbers, verifications
from xiaohao.numbers.model import Verification


async def add(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert verifications. Raises IntegrityError where a number or person has one already."""
    await connection.execute(insert(verifications), list(rows))


async def change(connection: AsyncConnection, verification_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a verification."""
    await connection.execute(
        update(verifications).where(verifications.c.id == verification_id).values(values)
    )


async def find(
    connection: AsyncConnection, *where: ColumnElement[bool], lock: bool = False
) -> RowMapping | None:
    """The one verification that fits; `lock`: nobody else changes it in the meantime."""
    query = select(verifications).where(*where)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


def by_id(verification_id: str) -> ColumnElement[bool]:
    """For `find`."""
    return verifications.c.id == verification_id


def of_number(number: str) -> ColumnElement[bool]:
    """For `find`."""
    return verifications.c.number == number


def of_person(customer_id: str, key: bytes) -> ColumnElement[bool]:
    """For `find`."""
    whose: ColumnElement[bool] = verifications.c.customer_id == customer_id
    return whose & (verifications.c.person_key == key)


async def page(
    connection: AsyncConnection, after: str, limit: int, customer_id: str | None, state: Verification | None
) -> list[RowMapping]:
    """Verifications in the order of their ids, those after `after`: of a customer, or (None) all."""
    query = select(verifications).where(verifications.c.id > after).order_by(verifications.c.id).limit(limit)
    if customer_id is not None:
        query = query.where(verifications.c.customer_id == customer_id)
    if state is not None:
        wanted: ColumnElement[bool] = verifications.c.state == state.value
        if state is Verification.PENDING:  # so does a renewal wait for the operator
            wanted |= verifications.c.renewal_sealed.is_not(None)
        query = query.where(wanted)
    return list((await connection.execute(query)).mappings())


async def number(connection: AsyncConnection, wanted: str) -> RowMapping | None:
    """A number of the platform, whose verification nobody else changes in the meantime."""
    query = select(numbers).where(numbers.c.number == wanted).with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def mark_number(
    connection: AsyncConnection, wanted: str, state: str, until: int | None, now: int
) -> None:
    """Say in the inventory how far the real name behind a number is proven."""
    await connection.execute(
        update(numbers)
        .where(numbers.c.number == wanted)
        .values(verification=state, verified_until=until, updated_at=now)
    )


async def overdue(connection: AsyncConnection, now: int, limit: int) -> list[RowMapping]:
    """Verified ones whose time is over and that nobody else is just expiring; locked."""
    query = (
        select(verifications)
        .where(verifications.c.state == Verification.VERIFIED.value, verifications.c.valid_until <= now)
        .order_by(verifications.c.valid_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await connection.execute(query)).mappings())
