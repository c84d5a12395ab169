"""What reratings of a month booked whose invoice is issued: a credit note each, or a correction.

A difference is booked once, however many reports found it: each report counts what stands by then, and is out
of date where something else was booked since. A credit note that is void, or a correction that was taken
away, books nothing.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, invoice_store, money, store
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.model import InvoiceState
from xiaohao.billing.terms import ServiceItem
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict
from xiaohao.ids import new_id


def is_issued(invoice: Mapping[Any, Any] | None) -> bool:
    """Whether a month has an invoice that no longer changes."""
    return invoice is not None and invoice["state"] != InvoiceState.DRAFT


async def booked(connection: AsyncConnection, invoice: Mapping[Any, Any]) -> int:
    """What the reratings of this invoice's month have booked, in millionths."""
    total = 0
    customer_id, month = invoice["customer_id"], invoice["month"]
    for report in await invoice_store.accepted_reports(connection, customer_id, month):
        found = msgspec.json.decode(report)
        if found.get("invoice_id") != invoice["id"]:
            continue
        note_id, entry_id = found.get("credit_note_id"), found.get("entry_id")
        if note_id is not None:
            note = await invoice_store.find(connection, note_id)
            stands = note is not None and note["state"] != InvoiceState.VOID
        else:
            stands = entry_id is not None and await store.has_entry(connection, customer_id, entry_id)
        if stands:
            total += money.millionths(Decimal(found["difference"]))
    return total


def outdated() -> Refusal:
    """The report no longer tells what would change."""
    detail = "The invoice of the month, or what was booked for it, was changed since. Rate it anew once more."
    return conflict("rerating_outdated", "The report is out of date", detail)


class Booking:
    """Books differences, in the transaction of whoever accepts them."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self._invoices = Invoices(database, clock)
        self._clock = clock

    async def book(
        self,
        connection: AsyncConnection,
        invoice: Mapping[Any, Any],
        rerating_id: str,
        report: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Book the report's difference; gives the report with what it became. The account is locked.

        Raises Refusal: `rerating_outdated`, `credit_too_large`.
        """
        standing = money.text_of(await booked(connection, invoice))
        if report["invoice_id"] != invoice["id"] or report["booked"] != standing:
            raise outdated()
        amount = money.millionths(Decimal(report["difference"]))
        note = f"rated anew: {calendar.month_text(invoice['month'])}, {rerating_id}"
        if amount < 0:
            credit = await self._invoices.credit(invoice["id"], -amount, note)
            return {**report, "credit_note_id": credit.id}
        if amount:
            entry_id = await self._enter(connection, invoice["customer_id"], report["difference"], note)
            return {**report, "entry_id": entry_id}
        return dict(report)

    async def _enter(self, connection: AsyncConnection, customer_id: str, price: str, note: str) -> str:
        now = self._clock()
        closed = (await store.closed_of(connection, [customer_id])).get(customer_id, set())
        month = calendar.month_of(now)
        while month in closed:
            month = calendar.after(month)
        row = {
            "id": new_id("ent"),
            "customer_id": customer_id,
            "month": month,
            "item": ServiceItem.CORRECTION.value,
            "quantity": "1",
            "price": price,
            "note": note,
            "created_by": None,
            "created_at": now,
        }
        await store.add_entry(connection, row)
        return str(row["id"])
