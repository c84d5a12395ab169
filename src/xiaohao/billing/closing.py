"""The month's close: from then on its usages stand still, and its invoice is drafted from them.

Each step can be done again: a run that was killed goes on where it was, and two that run at once make one
invoice, because both reckon the same and the table takes one.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, facts, invoice_store, store, wire
from xiaohao.billing.invoices import paid_in_advance
from xiaohao.billing.model import Bill, InvoiceKind, InvoiceState
from xiaohao.billing.rater import Rater
from xiaohao.billing.runs import Month, Progress, silent
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found
from xiaohao.ids import new_id

_HOUR: Final = 3_600_000_000
_LEASE: Final = "billing.close"


class Closing:
    """Closes months. `seller` is printed on the invoices."""

    def __init__(
        self, database: Database, rater: Rater, seller: str = "", clock: Callable[[], int] = now_us
    ) -> None:
        self._database = database
        self._rater = rater
        self._seller = seller
        self._clock = clock
        #: the month up to which no older one was left, and when that was seen
        self._caught_up: tuple[int, int] | None = None

    async def close(self, customer_id: str, month: int, progress: Progress = silent) -> str | None:
        """Close a customer's month and draft its invoice; gives its id, None where it costs nothing.

        A month that is closed is reckoned up again, and its invoice rewritten while it is a draft. Raises
        Refusal: `not_found`, `month_open` (it is not over).
        """
        now = self._clock()
        if now < calendar.end_of(month):
            detail = "A month is closed when it is over."
            raise conflict("month_open", "The month is still open", detail)
        await self._rater.rate_due()
        async with self._database.begin() as connection:
            if await store.customer_state(connection, customer_id) is None:
                raise not_found("customer")
            await store.lock_accounts(connection, [customer_id], now)
            await store.close_month(connection, customer_id, month, now)
        return await self._draft(customer_id, month, progress)

    async def _draft(self, customer_id: str, month: int, progress: Progress) -> str | None:
        async with self._database.read() as connection:
            known = await invoice_store.of_month(connection, customer_id, month)
            closed = await store.closed_month(connection, customer_id, month)
            in_force = await facts.in_force(connection, customer_id, month)
        if known is not None and known["state"] != InvoiceState.DRAFT:
            return str(known["id"])
        bill = await (await Month.of(self._database, customer_id, month, in_force.terms)).bill(progress)
        now = self._clock()
        async with self._database.begin() as connection:
            accounts = await store.lock_accounts(connection, [customer_id], now)
            known = await invoice_store.of_month(connection, customer_id, month)
            if known is not None and known["state"] != InvoiceState.DRAFT:
                return str(known["id"])
            prepaid = bool(accounts[customer_id]["prepaid"])
            values = await self._contents(connection, customer_id, bill, in_force.contract_id, prepaid)
            invoice_id: str | None = None
            if known is not None:
                invoice_id = known["id"]
                await invoice_store.rewrite_draft(connection, known["id"], values)
            elif bill.lines:
                invoice_id = new_id("inv")
                await invoice_store.add(
                    connection, {**_NEW_DRAFT, "id": invoice_id, "created_at": now, **values}
                )
            # what changed since the bill was begun makes the draft out of date at once
            await store.invoiced(connection, customer_id, month, 0 if closed is None else closed["changes"])
            # the draft before may have been made when the customer did not pay in advance, or still did
            before = 0 if known is None or not paid_in_advance(known) else known["gross_amount"]
            taken = bill.gross if prepaid and invoice_id is not None else 0
            if taken != before:
                settled = accounts[customer_id]["settled_amount"] + taken - before
                await store.change_account(connection, customer_id, {"settled_amount": settled})
        await self._rater.review(customer_id)
        return invoice_id

    async def _contents(
        self,
        connection: AsyncConnection,
        customer_id: str,
        bill: Bill,
        contract_id: str | None,
        prepaid: bool,
    ) -> dict[str, Any]:
        pools = facts.pools_in([one.application for one in bill.numbers])
        names = await store.pool_names(connection, customer_id, pools)
        document = wire.encode(
            {
                "format": 1,
                "kind": InvoiceKind.INVOICE.value,
                "customer": {"id": customer_id, "name": await store.customer_name(connection, customer_id)},
                "seller": self._seller,
                "contract_id": contract_id,
                "prepaid": prepaid,
                **wire.bill_document(bill, names),
            }
        )
        return {
            "customer_id": customer_id,
            "month": bill.month,
            "contract_id": contract_id,
            "net_amount": bill.net,
            "vat_amount": bill.vat,
            "gross_amount": bill.gross,
            "document": document.decode(),
            "document_sha256": hashlib.sha256(document).hexdigest(),
        }

    async def waiting(self, month: int) -> int:
        """For how many customers the month is to be closed."""
        async with self._database.read() as connection:
            return len(await store.without_invoice(connection, month))

    async def close_all(
        self,
        month: int,
        owner: str | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> int:
        """Close a month for every customer for whom that is not done; gives how many were.

        With `owner` only one worker does it at a time. `progress` gets customers done, and of how many.
        """
        async with self._database.read() as connection:
            waiting = await store.without_invoice(connection, month)
        return await self._close_each([(customer_id, month) for customer_id in waiting], owner, progress)

    async def _close_each(
        self,
        waiting: Sequence[tuple[str, int]],
        owner: str | None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> int:
        done = 0
        for customer_id, month in waiting:
            if owner is not None and not await self._is_ours(owner):
                break
            await self.close(customer_id, month)
            done += 1
            progress(done, len(waiting))
        if owner is not None and waiting:
            async with self._database.begin() as connection:
                await store.give_lease_back(connection, _LEASE, owner)
        return done

    async def close_due(self, owner: str, after_h: float) -> int:
        """What the worker does: close months so many hours after their end, and renew drafts.

        Every hour it looks for older months, too, that nobody closed: when the platform was down that long.
        """
        now = self._clock()
        async with self._database.read() as connection:
            outdated = await store.not_invoiced(connection)
        for customer_id, month in outdated:
            await self.close(customer_id, month)
        month = calendar.before(calendar.month_of(now))
        done = 0
        if self._caught_up is None or self._caught_up[0] != month or now - self._caught_up[1] >= _HOUR:
            async with self._database.read() as connection:
                missed = await store.missed_months(connection, month)
            done = await self._close_each(missed, owner)
            if done < len(missed):
                return done
            self._caught_up = month, now
        if now < calendar.end_of(month) + int(after_h * _HOUR):
            return done
        return done + await self.close_all(month, owner)

    async def _is_ours(self, owner: str) -> bool:
        async with self._database.begin() as connection:
            return await store.take_lease(connection, _LEASE, owner, self._clock())


_NEW_DRAFT: Final = {
    "kind": InvoiceKind.INVOICE.value,
    "state": InvoiceState.DRAFT.value,
    "number": None,
    "corrects": None,
    "issued_at": None,
    "paid_at": None,
    "voided_at": None,
    "note": None,
}
