"""A carrier's bill, which has sums by number and no calls, read by a mapping and held against ours. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from xiaohao.billing.carrier_file import MappingInvalid, Unreadable, check, table, value_of
from xiaohao.billing.matching import Finding, Item, Match, Ours, Terms, Theirs

_MINUTE_S = 60


class MappedBill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a carrier writes its bill: a line a number. Columns as in `carrier_file.Mapped`."""

    kind: Literal["bill"]
    leg: Literal["in", "out"]
    number: str | int
    #: one of the two: what was billed of the number's calls
    seconds: str | int | None = None
    minutes: str | int | None = None
    amount: str | int | None = None
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    head: bool = True
    price: Decimal | None = None
    #: a begun unit of each call counts whole
    unit_s: int = 60
    #: how many seconds a number's sum may differ
    allowed_seconds: int = 60


class BillLine(msgspec.Struct, frozen=True):
    """A line of the bill. `amount` in millionths."""

    line: int
    number: str
    seconds: int
    amount: int | None


class OurSum(msgspec.Struct, frozen=True):
    """What a number's calls come to: seconds as they were, and in whole units of each call."""

    calls: int
    seconds: int
    billed_s: int


def take(document: Mapping[str, Any]) -> MappedBill:
    """The mapping of a document. Raises MappingInvalid."""
    try:
        mapped = msgspec.convert(document, MappedBill)
    except msgspec.ValidationError as error:
        raise MappingInvalid(str(error)) from None
    if (mapped.seconds is None) == (mapped.minutes is None):
        raise MappingInvalid("either seconds or minutes")
    check(mapped.unit_s, mapped.allowed_seconds, mapped.delimiter, mapped.price)
    return mapped


def read(lines: Iterable[str], mapped: MappedBill) -> Iterator[BillLine | Unreadable]:
    """The lines of a bill. Raises MappingInvalid where a column is not there."""
    columns = {name: getattr(mapped, name) for name in ("number", "seconds", "minutes", "amount")}
    named = {name: column for name, column in columns.items() if column is not None}
    for line, row in table(lines, named, mapped.delimiter, mapped.head):
        found: dict[str, Any] = {"amount": None}
        for name, text in row.items():
            value = None if text is None else value_of("called" if name == "number" else name, text)
            if value is None:
                yield Unreadable(line, name)
                break
            found[name] = value
        else:
            seconds: int = found["seconds"] if "seconds" in found else found["minutes"]
            yield BillLine(line, found["number"], seconds, found["amount"])


def compare(ours: Mapping[str, OurSum], lines: Iterable[BillLine], mapped: MappedBill) -> Match:
    """Every number of which the sums do not agree. Lines of one number are added up first."""
    terms = Terms(0, mapped.allowed_seconds, mapped.price, mapped.unit_s)
    theirs: dict[str, BillLine] = {}
    for line in lines:
        before = theirs.get(line.number)
        if before is not None:
            known = [one for one in (before.amount, line.amount) if one is not None]
            amount = sum(known) if known else None
            line = BillLine(before.line, line.number, before.seconds + line.seconds, amount)  # noqa: PLW2901
        theirs[line.number] = line
    items: list[Item] = []
    for number in sorted(ours.keys() | theirs.keys()):
        our, their = ours.get(number), theirs.get(number)
        left = None if our is None else Ours("", number, b"", 0, our.billed_s)
        right = None
        if their is not None:
            right = Theirs(their.line, number, b"", 0, their.seconds, their.amount)
        finding = _finding(left, right, terms)
        if finding is not None:
            due = None if left is None else terms.due(left.seconds)
            if finding is Finding.AMOUNT and right is not None:
                due = terms.due(right.seconds)
            items.append(Item(finding, left, right, due))
    priced = terms.price is not None
    return Match(
        len(ours.keys() & theirs.keys()),
        items,
        sum(one.billed_s for one in ours.values()),
        sum(one.seconds for one in theirs.values()),
        sum(one.amount or 0 for one in theirs.values()),
        sum(terms.due(one.seconds) or 0 for one in theirs.values()) if priced else None,
        sum(terms.due(one.billed_s) or 0 for one in ours.values()) if priced else None,
    )


def _finding(ours: Ours | None, theirs: Theirs | None, terms: Terms) -> Finding | None:
    if ours is None or theirs is None:
        return Finding.MISSING_HERE if ours is None else Finding.MISSING_THERE
    if abs(ours.seconds - theirs.seconds) > terms.allowed_seconds:
        return Finding.SECONDS
    due = terms.due(theirs.seconds)
    return Finding.AMOUNT if due is not None and theirs.amount not in (None, due) else None
