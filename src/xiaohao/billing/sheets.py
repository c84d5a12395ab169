"""The detail of an invoice as CSV: every call with its charges, and what each order costs."""

import csv
import io
import sqlite3
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from xiaohao.billing.calendar import day_text
from xiaohao.billing.model import Charged, Usage
from xiaohao.billing.money import text_of
from xiaohao.clock import rfc3339_local

CALL_COLUMNS: Final = (
    *("call_id", "part", "order_ref", "application", "number", "kind", "day", "begins_at"),
    *("seconds", "included_s", "prices", "minutes", "acd", "number_protection", "recording", "total"),
)
ORDER_COLUMNS: Final = (
    *("order_ref", "calls", "seconds", "included_s"),
    *("minutes", "acd", "number_protection", "recording", "total"),
)
_ADD_TO_ORDER: Final = (
    f"INSERT INTO orders VALUES ({', '.join('?' * len(ORDER_COLUMNS))}) ON CONFLICT DO UPDATE SET "  # noqa: S608 - of our names
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in ORDER_COLUMNS[1:])
)
_ORDERS_AT_ONCE: Final = 5000
#: what a spreadsheet would take for a formula
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Page = list[tuple[Usage, Charged]]


def call_row(usage: Usage, charged: Charged) -> list[str | int | None]:
    """A call, amounts as text."""
    return [
        usage.call_id,
        usage.part,
        usage.order_ref,
        usage.application,
        usage.number,
        usage.kind,
        day_text(usage.day),
        rfc3339_local(usage.at),
        usage.seconds,
        charged.included_s,
        " ".join(text_of(one.price) for one in charged.portions),
        text_of(charged.minutes),
        text_of(charged.acd),
        text_of(charged.protection),
        text_of(charged.recording),
        text_of(charged.total),
    ]


async def csv_of(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    """The calls as CSV (RFC 4180, UTF-8 with a mark so that Excel reads it as such), page by page."""
    yield b"\xef\xbb\xbf" + _csv([CALL_COLUMNS])
    async for page in pages:
        yield _csv([_safe(value) for value in call_row(*one)] for one in page)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _safe(value: str | int | None) -> str | int | None:
    # A customer's reference is text, whatever it looks like. Numbers begin with + and digits: they may stay.
    if isinstance(value, str) and value.startswith(_FORMULA) and not value[1:].replace(".", "").isdigit():
        return f"'{value}"
    return value


async def orders_csv(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    """What each order costs, as CSV. Sorted by a database in a file that goes away: memory stays small."""
    with sqlite3.connect("") as orders:
        orders.execute(f"CREATE TABLE orders ({', '.join(ORDER_COLUMNS)}, PRIMARY KEY (order_ref))")
        async for page in pages:
            orders.executemany(_ADD_TO_ORDER, [_order(usage, charged) for usage, charged in page])
        yield b"\xef\xbb\xbf" + _csv([ORDER_COLUMNS])
        found = orders.execute("SELECT * FROM orders ORDER BY order_ref")
        while rows := found.fetchmany(_ORDERS_AT_ONCE):
            yield _csv((_safe(row[0]), *row[1:4], *map(text_of, row[4:])) for row in rows)


def _order(usage: Usage, charged: Charged) -> tuple[str | int, ...]:
    counts = (usage.calls, usage.seconds, charged.included_s)
    amounts = (charged.minutes, charged.acd, charged.protection, charged.recording, charged.total)
    return usage.order_ref or "", *counts, *amounts
