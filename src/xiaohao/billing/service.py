"""What can be done with contracts, accounts, entries by hand, and running usage."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, facts, invoice_store, money, store, terms, usage_store, wire
from xiaohao.billing.estimate import running_bill
from xiaohao.billing.model import Entry, InvoiceState, Usage
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import measure_anew
from xiaohao.billing.runs import Month, Progress, silent
from xiaohao.billing.spending import Spending, left_of
from xiaohao.billing.terms import ServiceItem, Terms
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.secrecy import Vault


class Contract(msgspec.Struct, frozen=True):
    """A version of a contract, in force from its month until the next one's."""

    id: str
    customer_id: str
    from_month: int
    to_month: int | None
    version: int
    terms: dict[str, Any]
    note: str | None
    created_by: str | None
    created_at: int


class Account(msgspec.Struct, frozen=True):
    """Where a customer stands. Amounts are millionths; `left` None: there is no limit."""

    customer_id: str
    prepaid: bool
    funds: int
    settled: int
    spending_limit: int | None
    warn_below: int | None
    this_month: int
    open_months: int
    left: int | None
    warned_at: int | None
    stopped_at: int | None


class Payment(msgspec.Struct, frozen=True):
    """Money that came, or (below zero) was given back, in millionths."""

    id: str
    amount: int
    note: str
    created_at: int


class Limits(msgspec.Struct, frozen=True):
    """How a customer pays, and how much it may spend. Amounts are millionths."""

    prepaid: bool = False
    spending_limit: int | None = None
    warn_below: int | None = None


class Billing:
    """Contracts, accounts, entries and usage. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock
        self._spending = Spending(vault)
        self._rater = Rater(database, vault, clock, self._spending)

    async def add_contract(
        self,
        customer_id: str,
        from_month: int,
        document: Mapping[str, Any],
        note: str | None = None,
        by: str | None = None,
        to_month: int | None = None,
    ) -> Contract:
        """A new version of a customer's contract, in force from a month on, and to another.

        Raises Refusal: `not_found`, `contract_not_valid`, `month_invoiced`.
        """
        checked = take(document)
        if to_month is not None and to_month < from_month:
            raise validation_failed("to_month", "not before from_month")
        now = self._clock()
        row = {
            "id": new_id("con"),
            "customer_id": customer_id,
            "from_month": from_month,
            "to_month": to_month,
            "terms": terms.write(checked),
            "note": note,
            "created_by": by,
            "created_at": now,
        }
        async with self._database.begin() as connection:
            await self._require(connection, customer_id)
            await store.lock_accounts(connection, [customer_id], now)
            closed = await self._closed_from(connection, customer_id, from_month, to_month)
            for month in closed:
                await self._require_no_invoice(connection, customer_id, month)
            await store.to_be_drafted_again(connection, customer_id, closed)
            before = await store.contracts_of(connection, [customer_id])
            version = await store.add_contract(connection, row)
            await measure_anew(connection, row, facts.Contracts(before), now)
        return _contract({**row, "version": version})

    @staticmethod
    async def _closed_from(
        connection: AsyncConnection, customer_id: str, first: int, last: int | None
    ) -> list[int]:
        closed = (await store.closed_of(connection, [customer_id])).get(customer_id, set())
        return sorted(one for one in closed if first <= one <= (last or one))

    @staticmethod
    async def _require_no_invoice(connection: AsyncConnection, customer_id: str, month: int) -> None:
        invoice = await invoice_store.of_month(connection, customer_id, month)
        if invoice is not None and invoice["state"] != InvoiceState.DRAFT:
            raise _invoiced(month)

    async def contracts(self, customer_id: str) -> list[Contract]:
        """Every version, in the order in which they come into force. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            return [_contract(row) for row in await store.contracts_of(connection, [customer_id])]

    async def terms_of(self, customer_id: str, month: int | None = None) -> tuple[str | None, Terms]:
        """The contract in force in a month (None: now): its id, None for the standard tariff, and terms.

        Raises Refusal: `not_found`.
        """
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            found = await facts.in_force(connection, customer_id, month or self._this_month())
        return found.contract_id, found.terms

    async def account(self, customer_id: str) -> Account:
        """Where a customer stands now. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            row: Mapping[Any, Any] = await store.account(connection, customer_id) or _NO_ACCOUNT
            running = await self._spending.running(connection, customer_id, self._clock())
        limited = row["spending_limit"] is not None or row["prepaid"]
        return Account(
            customer_id,
            bool(row["prepaid"]),
            row["funds"],
            row["settled_amount"],
            row["spending_limit"],
            row["warn_below"],
            running.this_month,
            running.open_months,
            left_of(row, running) if limited else None,
            row["warned_at"],
            row["stopped_at"],
        )

    async def set_limits(self, customer_id: str, limits: Limits) -> Account:
        """Change how a customer pays and how much it may spend; in force at once.

        Raises Refusal: `not_found`.
        """
        now = self._clock()
        async with self._database.begin() as connection:
            await self._require(connection, customer_id)
            await store.lock_accounts(connection, [customer_id], now)
            await store.change_account(connection, customer_id, msgspec.structs.asdict(limits))
        await self._rater.review(customer_id)
        return await self.account(customer_id)

    async def pay_in(self, customer_id: str, amount: int, note: str, by: str | None = None) -> Account:
        """Money of a customer has come, or (below zero) was given back. Raises Refusal: `not_found`."""
        now = self._clock()
        payment = {"id": new_id("pay"), "customer_id": customer_id, "amount": amount, "note": note}
        async with self._database.begin() as connection:
            await self._require(connection, customer_id)
            account = (await store.lock_accounts(connection, [customer_id], now))[customer_id]
            await store.add_payment(connection, {**payment, "created_by": by, "created_at": now})
            await store.change_account(connection, customer_id, {"funds": account["funds"] + amount})
        await self._rater.review(customer_id)
        return await self.account(customer_id)

    async def add_entry(
        self,
        customer_id: str,
        month: int,
        item: ServiceItem,
        quantity: Decimal,
        price: Decimal | None,
        note: str,
        by: str | None = None,
    ) -> str:
        """Enter something by hand at the contract's price, or another; gives its id.

        Raises Refusal: `not_found`, `month_invoiced`, `validation_failed`.
        """
        if item is ServiceItem.CORRECTION:
            raise validation_failed("item", "only rating a month anew makes corrections")
        now = self._clock()
        async with self._database.begin() as connection:
            await self._require(connection, customer_id)
            await store.lock_accounts(connection, [customer_id], now)
            await self._require_no_invoice(connection, customer_id, month)
            if price is None:
                price = (await facts.in_force(connection, customer_id, month)).terms.services.get(item)
            if price is None:
                raise validation_failed("price", "the contract has no price for it")
            if abs(quantity * price) > _ENTRY_MAX:
                raise validation_failed("quantity", f"more than {_ENTRY_MAX:,} in one entry")
            row = {
                "id": new_id("ent"),
                "customer_id": customer_id,
                "month": month,
                "item": item.value,
                "quantity": str(quantity),
                "price": str(price),
                "note": note,
                "created_by": by,
                "created_at": now,
            }
            await store.add_entry(connection, row)
            await store.to_be_drafted_again(connection, customer_id, [month])
        await self._rater.review(customer_id)
        return str(row["id"])

    async def entries(self, customer_id: str, month: int) -> list[Entry]:
        """What was entered by hand for a month. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            return await facts.entries(connection, customer_id, month)

    async def take_entry_away(self, customer_id: str, entry_id: str) -> None:
        """Take back what was entered, until its month has its invoice.

        Raises Refusal: `not_found`, `month_invoiced`.
        """
        async with self._database.begin() as connection:
            await self._require(connection, customer_id)
            await store.lock_accounts(connection, [customer_id], self._clock())
            month = await store.take_entry_away(connection, customer_id, entry_id)
            if month is None:
                raise not_found("entry")
            await self._require_no_invoice(connection, customer_id, month)
            await store.to_be_drafted_again(connection, customer_id, [month])
        await self._rater.review(customer_id)

    async def payments(self, customer_id: str) -> list[Payment]:
        """What a customer paid, the newest first. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            rows = await store.payments_of(connection, customer_id)
        return [Payment(row["id"], row["amount"], row["note"], row["created_at"]) for row in rows]

    async def usage(self, customer_id: str, month: int | None = None) -> dict[str, Any]:
        """The bill of a month as far as it has come. Raises Refusal: `not_found`."""
        month = month or self._this_month()
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
            found = await facts.in_force(connection, customer_id, month)
            sums = await usage_store.sums_of_month(connection, customer_id, month)
            tenures = await facts.tenures(connection, customer_id)
            entries = await facts.entries(connection, customer_id, month)
            own = {tenure.number for tenure in tenures}
            others = [row["number"] for row in sums if row["number"] not in own]
            shared = await facts.applications(connection, customer_id, others)
            bill = running_bill(found.terms, month, tenures, sums, entries, shared)
            pools = facts.pools_in([one.application for one in bill.numbers])
            names = await store.pool_names(connection, customer_id, pools)
        return {"contract_id": found.contract_id, **wire.bill_document(bill, names)}

    async def call(self, call_id: str, customer_id: str | None = None) -> list[dict[str, Any]]:
        """What a call costs and why, as its months stand now. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            owner = await usage_store.customer_of_call(connection, call_id)
            if owner is None or customer_id not in (None, owner):
                raise not_found("call")
            usages = await usage_store.usages_of_calls(connection, [call_id])
        found = []
        for usage in sorted(usages, key=lambda one: one.part):
            month = await Month.of(self._database, owner, usage.month)
            charged = await month.charge_of(usage)
            found.append(
                {**wire.usage_document(usage, charged), **await self._bill_of(owner, usage, customer_id)}
            )
        return found

    async def _bill_of(self, owner: str, usage: Usage, asked_by: str | None) -> dict[str, str | None]:
        """By which contract a usage has its price, and on which invoice it is; customers see no drafts."""
        async with self._database.read() as connection:
            contract = await facts.in_force(connection, owner, usage.month)
            invoice = await invoice_store.of_month(connection, owner, usage.month)
        shown = invoice if asked_by is None or (invoice is not None and invoice["number"]) else None
        return {
            "contract_id": contract.contract_id,
            "invoice_id": None if shown is None else shown["id"],
            "invoice_number": None if shown is None else shown["number"],
        }

    async def what_if(
        self,
        customer_id: str,
        month: int,
        document: Mapping[str, Any],
        progress: Progress = silent,
    ) -> dict[str, Any]:
        """A month under its contract and under other terms, side by side; nothing is changed.

        Raises Refusal: `not_found`, `contract_not_valid`.
        """
        others = take(document)
        async with self._database.read() as connection:
            await self._require(connection, customer_id)
        actual = await (await Month.of(self._database, customer_id, month)).bill(progress)
        other = await (await Month.of(self._database, customer_id, month, others)).bill_anew(progress)
        return {
            "month": calendar.month_text(month),
            "actual": wire.bill_document(actual, {}),
            "what_if": wire.bill_document(other, {}),
            "difference": money.text_of(other.gross - actual.gross),
        }

    def _this_month(self) -> int:
        return calendar.month_of(self._clock())

    @staticmethod
    async def _require(connection: AsyncConnection, customer_id: str) -> None:
        if await store.customer_state(connection, customer_id) is None:
            raise not_found("customer")


#: sums of thousands of them are held by the database
_ENTRY_MAX: Final = 1_000_000_000
_NO_ACCOUNT: Final[Mapping[str, Any]] = {
    "prepaid": False,
    "funds": 0,
    "settled_amount": 0,
    "spending_limit": None,
    "warn_below": None,
    "warned_at": None,
    "stopped_at": None,
}


def take(document: Mapping[str, Any]) -> Terms:
    """The terms of a request. Raises Refusal: `contract_not_valid`."""
    try:
        return terms.take(document)
    except terms.TermsInvalid as error:
        detail = f"{error}."
        raise Refusal("contract_not_valid", "The document is no contract", detail, 422) from None


def _invoiced(month: int) -> Refusal:
    detail = (
        f"The invoice of {calendar.month_text(month)} is issued."
        " Correct it by a credit note, or enter it into a later month."
    )
    return conflict("month_invoiced", "The month has its invoice", detail)


def _contract(row: Mapping[Any, Any]) -> Contract:
    return Contract(
        row["id"],
        row["customer_id"],
        row["from_month"],
        row["to_month"],
        row["version"],
        msgspec.json.decode(row["terms"]),
        row["note"],
        row["created_by"],
        row["created_at"],
    )
