"""What can be done with invoices and credit notes: draft → issued → paid, or void.

A document gets its number when it is issued, and is never changed from then on. What was wrong with it is put
right by a credit note.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, facts, invoice_store, money, store, wire
from xiaohao.billing.model import Charged, InvoiceKind, InvoiceState, Usage
from xiaohao.billing.runs import Month
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.ids import new_id

_DRAFT, _ISSUED, _PAID, _VOID = InvoiceState.DRAFT, InvoiceState.ISSUED, InvoiceState.PAID, InvoiceState.VOID


class Invoice(msgspec.Struct, frozen=True):
    """An invoice or a credit note. `document` is its JSON, None in lists; amounts are millionths."""

    id: str
    customer_id: str
    kind: InvoiceKind
    state: InvoiceState
    month: int
    number: str | None
    corrects: str | None
    contract_id: str | None
    net: int
    vat: int
    gross: int
    created_at: int
    issued_at: int | None
    paid_at: int | None
    voided_at: int | None
    note: str | None
    document: dict[str, Any] | None


class Invoices:
    """Invoices of every customer; where `customer_id` says who asks, None is the operator."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock

    async def get(self, invoice_id: str, customer_id: str | None = None) -> Invoice:
        """One document; a customer does not see drafts. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await invoice_store.find(connection, invoice_id, customer_id)
        if row is None or (customer_id is not None and row["number"] is None):
            raise not_found("invoice")
        return _invoice(row)

    async def page(
        self,
        after: str,
        limit: int,
        *,
        customer_id: str | None = None,
        month: int | None = None,
        state: InvoiceState | None = None,
        with_drafts: bool = True,
    ) -> list[Invoice]:
        """At most `limit` documents behind the id `after`, without their contents."""
        where = {"customer_id": customer_id, "month": month, "state": state}
        async with self._database.read() as connection:
            rows = await invoice_store.page(connection, after, limit, where, with_drafts=with_drafts)
        return [_invoice(row) for row in rows]

    async def issue(self, invoice_id: str) -> Invoice:
        """Give a draft its number; again is no error.

        Raises Refusal: `not_found`, `invoice_in_another_state`, `draft_outdated`.
        """
        now = self._clock()
        customer_id = (await self.get(invoice_id)).customer_id
        async with self._database.begin() as connection:
            await store.lock_accounts(connection, [customer_id], now)
            row = await self._locked(connection, invoice_id)
            if row["state"] in (_ISSUED, _PAID):
                return _invoice(row)
            _check(row, _DRAFT)
            if row["kind"] == InvoiceKind.INVOICE:
                closed = await store.closed_month(connection, customer_id, row["month"])
                rewritten = await invoice_store.is_being_rewritten(connection, customer_id, row["month"])
                if rewritten or (closed is not None and not closed["invoiced"]):
                    raise _outdated()
            year = calendar.month_of(now) // 100
            prefix = "" if row["kind"] == InvoiceKind.INVOICE else "C"
            count = await invoice_store.next_number(connection, f"{prefix}{year}")
            values = {"state": _ISSUED.value, "number": f"{prefix}{year}-{count:06d}", "issued_at": now}
            await invoice_store.set_state(connection, invoice_id, _DRAFT, values)
            return await self._again(connection, invoice_id)

    async def pay(self, invoice_id: str) -> Invoice:
        """An issued document is settled; again is no error.

        Raises Refusal: `not_found`, `invoice_in_another_state`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, invoice_id)
            if row["state"] != _PAID:
                _check(row, _ISSUED)
                values = {"state": _PAID.value, "paid_at": self._clock()}
                await invoice_store.set_state(connection, invoice_id, _ISSUED, values)
            return await self._again(connection, invoice_id)

    async def void(self, invoice_id: str, note: str) -> Invoice:
        """Take a draft or an unpaid document back; its number stays used. Again is no error.

        Raises Refusal: `not_found`, `invoice_in_another_state`.
        """
        now = self._clock()
        customer_id = (await self.get(invoice_id)).customer_id
        async with self._database.begin() as connection:
            await store.lock_accounts(connection, [customer_id], now)
            row = await self._locked(connection, invoice_id)
            if row["state"] != _VOID:
                _check(row, _DRAFT, _ISSUED)
                if await invoice_store.credits_of(connection, invoice_id):
                    raise _another_state("An invoice that has credit notes is not taken back.")
                values = {"state": _VOID.value, "voided_at": now, "note": note}
                await invoice_store.set_state(connection, invoice_id, InvoiceState(row["state"]), values)
                invoice = row if row["corrects"] is None else await self._locked(connection, row["corrects"])
                await self._settle(connection, invoice, -row["gross_amount"], now)
            return await self._again(connection, invoice_id)

    async def credit(self, invoice_id: str, gross: int, note: str) -> Invoice:
        """Draft a credit note of `gross` millionths for an issued invoice.

        Raises Refusal: `not_found`, `invoice_in_another_state`, `credit_too_large`, `validation_failed`.
        """
        if gross <= 0 or money.to_the_cent(gross) != gross:
            raise validation_failed("amount", "an amount above zero in whole cents")
        now = self._clock()
        customer_id = (await self.get(invoice_id)).customer_id
        async with self._database.begin() as connection:
            await store.lock_accounts(connection, [customer_id], now)
            row = await self._locked(connection, invoice_id)
            _check(row, _ISSUED, _PAID)
            if row["kind"] != InvoiceKind.INVOICE:
                raise _another_state("Only invoices are corrected.")
            credits_ = await invoice_store.credits_of(connection, row["id"])
            already = -sum(one["gross_amount"] for one in credits_)
            if already + gross > row["gross_amount"]:
                left = money.text_of(max(row["gross_amount"] - already, 0))
                raise conflict("credit_too_large", "The credit is too large", f"At most {left} are left.")
            net = money.without_tax(gross, _vat_percent(row))
            if already + gross == row["gross_amount"]:
                # what takes back all of it takes back all of the tax
                net = row["net_amount"] + sum(one["net_amount"] for one in credits_)
            note_id = new_id("inv")
            await invoice_store.add(connection, _credit_row(row, note_id, gross, net, note, now))
            await self._settle(connection, row, -gross, now)
            return await self._again(connection, note_id)

    async def calls(self, invoice: Invoice) -> AsyncIterator[list[tuple[Usage, Charged]]]:
        """Every call of an invoice with its charges, as they were when it was drafted.

        A credit note has an amount and no calls.
        """
        if invoice.kind is not InvoiceKind.INVOICE:
            return
        async with self._database.read() as connection:
            contract = None
            if invoice.contract_id is not None:
                contract = await store.find_contract(connection, invoice.contract_id)
        terms = facts.in_force_of(contract).terms
        month = await Month.of(self._database, invoice.customer_id, invoice.month, terms)
        async for page in month.charged():
            yield page

    @staticmethod
    async def _settle(connection: AsyncConnection, row: Mapping[Any, Any], amount: int, now: int) -> None:
        """An invoice of a prepaid customer comes to so much more, or less: give back what is not owed."""
        if paid_in_advance(row):
            accounts = await store.lock_accounts(connection, [row["customer_id"]], now)
            settled = accounts[row["customer_id"]]["settled_amount"] + amount
            await store.change_account(connection, row["customer_id"], {"settled_amount": settled})

    @staticmethod
    async def _locked(connection: AsyncConnection, invoice_id: str) -> Mapping[Any, Any]:
        row = await invoice_store.find(connection, invoice_id, lock=True)
        if row is None:
            raise not_found("invoice")
        return row

    @staticmethod
    async def _again(connection: AsyncConnection, invoice_id: str) -> Invoice:
        row = await invoice_store.find(connection, invoice_id)
        if row is None:
            raise not_found("invoice")
        return _invoice(row)


def paid_in_advance(row: Mapping[Any, Any]) -> bool:
    """Whether a document is of the money that the customer had paid in when it was drafted."""
    return bool(msgspec.json.decode(row["document"]).get("prepaid"))


def _check(row: Mapping[Any, Any], *states: InvoiceState) -> None:
    if row["state"] not in states:
        raise _another_state(f"The document is {row['state']}.")


def _outdated() -> Refusal:
    detail = "Something was changed since. Close the month once more and look at the new draft."
    return conflict("draft_outdated", "The draft is out of date", detail)


def _another_state(detail: str) -> Refusal:
    return conflict("invoice_in_another_state", "The invoice is in another state", detail)


def _vat_percent(row: Mapping[Any, Any]) -> Decimal:
    return msgspec.convert(msgspec.json.decode(row["document"])["vat_percent"], Decimal)


def _credit_row(
    row: Mapping[Any, Any], note_id: str, gross: int, net: int, note: str, now: int
) -> dict[str, Any]:
    original = msgspec.json.decode(row["document"])
    line = dict.fromkeys(("kind", "unit", "quantity", "seconds", "price", "about"))
    document = wire.encode(
        {
            "format": 1,
            "kind": InvoiceKind.CREDIT_NOTE.value,
            "corrects": row["number"],
            **{name: original[name] for name in ("month", "currency", "customer", "seller", "vat_percent")},
            "lines": [{**line, "item": "credit", "amount": money.text_of(-gross), "note": note}],
            "total": money.text_of(-gross),
            "net": money.text_of(-net),
            "vat": money.text_of(net - gross),
            "gross": money.text_of(-gross),
        }
    )
    return {
        "id": note_id,
        "customer_id": row["customer_id"],
        "kind": InvoiceKind.CREDIT_NOTE.value,
        "state": _DRAFT.value,
        "month": row["month"],
        "corrects": row["id"],
        "contract_id": row["contract_id"],
        "net_amount": -net,
        "vat_amount": net - gross,
        "gross_amount": -gross,
        "document": document.decode(),
        "document_sha256": hashlib.sha256(document).hexdigest(),
        "created_at": now,
        "note": note,
    }


def _invoice(row: Mapping[Any, Any]) -> Invoice:
    document = row.get("document")
    return Invoice(
        id=row["id"],
        customer_id=row["customer_id"],
        kind=InvoiceKind(row["kind"]),
        state=InvoiceState(row["state"]),
        month=row["month"],
        number=row["number"],
        corrects=row["corrects"],
        contract_id=row["contract_id"],
        net=row["net_amount"],
        vat=row["vat_amount"],
        gross=row["gross_amount"],
        created_at=row["created_at"],
        issued_at=row["issued_at"],
        paid_at=row["paid_at"],
        voided_at=row["voided_at"],
        note=row["note"],
        document=None if document is None else msgspec.json.decode(document),
    )
