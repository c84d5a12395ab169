"""A carrier's CDR file, read by a mapping that is data: which column says what, in which spelling. Pure."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec

from xiaohao.billing.money import millionths
from xiaohao.clock import SECOND
from xiaohao.numbers.model import canonical

_OFFSET_MAX_H: Final = 14
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
    if not 1 <= mapped.unit_s <= 3600 or not 0 <= mapped.tolerance_s <= 3600 or mapped.allowed_seconds < 0:
        raise MappingInvalid("unit_s 1 to 3600, tolerance_s 0 to 3600, allowed_seconds from 0")
    if len(mapped.delimiter) != 1 or abs(mapped.utc_offset_h) > _OFFSET_MAX_H:
        raise MappingInvalid("delimiter is one character, utc_offset_h within 14 hours")
    names = (mapped.caller, mapped.called, mapped.begins_at, mapped.seconds, mapped.amount)
    if not mapped.head and any(isinstance(name, str) for name in names):
        raise MappingInvalid("columns of a file without a head line are counted from 0")
    return mapped


def read(lines: Iterable[str], mapped: Mapped) -> Iterator[CarrierCall | Unreadable]:
    """The calls of a file, line by line. Raises MappingInvalid where a column is not there."""
    rows = csv.reader(lines, delimiter=mapped.delimiter)
    names = [name.strip() for name in next(rows, [])] if mapped.head else []
    first = 2 if mapped.head else 1
    places = {
        field: _place(getattr(mapped, field), names)
        for field in ("caller", "called", "begins_at", "seconds", "amount")
        if getattr(mapped, field) is not None
    }
    zone = timezone(timedelta(hours=mapped.utc_offset_h))
    for line, row in enumerate(rows, first):
        if row:
            yield _call(line, row, places, mapped, zone)


def _place(column: str | int, names: list[str]) -> int:
    if isinstance(column, int):
        return column
    if column not in names:
        raise MappingInvalid(f"the file has no column {column!r}")
    return names.index(column)


def _call(
    line: int, row: list[str], places: Mapping[str, int], mapped: Mapped, zone: timezone
) -> CarrierCall | Unreadable:
    found: dict[str, Any] = {"amount": None}
    for field, place in places.items():
        try:
            found[field] = _value(field, row[place].strip(), mapped, zone)
        except (IndexError, ValueError, InvalidOperation, OverflowError):
            return Unreadable(line, field)
    return CarrierCall(
        line, found["caller"], found["called"], found["begins_at"], found["seconds"], found["amount"]
    )


def _value(field: str, text: str, mapped: Mapped, zone: timezone) -> str | int:
    if field in ("caller", "called"):
        number = canonical(text)
        if number is None:
            raise ValueError("not a number")
        return number
    if field == "seconds":
        return int(text)
    if field == "amount":
        return millionths(Decimal(text))
    if mapped.time_format in _TIME:
        return int(Decimal(text) * (SECOND if mapped.time_format == "epoch" else 1000))
    moment = datetime.strptime(text, mapped.time_format)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp()) * SECOND
