"""Which of a carrier's calls is which of ours, and what does not agree. Pure; people are blind indexes."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from xiaohao.billing import money
from xiaohao.clock import SECOND


class Finding(StrEnum):
    """What does not agree."""

    #: the carrier has it, we have not
    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    SECONDS = "seconds"
    #: the carrier takes another amount than its price makes of its own seconds
    AMOUNT = "amount"
    UNREADABLE = "unreadable"


class Ours(msgspec.Struct, frozen=True):
    """A leg of ours that was answered: the platform's number, the person, when, how long."""

    call_id: str
    number: str
    person: bytes
    at: int
    seconds: int


class Theirs(msgspec.Struct, frozen=True):
    """A line of the carrier's."""

    line: int
    number: str
    person: bytes
    at: int
    seconds: int
    amount: int | None


class Item(msgspec.Struct, frozen=True):
    """A call that does not agree; `ours` or `theirs` is None where it is missing."""

    finding: Finding
    ours: Ours | None
    theirs: Theirs | None
    #: what the carrier ought to have taken for it
    due: int | None


class Terms(msgspec.Struct, frozen=True):
    """When two calls are one, and what a carrier's call ought to cost."""

    tolerance_s: int
    allowed_seconds: int
    price: Decimal | None
    unit_s: int

    def due(self, seconds: int) -> int | None:
        """What so many seconds ought to cost; None: nobody knows."""
        if self.price is None:
            return None
        return money.per_minute(self.price, -(-seconds // self.unit_s) * self.unit_s, money.PLACES_MAX)


class Match(msgspec.Struct, frozen=True):
    """All that was compared. Amounts in millionths."""

    matched: int
    items: list[Item]
    our_seconds: int
    their_seconds: int
    #: what the carrier takes, what its own seconds ought to cost, what ours ought to
    their_amount: int
    their_due: int | None
    our_due: int | None


def match(ours: Sequence[Ours], theirs: Sequence[Theirs], terms: Terms) -> Match:
    """Pair calls of the same number and person, the nearest beginnings first, and tell the rest.

    Each call is in one pair at the most, so that a call which the carrier lists twice is missing here once.
    """
    pairs = _pairs(ours, theirs, terms.tolerance_s * SECOND)
    items: list[Item] = []
    for left, right in pairs:
        if abs(left.seconds - right.seconds) > terms.allowed_seconds:
            items.append(Item(Finding.SECONDS, left, right, terms.due(left.seconds)))
        else:
            due = terms.due(right.seconds)
            if due is not None and right.amount is not None and due != right.amount:
                items.append(Item(Finding.AMOUNT, left, right, due))
    paired_here = {left.call_id for left, _ in pairs}
    paired_there = {right.line for _, right in pairs}
    items += [
        Item(Finding.MISSING_THERE, one, None, terms.due(one.seconds))
        for one in ours
        if one.call_id not in paired_here
    ]
    items += [Item(Finding.MISSING_HERE, None, one, None) for one in theirs if one.line not in paired_there]
    items.sort(key=_moment)
    known = terms.price is not None
    return Match(
        len(pairs),
        items,
        sum(one.seconds for one in ours),
        sum(one.seconds for one in theirs),
        sum(one.amount or 0 for one in theirs),
        sum(terms.due(one.seconds) or 0 for one in theirs) if known else None,
        sum(terms.due(one.seconds) or 0 for one in ours) if known else None,
    )


def _moment(item: Item) -> tuple[int, int, str]:
    ours, theirs = item.ours, item.theirs
    if ours is not None:
        return ours.at, 0, ours.call_id
    return (theirs.at, theirs.line, "") if theirs is not None else (0, 0, "")


def _pairs(ours: Iterable[Ours], theirs: Iterable[Theirs], tolerance: int) -> list[tuple[Ours, Theirs]]:
    by_key: dict[tuple[str, bytes], tuple[list[Ours], list[Theirs]]] = {}
    for one in ours:
        by_key.setdefault((one.number, one.person), ([], []))[0].append(one)
    for other in theirs:
        by_key.setdefault((other.number, other.person), ([], []))[1].append(other)
    pairs: list[tuple[Ours, Theirs]] = []
    for left, right in by_key.values():
        near = list(_near(left, right, tolerance))
        taken_here: set[str] = set()
        taken_there: set[int] = set()
        for *_, call_id, line, one, other in sorted(near, key=lambda candidate: candidate[:4]):
            if call_id not in taken_here and line not in taken_there:
                taken_here.add(call_id)
                taken_there.add(line)
                pairs.append((one, other))
    return pairs


def _near(
    left: list[Ours], right: list[Theirs], tolerance: int
) -> Iterator[tuple[int, int, str, int, Ours, Theirs]]:
    """Candidates: the difference of beginnings and of seconds, the names, the calls."""
    right.sort(key=lambda other: other.at)
    moments = [other.at for other in right]
    for one in left:
        first, last = bisect_left(moments, one.at - tolerance), bisect_right(moments, one.at + tolerance)
        for other in right[first:last]:
            gap = abs(one.at - other.at), abs(one.seconds - other.seconds)
            yield *gap, one.call_id, other.line, one, other
