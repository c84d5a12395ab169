"""A carrier's CDR file, read by a mapping that is data: which column says what, in which spelling. Pure."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Literal

import msgspec

from xiaohao.billing.money import millionths
from xiaohao.clock import SECOND
from xiaohao.numbers.model import canonical

_OFFSET_MAX_H: Final = 14
_TOLERANCE_MAX_S: Final = 3600
_UNIT_MAX_S: Final = 3600
_PRICE_MAX: Final = 1_000_000
#: what the database's columns take
_SECONDS_MAX: Final = 2_000_000_000
_AMOUNT_MAX: Final = 10**15
#: the end of the year 9999
_MOMENT_MAX: Final = 253_402_300_800 * SECOND
_DIGITS_MAX: Final = 20
_TIME: Final = ("epoch", "epoch_ms")


class Mapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a carrier writes its calls. Columns are named as in the file's head line, or counted from 0."""

    #: which of our legs the file is about: calls that the carrier brought, or that it took on
    leg: Literal["in", "out"]
    caller: str | int
    called: str | int
    begins_at: str | int
    seconds: str | int
    amount: str | int | None = None
    #: `epoch`, `epoch_ms`, or as for strptime
    time_format: str = "%Y-%m-%d %H:%M:%S"
    #: of times without an offset of their own
    utc_offset_h: float = 8
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    head: bool = True
    #: what the carrier ought to take a minute, and per begun how many seconds; None: amounts are not checked
    price: Decimal | None = None
    unit_s: int = 60
    #: how far both sides' beginnings may lie apart, and how many seconds their durations
    tolerance_s: int = 30
    allowed_seconds: int = 1
    kind: Literal["calls"] = "calls"


class CarrierCall(msgspec.Struct, frozen=True):
    """A line of the file. Numbers are canonical; `amount` in millionths."""

    line: int
    caller: str
    called: str
    at: int
    seconds: int
    amount: int | None


class Unreadable(msgspec.Struct, frozen=True):
    """A line that the mapping cannot read; `column` says where, its text is not repeated."""

    line: int
    column: str


class MappingInvalid(ValueError):
    """The document is no mapping, or does not fit the file; the text says why."""


def take(document: Mapping[str, Any]) -> Mapped:
    """The mapping of a document. Raises MappingInvalid."""
    try:
        mapped = msgspec.convert(document, Mapped)
    except msgspec.ValidationError as error:
        raise MappingInvalid(str(error)) from None
    check(mapped.unit_s, mapped.allowed_seconds, mapped.delimiter, mapped.price)
    _check_time_format(mapped.time_format)
    if not 0 <= mapped.tolerance_s <= _TOLERANCE_MAX_S or abs(mapped.utc_offset_h) > _OFFSET_MAX_H:
        raise MappingInvalid("tolerance_s 0 to 3600, utc_offset_h within 14 hours")
    return mapped


def check(unit_s: int, allowed_seconds: int, delimiter: str, price: Decimal | None) -> None:
    """What all mappings have in common. Raises MappingInvalid."""
    if not 1 <= unit_s <= _UNIT_MAX_S or allowed_seconds < 0:
        raise MappingInvalid("unit_s 1 to 3600, allowed_seconds from 0")
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise MappingInvalid("delimiter is one character")
    if price is not None and not (price.is_finite() and 0 <= price <= _PRICE_MAX):
        raise MappingInvalid(f"price 0 to {_PRICE_MAX}")


def _check_time_format(text: str) -> None:
    if text in _TIME:
        return
    try:
        datetime.strptime("", text)
    except re.error:
        raise MappingInvalid("time_format names something twice") from None
    except ValueError as error:
        # any other says only that nothing is no such time
        if "bad directive" in str(error) or "stray %" in str(error):
            raise MappingInvalid(f"time_format: {error}") from None


def read(lines: Iterable[str], mapped: Mapped) -> Iterator[CarrierCall | Unreadable]:
    """The calls of a file, line by line. Raises MappingInvalid where a column is not there."""
    names = ("caller", "called", "begins_at", "seconds", "amount")
    columns = {name: getattr(mapped, name) for name in names if getattr(mapped, name) is not None}
    zone = timezone(timedelta(hours=mapped.utc_offset_h))
    for line, row in table(lines, columns, mapped.delimiter, mapped.head):
        yield _call(line, row, mapped, zone)


def table(
    lines: Iterable[str], columns: Mapping[str, str | int], delimiter: str, head: bool
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The wanted columns of a CSV file with the number of their line; None where a line is too short.

    Raises MappingInvalid.
    """
    if not head and any(isinstance(column, str) for column in columns.values()):
        raise MappingInvalid("columns of a file without a head line are counted from 0")
    rows = _rows(_without_mark(lines), delimiter)
    names = [name.strip() for name in next(rows, [])] if head else []
    places = {field: _place(column, names) for field, column in columns.items()}
    for line, row in enumerate(rows, 2 if head else 1):
        if row:
            yield (
                line,
                {field: row[place].strip() if place < len(row) else None for field, place in places.items()},
            )


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a file without the mark that some programs put before UTF-8."""
    rest = iter(lines)
    for first in rest:
        yield first.removeprefix("\ufeff")
        break
    yield from rest


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        yield from rows
    except csv.Error as error:
        raise MappingInvalid(f"line {rows.line_num}: {error}") from None


def _place(column: str | int, names: list[str]) -> int:
    if isinstance(column, int):
        if column < 0:
            raise MappingInvalid("columns are counted from 0")
        return column
    if column not in names:
        raise MappingInvalid(f"the file has no column {column!r}")
    return names.index(column)


def _call(
    line: int, row: Mapping[str, str | None], mapped: Mapped, zone: timezone
) -> CarrierCall | Unreadable:
    found: dict[str, Any] = {"amount": None}
    for field, text in row.items():
        value = _moment(text, mapped, zone) if field == "begins_at" else value_of(field, text)
        if value is None or (field == "seconds" and isinstance(value, int) and value < 0):
            return Unreadable(line, field)
        found[field] = value
    return CarrierCall(
        line, found["caller"], found["called"], found["begins_at"], found["seconds"], found["amount"]
    )


def value_of(field: str, text: str | None) -> str | int | None:
    """A canonical number, seconds (`75` or `0:01:15`; minutes as seconds, too), or millionths.

    None where it is none of them, or greater than any bill's.
    """
    try:
        if text is None:
            return None
        if field in ("caller", "called"):
            return canonical(text)
        if field == "amount":
            return _within(millionths(_decimal(text.replace(",", ""))), _AMOUNT_MAX)
        if field == "minutes":
            minutes = _decimal(text.replace(",", ""))
            return _within(int((minutes * 60).to_integral_value(ROUND_HALF_UP)), _SECONDS_MAX)
        seconds = 0
        for part in text.split(":"):
            seconds = seconds * 60 + int(part)
    except (ValueError, ArithmeticError):
        return None
    return _within(seconds, _SECONDS_MAX)


def _decimal(text: str) -> Decimal:
    """Raises ValueError, ArithmeticError."""
    value = Decimal(text)
    # 1e999999 would take a minute to write out
    if not value.is_finite() or value.adjusted() > _DIGITS_MAX:
        raise ValueError("too large")
    return value


def _within(value: int, most: int) -> int | None:
    return value if abs(value) <= most else None


def _moment(text: str | None, mapped: Mapped, zone: timezone) -> int | None:
    try:
        if text is None:
            return None
        if mapped.time_format in _TIME:
            moment = _decimal(text) * (SECOND if mapped.time_format == "epoch" else 1000)
            return _within(int(moment), _MOMENT_MAX)
        time = datetime.strptime(text, mapped.time_format)
        if time.tzinfo is None:
            time = time.replace(tzinfo=zone)
        return int(time.timestamp()) * SECOND
    except (ValueError, ArithmeticError):
        return None
