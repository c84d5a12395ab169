"""Rates each CDR within seconds of its end, once, however often it is tried and by however many workers.

What makes it once is the key of a usage, written in one transaction with the sums and behind a lock of the
customer's account. CDRs are found by their seq; since transactions may commit in another order than they
took their seq, the last minute is looked through again and again for CDRs that came behind others.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, store, usage_store
from xiaohao.billing.facts import Contracts, application_of
from xiaohao.billing.measure import Meter
from xiaohao.billing.model import Cdr, Usage
from xiaohao.billing.spending import Spending
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

#: a transaction that has not committed by then never will
_SETTLED_S: Final = 60.0
_LOOK_BACK_S: Final = 5.0
_REVIEW_S: Final = 30.0
BATCH: Final = usage_store.AT_ONCE

Found = tuple[str, Cdr]


class Rater:
    """Rates CDRs that have no usage yet. `clock` gives microseconds since the epoch."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Callable[[], int] = now_us,
        spending: Spending | None = None,
    ) -> None:
        self._database = database
        self._spending = spending or Spending(vault)
        self._clock = clock
        self._next = 0
        self._looked_back = float("-inf")
        self._reviewed = float("-inf")
        #: up to which seq there were CDRs at which moment, while the low mark waits for the minute to pass
        self._heights: deque[tuple[float, int]] = deque()

    async def waiting(self) -> int:
        """About how many CDRs are to be looked at, for who watches the progress."""
        async with self._database.read() as connection:
            newest = await usage_store.newest_cdr(connection)
            return newest - await usage_store.low_mark(connection)

    async def rate_due(self, progress: Callable[[int], None] = lambda done: None) -> int:
        """Rate what is there, in batches; gives the number of calls that were rated.

        `progress` is told how many more were looked at.
        """
        now = time.monotonic()
        if now - self._reviewed >= _REVIEW_S:
            self._reviewed = now
            await self._review_stopped()
        again = now - self._looked_back >= _LOOK_BACK_S
        async with self._database.read() as connection:
            newest = await usage_store.newest_cdr(connection)
            if newest <= self._next and not again:
                return 0
            low = await usage_store.low_mark(connection)
        self._heights.append((now, newest))
        rated = await self._rate_from(low if again or self._next < low else self._next, progress)
        self._next = newest
        if again:
            self._looked_back = now
            await self._raise_low_mark(now, low)
        return rated

    async def _rate_from(self, seq: int, progress: Callable[[int], None]) -> int:
        rated = 0
        while True:
            async with self._database.read() as connection:
                page = await usage_store.cdrs_after(connection, seq, BATCH)
                call_ids = [call_id for _, call_id in page]
                done = await usage_store.rated_among(connection, call_ids)
                missing = [call_id for call_id in call_ids if call_id not in done]
                found = await usage_store.cdrs_of_calls(connection, missing) if missing else []
            if found:
                rated += await self.rate(found)
            progress(len(page))
            if len(page) < BATCH:
                return rated
            seq = page[-1][0]

    async def _raise_low_mark(self, now: float, low: int) -> None:
        # called right after everything above the low mark was rated
        settled = low
        while self._heights and self._heights[0][0] <= now - _SETTLED_S:
            settled = max(settled, self._heights.popleft()[1])
        if settled > low:
            async with self._database.begin() as connection:
                await usage_store.raise_low_mark(connection, settled)

    async def rate(self, found: list[Found]) -> int:
        """Rate these CDRs, except those that are rated by now; gives how many were rated here."""
        now = self._clock()
        customer_ids = {customer_id for customer_id, _ in found}
        async with self._database.begin() as connection:
            accounts = await store.lock_accounts(connection, customer_ids, now)
            closed = await store.closed_of(connection, customer_ids)
            done = await usage_store.rated_among(connection, [cdr.call_id for _, cdr in found])
            contracts = Contracts(await store.contracts_of(connection, customer_ids))
            numbers = {cdr.dialled for _, cdr in found} | {cdr.displayed or "" for _, cdr in found}
            pools = await store.pools_of_numbers(connection, numbers)
            # behind the lock: whoever corrects one of them has done so by now, or waits and measures it anew
            right = await usage_store.corrected(connection, [cdr for _, cdr in found])
            found = [(customer_id, cdr) for (customer_id, _), cdr in zip(found, right, strict=True)]
            rows: list[tuple[str, Usage]] = []
            calls = 0
            meters: dict[tuple[str, int], Meter] = {}
            applications: dict[str, dict[str, str | None]] = {one: {} for one in customer_ids}
            for customer_id, cdr in found:
                if cdr.call_id in done:
                    continue
                of_month = customer_id, calendar.month_of(cdr.received_at)
                theirs = applications[customer_id]
                for number in (cdr.dialled, cdr.displayed or ""):
                    theirs[number] = application_of(pools, number, customer_id)
                meter = meters.get(of_month)
                if meter is None:
                    meter = meters[of_month] = Meter(contracts.in_force(*of_month).terms, theirs)
                rows += [
                    (customer_id, open_month(usage, closed.get(customer_id, set())))
                    for usage in meter.measure(cdr)
                ]
                calls += 1
            await usage_store.add_usages(connection, rows)
            for customer_id in sorted({customer_id for customer_id, _ in rows}):
                await self._spending.review(connection, customer_id, accounts[customer_id], now)
        return calls

    async def correct(self, connection: AsyncConnection, customer_id: str, call_id: str) -> str:
        """Measure a call anew whose CDR is being corrected in the transaction of `connection`.

        Gives `measured_anew`; `not_measured_yet`: `rate_due` will find the correction; `month_closed`: what
        was billed stays, and rating the month anew shows the difference.
        """
        now = self._clock()
        accounts = await store.lock_accounts(connection, [customer_id], now)
        before = await usage_store.usages_of_calls(connection, [call_id])
        if not before:
            return "not_measured_yet"
        closed = (await store.closed_of(connection, [customer_id])).get(customer_id, set())
        if any(usage.month in closed for usage in before):
            return "month_closed"
        [(_, cdr)] = await usage_store.cdrs_of_calls(connection, [call_id])
        [cdr] = await usage_store.corrected(connection, [cdr])
        contracts = Contracts(await store.contracts_of(connection, [customer_id]))
        pools = await store.pools_of_numbers(connection, {cdr.dialled, cdr.displayed or ""})
        theirs = {number: application_of(pools, number, customer_id) for number in pools}
        terms = contracts.in_force(customer_id, calendar.month_of(cdr.received_at)).terms
        after = [open_month(usage, closed) for usage in Meter(terms, theirs).measure(cdr)]
        await usage_store.replace_usages(connection, customer_id, before, after)
        await self._spending.review(connection, customer_id, accounts[customer_id], now)
        return "measured_anew"

    async def _review_stopped(self) -> None:
        """Let those go on who have money again, as when a month began."""
        async with self._database.read() as connection:
            stopped = await store.stopped_accounts(connection)
        for customer_id in stopped:
            await self.review(customer_id)

    async def review(self, customer_id: str) -> None:
        """Look at a customer's limits now: after a payment, or when they were changed."""
        now = self._clock()
        async with self._database.begin() as connection:
            accounts = await store.lock_accounts(connection, [customer_id], now)
            await self._spending.review(connection, customer_id, accounts[customer_id], now)


def open_month(usage: Usage, closed: set[int]) -> Usage:
    """The usage on the bill of its month, or of the next one that is still open."""
    if usage.month not in closed:
        return usage
    month = usage.month
    while month in closed:
        month = calendar.after(month)
    return moved(usage, month)


def moved(usage: Usage, month: int) -> Usage:
    """The usage on the bill of another month."""
    values = {name: getattr(usage, name) for name in Usage.__struct_fields__}
    return Usage(**{**values, "month": month})
