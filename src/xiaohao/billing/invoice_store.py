"""All SQL of invoices, credit notes and reratings."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing.model import InvoiceKind, InvoiceState
from xiaohao.database.billing_tables import invoices, reratings
from xiaohao.database.direct import insert_into
from xiaohao.database.schema import marks

_SHOWN = tuple(column for column in invoices.columns if column.name != "document")


async def add(connection: AsyncConnection, row: Mapping[str, Any]) -> bool:
    """Insert a document, unless the month has its invoice; tells whether it was inserted."""
    into = insert_into(connection.dialect, invoices).values(**row).on_conflict_do_nothing()
    return (await connection.execute(into.returning(invoices.c.id))).first() is not None


async def find(
    connection: AsyncConnection, invoice_id: str, customer_id: str | None = None, lock: bool = False
) -> RowMapping | None:
    """One document, of that customer unless None."""
    query = select(invoices).where(invoices.c.id == invoice_id)
    if customer_id is not None:
        query = query.where(invoices.c.customer_id == customer_id)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def of_month(connection: AsyncConnection, customer_id: str, month: int) -> RowMapping | None:
    """The invoice of a month, unless there is none or it is void."""
    query = select(invoices).where(
        invoices.c.customer_id == customer_id,
        invoices.c.month == month,
        invoices.c.kind == InvoiceKind.INVOICE.value,
        invoices.c.state != InvoiceState.VOID.value,
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def page(
    connection: AsyncConnection,
    after: str,
    limit: int,
    where: Mapping[str, Any],
    with_drafts: bool = True,
) -> list[RowMapping]:
    """Documents in the order of their ids, without their contents, that have these values."""
    query = select(*_SHOWN).where(invoices.c.id > after)
    if not with_drafts:
        query = query.where(invoices.c.number.is_not(None))
    for name, value in where.items():
        if value is not None:
            query = query.where(invoices.c[name] == value)
    return list((await connection.execute(query.order_by(invoices.c.id).limit(limit))).mappings())


async def credits_of(connection: AsyncConnection, invoice_id: str) -> Sequence[RowMapping]:
    """The credit notes of an invoice that are not void."""
    query = select(*_SHOWN).where(
        invoices.c.corrects == invoice_id, invoices.c.state != InvoiceState.VOID.value
    )
    return list((await connection.execute(query)).mappings())


async def rewrite_draft(connection: AsyncConnection, invoice_id: str, values: Mapping[str, Any]) -> bool:
    """Overwrite the contents of a draft. What is issued is never overwritten: tells whether it was."""
    changed = await connection.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.state == InvoiceState.DRAFT.value)
        .values(**values)
    )
    return bool(changed.rowcount)


async def set_state(
    connection: AsyncConnection, invoice_id: str, old: InvoiceState, values: Mapping[str, Any]
) -> bool:
    """Move a document on from the state `old`; tells whether it was in it."""
    changed = await connection.execute(
        update(invoices).where(invoices.c.id == invoice_id, invoices.c.state == old.value).values(**values)
    )
    return bool(changed.rowcount)


async def next_number(connection: AsyncConnection, series: str) -> int:
    """The next number of a series. A transaction that fails gives it back: there are no gaps."""
    into = insert_into(connection.dialect, marks).values(name=f"invoice.{series}", value=1)
    counted = into.on_conflict_do_update(
        index_elements=["name"], set_={"value": marks.c.value + 1}
    ).returning(marks.c.value)
    number: int = (await connection.execute(counted)).scalar_one()
    return number


async def add_rerating(connection: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Insert a rerating."""
    await connection.execute(insert(reratings).values(**row))


async def find_rerating(
    connection: AsyncConnection, rerating_id: str, lock: bool = False
) -> RowMapping | None:
    """One rerating."""
    query = select(reratings).where(reratings.c.id == rerating_id)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def change_rerating(connection: AsyncConnection, rerating_id: str, values: Mapping[str, Any]) -> None:
    """Overwrite columns of a rerating."""
    await connection.execute(update(reratings).where(reratings.c.id == rerating_id).values(**values))


async def page_of_reratings(
    connection: AsyncConnection, after: str, limit: int, where: Mapping[str, Any]
) -> list[RowMapping]:
    """Reratings in the order of their ids that have these values."""
    query = select(reratings).where(reratings.c.id > after)
    for name, value in where.items():
        if value is not None:
            query = query.where(reratings.c[name] == value)
    return list((await connection.execute(query.order_by(reratings.c.id).limit(limit))).mappings())


async def unfinished_reratings(connection: AsyncConnection) -> list[str]:
    """Reratings that were accepted and are not carried out yet."""
    query = select(reratings.c.id).where(reratings.c.state == "accepting").order_by(reratings.c.id)
    return list((await connection.execute(query)).scalars())


async def is_being_rewritten(connection: AsyncConnection, customer_id: str, month: int) -> bool:
    """Whether a rerating of the month was accepted and is not carried out yet."""
    return bool(await _of_month(connection, customer_id, month, "accepting"))


async def accepted_reports(connection: AsyncConnection, customer_id: str, month: int) -> list[str]:
    """The reports of a month's reratings that count."""
    return await _of_month(connection, customer_id, month, "accepted")


async def _of_month(connection: AsyncConnection, customer_id: str, month: int, state: str) -> list[str]:
    query = select(reratings.c.report).where(
        reratings.c.customer_id == customer_id, reratings.c.month == month, reratings.c.state == state
    )
    return list((await connection.execute(query)).scalars())
