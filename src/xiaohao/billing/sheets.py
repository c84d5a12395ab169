"""The detail of an invoice as CSV and as XLSX: every call with its charges, and the sums of every level."""

import csv
import io
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import xlsxwriter  # type: ignore[import-untyped]

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
_FIRST_AMOUNT: Final = CALL_COLUMNS.index("minutes")
_LEVELS: Final = ("lines", "applications", "kinds", "numbers", "days")
#: rows that a sheet can have; more calls than that go on in another one
_ROWS_MAX: Final = 1_000_000
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


async def write_xlsx(path: Path, document: Mapping[str, Any], pages: AsyncIterator[Page]) -> None:
    """An invoice's document and calls as a workbook: a sheet a level, and the calls. Memory stays small."""
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        head = book.add_format({"bold": True, "bottom": 1})
        money = book.add_format({"num_format": "#,##0.00####"})
        for level in _LEVELS:
            _level(book.add_worksheet(level), document.get(level, []), head, money)
        sheet, row, count = book.add_worksheet("calls"), 1, 1
        sheet.write_row(0, 0, CALL_COLUMNS, head)
        async for page in pages:
            for usage, charged in page:
                if row > _ROWS_MAX:
                    count += 1
                    sheet, row = book.add_worksheet(f"calls {count}"), 1
                    sheet.write_row(0, 0, CALL_COLUMNS, head)
                values = call_row(usage, charged)
                for place, value in enumerate(values):
                    if place >= _FIRST_AMOUNT:
                        sheet.write_number(row, place, _number(str(value)), money)
                    elif isinstance(value, int):
                        sheet.write_number(row, place, value)
                    elif value is not None:
                        sheet.write_string(row, place, value)
                row += 1


def _level(sheet: Any, rows: list[Mapping[str, Any]], head: Any, money: Any) -> None:
    if not rows:
        return
    names = [name for name in rows[0] if name != "about"]  # says what `note` says
    sheet.write_row(0, 0, names, head)
    for place, row in enumerate(rows, 1):
        for column, value in enumerate(row[name] for name in names):
            if isinstance(value, int):
                sheet.write_number(place, column, value)
            elif isinstance(value, str) and _is_amount(value):
                sheet.write_number(place, column, _number(value), money)
            elif value is not None:
                sheet.write_string(place, column, str(value))


def _is_amount(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit() and "." in text


def _number(text: str) -> float:
    # a spreadsheet knows nothing else; fifteen digits are exact enough to show any amount
    return float(Decimal(text))
