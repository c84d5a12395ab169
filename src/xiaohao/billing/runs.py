"""A month rated from beginning to end, page by page: the memory it takes does not grow with the calls.

Nothing is written. `bill` rates the usages as they were measured; `bill_anew` begins at the CDRs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from xiaohao.billing import facts, usage_store
from xiaohao.billing.anew import Anew, Measured
from xiaohao.billing.ledger import Ledger
from xiaohao.billing.model import Bill, Charged, Entry, Tenure, Usage
from xiaohao.billing.rating import Pricer
from xiaohao.billing.reading import reading
from xiaohao.billing.settlement import settle
from xiaohao.billing.terms import Terms
from xiaohao.database.engine import Database
from xiaohao.numbers.model import Kind

Progress = Callable[[int], None]


def silent(_: int) -> None:
    """Nobody watches."""


class Month:
    """One month of one customer under some terms, with what the bill needs beside the calls."""

    def __init__(
        self,
        database: Database,
        customer_id: str,
        month: int,
        terms: Terms,
        tenures: Sequence[Tenure],
        entries: Sequence[Entry],
    ) -> None:
        self.database = database
        self.customer_id = customer_id
        self.month = month
        self.terms = terms
        self.tenures = tenures
        self.entries = entries

    @classmethod
    async def of(
        cls, database: Database, customer_id: str, month: int, terms: Terms | None = None
    ) -> "Month":
        """The month under its contract, or under other terms."""
        async with database.read() as connection:
            if terms is None:
                terms = (await facts.in_force(connection, customer_id, month)).terms
            tenures = await facts.tenures(connection, customer_id)
            entries = await facts.entries(connection, customer_id, month)
        return cls(database, customer_id, month, terms, tenures, entries)

    async def count(self) -> int:
        """How many calls the month has, for who watches the progress."""
        async with self.database.read() as connection:
            sums = await usage_store.sums_of_month(connection, self.customer_id, self.month)
        return sum(row["calls"] for row in sums)

    async def stored(self) -> AsyncIterator[list[Usage]]:
        """The usages as they were measured, in the order of charging."""
        async with reading(self.database, self.customer_id, self.month) as rows:
            async for page in rows.stored():
                yield [Usage(*row) for row in page]

    def anew(self, since: int | None = None, until: int | None = None) -> AsyncIterator[Measured]:
        """The usages of the month's CDRs, measured now, beside the stored ones, in the order of these.

        Of all of them, or of those whose time as it is stored begins from `since` and before `until` (µs).
        """
        return Anew(self.database, self.customer_id, self.month, self.terms).pages(since, until)

    async def pricer(self) -> Pricer:
        """What gives the stored usages their prices."""
        async with self.database.read() as connection:
            seconds = await usage_store.seconds_before(connection, self.customer_id, self.month)
        return Pricer(
            self.terms, self.month, self.tenures, [(number, Kind(kind), s) for number, kind, s in seconds]
        )

    async def charge_of(self, usage: Usage) -> Charged:
        """What one stored usage costs, without looking at each of the others."""
        place = (usage.at, usage.call_id, usage.part)
        pricer = await self.pricer()
        async with self.database.read() as connection:
            before = await usage_store.seconds_before(connection, self.customer_id, self.month, place)
        for number, kind, seconds in before:
            pricer.skip(number, Kind(kind), seconds)
        return pricer.charge(usage)

    async def charged(self) -> AsyncIterator[list[tuple[Usage, Charged]]]:
        """Every stored usage with what it costs, in order."""
        pricer = await self.pricer()
        async for page in self.stored():
            yield [(usage, pricer.charge(usage)) for usage in page]

    async def bill(self, progress: Progress = silent) -> Bill:
        """The bill of what is stored."""
        with self.ledger() as ledger:
            async for page in self.stored():
                ledger.add(page)
                progress(len(page))
                await asyncio.sleep(0)
            return self.settle(ledger)

    async def bill_anew(self, progress: Progress = silent) -> Bill:
        """The bill of the CDRs, measured anew under these terms."""
        with self.ledger() as ledger:
            async for page in self.anew():
                ledger.add(page.usages)
                progress(page.rows)
                await asyncio.sleep(0)
            return self.settle(ledger)

    def ledger(self) -> Ledger:
        """An empty one for the month."""
        return Ledger(self.terms, self.month, self.tenures)

    def settle(self, ledger: Ledger) -> Bill:
        """The bill of all that the ledger has."""
        return settle(self.terms, self.month, ledger.tally(), self.tenures, self.entries)
