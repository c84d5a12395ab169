"""Reads a month page by page over a plain driver connection: what runs over millions of calls.

SQLAlchemy's work for each row would cost more than to rate it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Select, bindparam, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing.model import Cdr, Usage
from xiaohao.database.billing_tables import usages
from xiaohao.database.call_tables import cdr_corrections
from xiaohao.database.direct import Direct, Row, Statement
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs

PAGE: Final = 5000
#: the order of charging, and the place of a usage in it
ORDER: Final = (usages.c.at, usages.c.call_id, usages.c.part)
Place = tuple[int, str, int]
BEGINNING: Final[Place] = (-1, "", -1)

_USAGE: Final = tuple(usages.c[name] for name in Usage.__struct_fields__)
_CDR: Final = tuple(cdrs.c[name] for name in Cdr.__struct_fields__)
_CACHE_KIB: Final = 16_000


def _page(query: Select[Row]) -> Select[Row]:
    behind = tuple_(*ORDER) > tuple_(bindparam("at"), bindparam("call_id"), bindparam("part"))
    of_month = (usages.c.customer_id == bindparam("customer_id"), usages.c.month == bindparam("month"))
    return query.where(*of_month, behind).order_by(*ORDER).limit(bindparam("limit"))


_STORED: Final = _page(select(*_USAGE))
_CDR_OF: Final = cdrs.c.call_id == usages.c.call_id
#: of a usage what cannot be told from its CDR, its number and its moment; `call_id` stands in `Cdr`'s place
MEASURED: Final = (
    *("part", "at", "number", "application"),
    *("seconds", "acd_s", "protections", "recordings"),
)
_WITH_CDRS: Final = _page(
    select(*(usages.c[name] for name in (*MEASURED, "call_id")), *_CDR[1:]).join_from(
        usages, cdrs, _CDR_OF, isouter=True
    )
)
#: what a price depends on, of what a correction of a CDR can change
CORRECTED: Final = ("ringing_at", "answered_at", "ended_at", "reason", "acd_ms")
_CORRECTIONS: Final = (
    select(cdr_corrections.c.call_id, *(cdr_corrections.c[name] for name in CORRECTED))
    .where(cdr_corrections.c.customer_id == bindparam("customer_id"))
    .order_by(cdr_corrections.c.seq)
)
_PLACES: Final = [len(MEASURED) + Cdr.__struct_fields__.index(name) for name in CORRECTED]


class Reading:
    """Reads one month, one page after the other."""

    def __init__(
        self, direct: Direct, customer_id: str, month: int, shared: AsyncConnection | None = None
    ) -> None:
        """`shared`: a transaction of this task: what it has written and nobody else sees is read, too."""
        self._shared = shared
        self._direct = direct
        self._fixed = {"customer_id": customer_id, "month": month, "limit": PAGE}
        # who is cancelled leaves a thread behind that still reads
        self._busy = threading.Lock()

    def stored(self) -> AsyncIterator[list[Row]]:
        """Rows of usages, in the order of charging; their columns are `Usage`'s fields."""
        names = Usage.__struct_fields__
        return self._pages(_STORED, (names.index("at"), names.index("call_id"), names.index("part")))

    async def with_cdrs(self, since: int | None = None, until: int | None = None) -> AsyncIterator[list[Row]]:
        """The same usages with their CDRs, as corrected: `MEASURED`, then `Cdr`'s fields; of these only
        `call_id` is never None where the CDR is gone. Of all, or of those from `since` and before `until`.
        """
        # a customer has few corrections, and most have none
        rows = await self._read(Statement(self._direct.dialect, _CORRECTIONS))
        newer = {call_id: tuple(values) for call_id, *values in rows}
        place = (MEASURED.index("at"), len(MEASURED), MEASURED.index("part"))
        begin = BEGINNING if since is None else (since, "", -1)
        async for page in self._pages(_WITH_CDRS, place, begin):
            within = page
            if until is not None and page[-1][place[0]] >= until:
                within = [row for row in page if row[place[0]] < until]
            yield [_corrected(row, newer) for row in within] if newer else within
            if len(within) < len(page):
                return

    async def _pages(
        self, query: Select[Row], place: tuple[int, int, int], after: Place = BEGINNING
    ) -> AsyncIterator[list[Row]]:
        statement = Statement(self._direct.dialect, query)
        while True:
            page = await self._read(statement, at=after[0], call_id=after[1], part=after[2])
            if page:
                last = page[-1]
                after = (last[place[0]], last[place[1]], last[place[2]])
                yield page
            if len(page) < PAGE:
                return

    async def _read(self, statement: Statement, **values: Any) -> list[Row]:
        row = statement.row(**values, **self._fixed)
        if self._shared is not None:
            return [tuple(found) for found in await self._shared.exec_driver_sql(statement.text, row)]
        return await asyncio.to_thread(self._read_now, statement.text, row)

    def _read_now(self, text: str, row: Row) -> list[Row]:
        with self._busy, self._direct.read() as cursor:
            cursor.execute(text, row)
            return cursor.fetchall()

    def close(self) -> None:
        """Give the connection back."""
        with self._busy:
            self._direct.close()


def _corrected(row: Row, newer: dict[str, Row]) -> Row:
    values = newer.get(row[len(MEASURED)])
    if values is None:
        return row
    right = list(row)
    for place, value in zip(_PLACES, values, strict=True):
        right[place] = value
    return tuple(right)


@asynccontextmanager
async def reading(database: Database, customer_id: str, month: int) -> AsyncIterator[Reading]:
    """A connection for one month. Raises DatabaseUnavailable."""
    direct = Direct(database.url, cache_kib=_CACHE_KIB, fence=database.fence)
    if database.taken_part_in():
        async with database.read() as shared:
            yield Reading(direct, customer_id, month, shared)
        return
    found = Reading(direct, customer_id, month)
    try:
        yield found
    finally:
        found.close()
