"""A month rated anew from its CDRs: first a report, and nothing changes before it is accepted.

Where the invoice is issued the usages stay as they were billed: what is accepted is the difference, as a
credit note or as a correction in the month that is open.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import (
    booking,
    calendar,
    facts,
    invoice_store,
    measure,
    money,
    shares,
    store,
    usage_store,
    wire,
)
from xiaohao.billing.anew import Pair
from xiaohao.billing.booking import Booking
from xiaohao.billing.facts import Contracts
from xiaohao.billing.model import Bill, Usage
from xiaohao.billing.rater import Rater
from xiaohao.billing.runs import Month, Progress, silent
from xiaohao.billing.terms import Terms
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found
from xiaohao.ids import new_id

#: so many calls of which something differs are told one by one; all are counted
_TOLD: Final = 1000
_COMPARED: Final = ("month", "number", "seconds", "acd_s", "protections", "recordings")


class Rerating(msgspec.Struct, frozen=True):
    """A month rated anew. `report` is its JSON."""

    id: str
    customer_id: str
    month: int
    state: str
    contract_id: str | None
    report: dict[str, Any]
    created_at: int


class Reratings:
    """Rates months anew."""

    def __init__(self, database: Database, rater: Rater, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._rater = rater
        self._booking = Booking(database, clock)
        self._clock = clock

    async def prepare(
        self,
        customer_id: str,
        month: int,
        by: str | None = None,
        progress: Progress = silent,
        processes: int = 1,
    ) -> Rerating:
        """Rate a month anew under the contract that is in force for it now, by so many processes.

        Raises Refusal: `not_found`.
        """
        await self._rater.rate_due()
        async with self._database.read() as connection:
            if await store.customer_state(connection, customer_id) is None:
                raise not_found("customer")
            invoice = await invoice_store.of_month(connection, customer_id, month)
            in_force = await facts.in_force(connection, customer_id, month)
        this = await Month.of(self._database, customer_id, month, in_force.terms)
        after, differences = await self._rated(this, progress, processes)
        issued = booking.is_issued(invoice)
        if issued and invoice is not None:
            before = msgspec.json.decode(invoice["document"])
            async with self._database.read() as connection:
                standing = await booking.booked(connection, invoice)
            gross = invoice["gross_amount"] + standing
            of_invoice = {"invoice_id": invoice["id"], "booked": money.text_of(standing)}
        else:
            bill = await this.bill(progress) if differences["changed"] else after
            before, gross, of_invoice = wire.bill_document(bill, {}), bill.gross, {}
        report = {
            "invoice_issued": issued,
            **of_invoice,
            **differences,
            "before": {name: before[name] for name in ("lines", "net", "vat", "gross")},
            "after": {
                name: value
                for name, value in wire.bill_document(after, {}).items()
                if name in ("lines", "net", "vat", "gross")
            },
            "difference": money.text_of(after.gross - gross),
        }
        now = self._clock()
        row = {
            "id": new_id("rer"),
            "customer_id": customer_id,
            "month": month,
            "state": "ready",
            "contract_id": in_force.contract_id,
            "report": wire.encode(report).decode(),
            "created_by": by,
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.begin() as connection:
            await invoice_store.add_rerating(connection, row)
        return await self.get(str(row["id"]))

    async def customers_of(self, month: int) -> list[str]:
        """Who used anything in a month."""
        await self._rater.rate_due()
        async with self._database.read() as connection:
            return await usage_store.customers_of_month(connection, month)

    async def page(
        self,
        after: str,
        limit: int,
        *,
        customer_id: str | None = None,
        month: int | None = None,
        state: str | None = None,
    ) -> list[Rerating]:
        """At most `limit` reratings behind the id `after`."""
        where = {"customer_id": customer_id, "month": month, "state": state}
        async with self._database.read() as connection:
            rows = await invoice_store.page_of_reratings(connection, after, limit, where)
        return [_rerating(row) for row in rows]

    async def get(self, rerating_id: str) -> Rerating:
        """One rerating. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await invoice_store.find_rerating(connection, rerating_id)
        if row is None:
            raise not_found("rerating")
        return _rerating(row)

    async def dismiss(self, rerating_id: str) -> Rerating:
        """Leave everything as it was. Raises Refusal: `not_found`, `rerating_in_another_state`."""
        async with self._database.begin() as connection:
            await self._move(connection, rerating_id, "ready", "dismissed")
        return await self.get(rerating_id)

    async def accept(self, rerating_id: str, progress: Progress = silent) -> Rerating:
        """Let it count. A run that was killed is gone on with by calling it again; twice is no error.

        Raises Refusal: `not_found`, `rerating_in_another_state`, `contract_changed`, `rerating_outdated`.
        """
        rerating = await self.get(rerating_id)
        if rerating.state != "accepting":
            rerating = await self._begin(rerating)
        if rerating.state == "accepting":
            await self._rewrite(rerating, progress)
        await self._rater.review(rerating.customer_id)
        return await self.get(rerating_id)

    async def _begin(self, rerating: Rerating) -> Rerating:
        """Book the difference where the invoice is issued; else say that the usages are being rewritten.

        All that could be done at the same time waits for the customer's account.
        """
        customer_id, month = rerating.customer_id, rerating.month
        async with self._database.shared() as connection:
            await store.lock_accounts(connection, [customer_id], self._clock())
            row = await invoice_store.find_rerating(connection, rerating.id, lock=True)
            if row is None:
                raise not_found("rerating")
            rerating = _rerating(row)
            if rerating.state in ("accepting", "accepted"):
                return rerating
            invoice = await invoice_store.of_month(connection, customer_id, month)
            issued = booking.is_issued(invoice)
            if issued is not rerating.report["invoice_issued"]:
                raise booking.outdated()
            if invoice is not None and issued:
                report = await self._booking.book(connection, invoice, rerating.id, rerating.report)
                values = {"report": wire.encode(report).decode()}
                await invoice_store.change_rerating(connection, rerating.id, values)
                await self._move(connection, rerating.id, "ready", "accepted")
                return replace(rerating, state="accepted")
            in_force = await facts.in_force(connection, customer_id, month)
            if in_force.contract_id != rerating.contract_id:
                detail = "The contract was changed since. Rate the month anew once more."
                raise conflict("contract_changed", "The contract was changed", detail)
            await self._move(connection, rerating.id, "ready", "accepting")
        return replace(rerating, state="accepting")

    async def go_on(self) -> None:
        """Carry out what was accepted and then interrupted."""
        async with self._database.read() as connection:
            unfinished = await invoice_store.unfinished_reratings(connection)
        for rerating_id in unfinished:
            await self.accept(rerating_id)

    @staticmethod
    async def _rated(month: Month, progress: Progress, processes: int) -> tuple[Bill, dict[str, Any]]:
        with month.ledger() as ledger:
            found = await shares.measure(month, ledger, _TOLD, progress, processes)
            told = [_told(*pair) for pair in found.changes]
            return month.settle(ledger), {"calls": found.calls, "changed": found.changed, "changes": told}

    async def _rewrite(self, rerating: Rerating, progress: Progress) -> None:
        # Each page is a transaction, and rewriting a page once more changes nothing: a run that was killed
        # begins again, and so does one under whose feet the contract was changed.
        customer_id, month = rerating.customer_id, rerating.month
        done = False
        while not done:
            async with self._database.read() as connection:
                before = await facts.in_force(connection, customer_id, month)
            await self._rewrite_under(rerating, before.terms, progress)
            async with self._database.begin() as connection:
                await store.lock_accounts(connection, [customer_id], self._clock())
                done = (
                    await facts.in_force(connection, customer_id, month)
                ).contract_id == before.contract_id
                if done:
                    await self._move(connection, rerating.id, "accepting", "accepted")
                    await store.to_be_drafted_again(connection, customer_id, [month])

    async def _rewrite_under(self, rerating: Rerating, terms: Terms, progress: Progress) -> None:
        month = await Month.of(self._database, rerating.customer_id, rerating.month, terms)
        async for page in month.anew():
            if page.changes:
                async with self._database.begin() as connection:
                    await store.lock_accounts(connection, [rerating.customer_id], self._clock())
                    changes = await _still_to_do(connection, page.changes)
                    await usage_store.replace_usages(
                        connection,
                        rerating.customer_id,
                        [before for before, _ in changes if before is not None],
                        [after for _, after in changes if after is not None],
                    )
            progress(page.rows)

    async def _move(self, connection: AsyncConnection, rerating_id: str, old: str, new: str) -> None:
        row = await invoice_store.find_rerating(connection, rerating_id, lock=True)
        if row is None:
            raise not_found("rerating")
        if row["state"] not in (old, new):
            raise _another_state(row)
        await invoice_store.change_rerating(
            connection, rerating_id, {"state": new, "updated_at": self._clock()}
        )


async def measure_anew(
    connection: AsyncConnection, contract: Mapping[str, Any], before: Contracts, now: int
) -> None:
    """Have open bills measured again where a contract that was just added measures otherwise than before.

    The worker does so; until then no invoice of these months is issued. `before`: the contracts without it.
    """
    customer_id: str = contract["customer_id"]
    after = Contracts(await store.contracts_of(connection, [customer_id]))
    otherwise = False
    month, used = contract["from_month"], await usage_store.months_of(connection, customer_id)
    while used and month <= used[-1]:
        terms = [contracts.in_force(customer_id, month).terms for contracts in (before, after)]
        # a call may be on the bill of a later month than that in which it arrived
        otherwise = otherwise or not measure.holds(*terms)
        if otherwise and month in used:
            invoice = await invoice_store.of_month(connection, customer_id, month)
            if not booking.is_issued(invoice):
                report = wire.encode({"invoice_issued": False, "contract_added": contract["id"]}).decode()
                row = {
                    "id": new_id("rer"),
                    "customer_id": customer_id,
                    "month": month,
                    "state": "accepting",
                    "contract_id": after.in_force(customer_id, month).contract_id,
                    "report": report,
                    "created_by": contract["created_by"],
                    "created_at": now,
                    "updated_at": now,
                }
                await invoice_store.add_rerating(connection, row)
        month = calendar.after(month)


async def _still_to_do(connection: AsyncConnection, changes: Sequence[Pair]) -> list[Pair]:
    """The changes that nobody has carried out since the page was read; the account is locked."""
    call_ids = {one.call_id for pair in changes for one in pair if one is not None}
    stored = {
        (one.call_id, one.part): one for one in await usage_store.usages_of_calls(connection, list(call_ids))
    }

    def is_as_before(before: Usage | None, after: Usage | None) -> bool:
        one = before or after
        now = None if one is None else stored.get((one.call_id, one.part))
        if before is None or now is None:
            return before is now
        return all(getattr(before, name) == getattr(now, name) for name in (*_COMPARED, "at"))

    return [pair for pair in changes if is_as_before(*pair)]


def _another_state(row: Mapping[Any, Any]) -> Refusal:
    detail = f"It is {row['state']}."
    return conflict("rerating_in_another_state", "The rerating is in another state", detail)


def _told(before: Usage | None, after: Usage | None) -> dict[str, Any]:
    def shown(usage: Usage | None) -> dict[str, Any] | None:
        return None if usage is None else {name: getattr(usage, name) for name in _COMPARED}

    one = before or after
    key = {"call_id": one and one.call_id, "part": one and one.part}
    return {**key, "before": shown(before), "after": shown(after)}


def _rerating(row: Mapping[Any, Any]) -> Rerating:
    return Rerating(
        row["id"],
        row["customer_id"],
        row["month"],
        row["state"],
        row["contract_id"],
        msgspec.json.decode(row["report"]),
        row["created_at"],
    )
