"""A month rated from beginning to end, page by page: the memory it takes does not grow with the calls.

Nothing is written. `stored` rates the usages as they were measured; `anew` begins at the CDRs.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

import msgspec

from xiaohao.billing import calendar, facts, store, usage_store
from xiaohao.billing.measure import Meter
from xiaohao.billing.model import Bill, Charged, Entry, Tenure, Usage
from xiaohao.billing.rater import moved
from xiaohao.billing.rating import Pricer, Tally
from xiaohao.billing.settlement import settle
from xiaohao.billing.terms import Terms
from xiaohao.billing.usage_store import Place
from xiaohao.database.engine import Database
from xiaohao.numbers.model import Kind

PAGE: Final = 5000
_BEGINNING: Final[Place] = (-1, "", -1)
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
        self._database = database
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
        async with self._database.read() as connection:
            sums = await usage_store.sums_of_month(connection, self.customer_id, self.month)
        return sum(row["calls"] for row in sums)

    async def stored(self) -> AsyncIterator[list[Usage]]:
        """The usages as they were measured, in the order of charging."""
        after = _BEGINNING
        while True:
            async with self._database.read() as connection:
                page = await usage_store.usages_after(connection, self.customer_id, self.month, after, PAGE)
            if page:
                last = page[-1]
                after = (last.at, last.call_id, last.part)
                yield page
            if len(page) < PAGE:
                return

    async def anew(self, beyond: bool = False) -> AsyncIterator[list[Usage]]:
        """The usages of the month's CDRs, measured now. In the order of the stored ones.

        `beyond`: also those that belong to later months under these terms.
        """
        applications: dict[str, str | None] = {}
        meter = Meter(self.terms, applications)
        after, last_call = _BEGINNING, ""
        start, end = calendar.start_of(self.month), calendar.end_of(self.month)
        known: set[tuple[str, int]] = set()
        while True:
            async with self._database.read() as connection:
                page = await usage_store.cdrs_of_month(connection, self.customer_id, self.month, after, PAGE)
                others = {cdr.displayed or "" for *_, cdr in page} | {cdr.dialled for *_, cdr in page}
                if missing := others - applications.keys() - {""}:
                    applications.update(await store.pools_of_numbers(connection, missing))
            found: list[Usage] = []
            for place, number, application, cdr in page:
                applications[number] = application
                if cdr.call_id == last_call:  # the parts of one month of a call stand behind one another
                    continue
                last_call = cdr.call_id
                usages = meter.measure(cdr)
                if cdr.received_at < start or cdr.ended_at >= end or place[0] < start:
                    usages = self._within(usages, place[0] < start, beyond)
                    # the parts of two months do not, where both came late
                    usages = [one for one in usages if (one.call_id, one.part) not in known]
                    known.update((one.call_id, one.part) for one in usages)
                found += usages
            if page:
                after = page[-1][0]
                yield found
            if len(page) < PAGE:
                return

    def _within(self, usages: list[Usage], late: bool, beyond: bool) -> list[Usage]:
        found = []
        for usage in usages:
            if usage.month == self.month or (beyond and usage.month > self.month):
                found.append(usage)
            elif late and usage.month < self.month:
                found.append(moved(usage, self.month))  # it stays on the bill on which it is
        return found

    async def pricer(self) -> Pricer:
        """What gives the stored usages their prices."""
        async with self._database.read() as connection:
            seconds = await usage_store.seconds_before(connection, self.customer_id, self.month)
        return Pricer(
            self.terms, self.month, self.tenures, [(number, Kind(kind), s) for number, kind, s in seconds]
        )

    async def charge_of(self, usage: Usage) -> Charged:
        """What one stored usage costs, without looking at each of the others."""
        place = (usage.at, usage.call_id, usage.part)
        pricer = await self.pricer()
        async with self._database.read() as connection:
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
        tally = Tally()
        async for page in self.charged():
            for usage, charged in page:
                tally.add(usage, charged)
            progress(len(page))
        return settle(self.terms, self.month, tally, self.tenures, self.entries)

    async def bill_anew(self, progress: Progress = silent) -> Bill:
        """The bill of the CDRs, measured anew under these terms."""
        seconds: dict[tuple[str, Kind], int] = {}
        with _Spill() as spill:
            async for page in self.anew():
                for usage in page:
                    key = (usage.number, usage.kind)
                    seconds[key] = seconds.get(key, 0) + usage.seconds
                spill.put(page)
                progress(len(page))
            totals = [(number, kind, total) for (number, kind), total in seconds.items()]
            pricer, tally = Pricer(self.terms, self.month, self.tenures, totals), Tally()
            for page in spill:
                for usage in page:
                    tally.add(usage, pricer.charge(usage))
                await asyncio.sleep(0)
        return settle(self.terms, self.month, tally, self.tenures, self.entries)


class _Spill:
    """Pages of usages between two passes: in a file without a name, so that memory does not grow."""

    def __enter__(self) -> "_Spill":
        self._file = tempfile.TemporaryFile()
        self._lengths: list[int] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, page: list[Usage]) -> None:
        """Add a page behind the others."""
        self._lengths.append(self._file.write(_encode(page)))

    def __iter__(self) -> Iterator[list[Usage]]:
        self._file.seek(0)
        for length in self._lengths:
            yield _decode(self._file.read(length))


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Usage]).decode
