"""A month measured anew from its CDRs, page by page, beside what is stored of it. Nothing is written."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec

from xiaohao.billing import calendar, store, usage_store
from xiaohao.billing.facts import Contracts, application_of
from xiaohao.billing.measure import Meter, kind
from xiaohao.billing.model import Cdr, Usage
from xiaohao.billing.rater import moved
from xiaohao.billing.reading import MEASURED, reading
from xiaohao.billing.terms import Terms
from xiaohao.database.direct import Row
from xiaohao.database.engine import Database

Pair = tuple[Usage | None, Usage | None]

_WIDTH: Final = len(MEASURED)
_DIALLED, _DISPLAYED, _RECEIVED_AT = (
    _WIDTH + Cdr.__struct_fields__.index(name) for name in ("dialled", "displayed", "received_at")
)


class Measured(msgspec.Struct, frozen=True):
    """A page: what is on the month's bill now, and (stored, now) where that differs; `rows` were read."""

    usages: list[Usage]
    changes: list[Pair]
    rows: int


class Anew:
    """Measures what is on the bill of one month. A usage whose CDR is gone stays.

    As when it was rated, a call is measured under the contract of the month in which it arrived: in this one
    under `terms`, in another one under what is in force for that.
    """

    def __init__(self, database: Database, customer_id: str, month: int, terms: Terms) -> None:
        self._database = database
        self._customer_id = customer_id
        self._month = month
        self._applications: dict[str, str | None] = {}
        self._meters = {month: Meter(terms, self._applications)}
        self._contracts = Contracts(())
        self._closed: set[int] = set()

    async def pages(self, since: int | None = None, until: int | None = None) -> AsyncIterator[Measured]:
        """All of it, in the order of what is stored; or what begins from `since` and before `until` (µs)."""
        async with self._database.read() as connection:
            closed = await store.closed_of(connection, [self._customer_id])
            self._contracts = Contracts(await store.contracts_of(connection, [self._customer_id]))
        self._closed = closed.get(self._customer_id, set())
        async with reading(self._database, self._customer_id, self._month) as rows:
            async for page in rows.with_cdrs(since, until):
                await self._look_up_applications(page)
                measured, several = self._measured(page)
                if several:
                    await self._add_new_parts(measured, several)
                yield measured

    async def _look_up_applications(self, page: Sequence[Row]) -> None:
        known = self._applications
        missing = {row[_DIALLED] for row in page} | {row[_DISPLAYED] for row in page}
        if missing := missing - known.keys() - {None}:
            async with self._database.read() as connection:
                found = await store.pools_of_numbers(connection, missing)
            known.update((number, application_of(found, number, self._customer_id)) for number in missing)

    def _measured(self, page: Iterable[Row]) -> tuple[Measured, dict[str, list[Usage]]]:
        """The page, and further parts of its calls, of which it cannot be seen whether they are stored."""
        applications, measure, month = self._applications, self._meters[self._month].measure, self._month
        start, end = calendar.start_of(month), calendar.end_of(month)
        found: list[Usage] = []
        changes: list[Pair] = []
        several: dict[str, list[Usage]] = {}
        rows = 0
        for row in page:
            rows += 1
            part, at, number, application, seconds, acd_s, protections, recordings, *_ = row
            received_at = row[_RECEIVED_AT]
            if received_at is None:
                found.append(self._stored(row))
                continue
            # a call stays with the application that it was rated for; its other number has the present one
            present = applications.get(number)
            applications[number] = application
            cdr = Cdr(*row[_WIDTH:])
            usages = measure(cdr) if start <= received_at < end else self._measured_elsewhere(cdr)
            applications[number] = present
            after: Usage | None
            if len(usages) == 1:
                after = usages[0] if part == 0 else None
            else:
                after = next((one for one in usages if one.part == part), None)
                if part == 0:
                    several[usages[0].call_id] = usages[1:]
            if after is not None:
                if after.month != month:
                    after = self._billed(after)
                if after.month == month:
                    found.append(after)
            if (
                after is None
                or after.seconds != seconds
                or after.month != month
                or after.number != number
                or after.at != at
                or after.acd_s != acd_s
                or after.protections != protections
                or after.recordings != recordings
            ):
                changes.append((self._stored(row), after))
        return Measured(found, changes, rows), several

    def _measured_elsewhere(self, cdr: Cdr) -> list[Usage]:
        month = calendar.month_of(cdr.received_at)
        meter = self._meters.get(month)
        if meter is None:
            terms = self._contracts.in_force(self._customer_id, month).terms
            meter = self._meters[month] = Meter(terms, self._applications)
        return meter.measure(cdr)

    async def _add_new_parts(self, measured: Measured, several: dict[str, list[Usage]]) -> None:
        async with self._database.read() as connection:
            stored = await usage_store.usages_of_calls(connection, list(several))
        known = {(one.call_id, one.part) for one in stored}
        for usages in several.values():
            for usage in usages:
                if (usage.call_id, usage.part) not in known:
                    after = self._billed(usage)
                    measured.changes.append((None, after))
                    if after.month == self._month:
                        measured.usages.append(after)

    def _stored(self, row: Row) -> Usage:
        """The usage that a row is about."""
        part, at, number, application, seconds, acd_s, protections, recordings, call_id, *_ = row
        return Usage(
            call_id=call_id,
            part=part,
            month=self._month,
            day=calendar.day_of(at),
            at=at,
            number=number,
            kind=kind(number),
            application=application,
            order_ref=None,
            calls=1 if part == 0 else 0,
            seconds=seconds,
            acd_s=acd_s,
            protections=protections,
            recordings=recordings,
        )

    def _billed(self, usage: Usage) -> Usage:
        """The usage on the bill of its month, or of the next one that is open, or stay on this one."""
        month = usage.month
        while month != self._month and month in self._closed:
            month = calendar.after(month)
        return usage if month == usage.month else moved(usage, month)
