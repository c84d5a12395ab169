"""Rating once more, slowly and obviously: fractions, real dates, one charge at a time, nothing shared.

Written from `docs/billing.md` and not from the code. Gives the cents (as a fraction of the currency) of every
charge of every call, and of the bill.
"""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

from xiaohao.billing.model import Cdr, Tenure
from xiaohao.billing.terms import Terms
from xiaohao.numbers.model import kind_of

CHINA = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def china(us: int) -> datetime:
    return (EPOCH + timedelta(microseconds=us)).astimezone(CHINA)


def half_up(value: Fraction, places: int) -> Fraction:
    unit = Fraction(1, 10**places)
    sign = -1 if value < 0 else 1
    return sign * math.floor(abs(value) / unit + Fraction(1, 2)) * unit


def midnight_after(moment: datetime) -> datetime:
    """The midnight that ends the month of a moment."""
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    return datetime(year, month, 1, tzinfo=CHINA)


def rate_of(terms: Terms, kind: str) -> Any:
    return next((rate for rate in terms.rates if kind in rate.kinds), None)


def rent_of(terms: Terms, kind: str) -> Any:
    return next((rent for rent in terms.rents if kind in rent.kinds), None)


class Piece:
    """What of a call is in one month, on one leg."""

    def __init__(self, call: Cdr, leg: int, half: int, number: str, begins: datetime, seconds: int) -> None:
        self.call, self.number, self.begins, self.seconds = call, number, begins, seconds
        self.kind = kind_of(number).value
        self.order = (begins, call.call_id, leg, half)
        self.first = leg == 0 and half == 0
        self.included = 0
        self.charges: list[Fraction] = []


def pieces_of(call: Cdr, terms: Terms) -> list[Piece]:
    begins_at = {
        "answered": call.answered_at,
        "ringing": call.ringing_at,
        "received": call.received_at,
    }[terms.signal.value]
    free = call.reason in [reason.value for reason in terms.free_reasons]
    talk_ms = 0
    if begins_at is not None and not free:
        talk_ms = max(call.ended_at // 1000 - begins_at // 1000, 0)
    begins = china(call.received_at if begins_at is None else begins_at)
    ends = china(call.ended_at)
    numbers = [call.dialled]
    if terms.leg.value == "displayed":
        numbers = [call.displayed or call.dialled]
    if terms.leg.value == "both" and call.displayed and talk_ms:
        numbers.append(call.displayed)
    found = []
    for leg, number in enumerate(numbers):
        rate = rate_of(terms, kind_of(number).value)
        unit = rate.unit_s if rate else 60
        seconds = math.ceil(Fraction(talk_ms, 1000 * unit)) * unit
        midnight = midnight_after(begins)
        if terms.month.value == "end":
            found.append(Piece(call, leg, 0, number, ends, seconds))
        elif terms.month.value == "split" and talk_ms and ends > midnight:
            ms_before = (midnight - EPOCH) // timedelta(milliseconds=1) - (
                (begins - EPOCH) // timedelta(milliseconds=1)
            )
            before = min(math.ceil(Fraction(ms_before, 1000 * unit)) * unit, seconds)
            found.append(Piece(call, leg, 0, number, begins, before))
            found.append(Piece(call, leg, 1, number, midnight, seconds - before))
        else:
            found.append(Piece(call, leg, 0, number, begins, seconds))
    return found


def days_had(year: int, month: int, number: str, tenures: list[Tenure]) -> int:
    """Days of the month on which the number was the customer's at some moment."""
    count = 0
    day = datetime(year, month, 1, tzinfo=CHINA)
    while day.month == month:
        next_day = day + timedelta(days=1)
        if any(
            tenure.number == number
            and china(tenure.since) < next_day
            and (tenure.until is None or china(tenure.until) > day)
            and (tenure.until is None or tenure.until > tenure.since)
            for tenure in tenures
        ):
            count += 1
        day = next_day
    return count


def month_length(year: int, month: int) -> int:
    return (midnight_after(datetime(year, month, 1, tzinfo=CHINA)) - timedelta(days=1)).day


def obvious(terms: Terms, year: int, month: int, calls: list[Cdr], tenures: list[Tenure]) -> dict[str, Any]:
    """Charges by call, by number, by order, by application, and the total before discounts."""
    length = month_length(year, month)
    by_number: dict[str, Fraction] = defaultdict(Fraction)
    allowance: dict[Any, int] = defaultdict(int)

    def purse(number: str) -> Any:
        rent = rent_of(terms, kind_of(number).value)
        return id(rent) if rent and rent.included and rent.included.pooled else number

    for number in sorted({tenure.number for tenure in tenures}):
        kind = kind_of(number).value
        rent, days = rent_of(terms, kind), days_had(year, month, number, tenures)
        if rent is None or days == 0:
            continue
        part = Fraction(days, length)
        if rent.pro_rata.value == "full":
            part = Fraction(1)
        if rent.pro_rata.value == "half" and days < length:
            part = Fraction(1, 2) if days <= 15 else Fraction(1)
        by_number[number] += half_up(Fraction(rent.price) * part, terms.places)
        if rent.included:
            seconds = Fraction(rent.included.minutes * 60)
            if rent.included.pro_rata:
                unit = rate_of(terms, kind).unit_s if rate_of(terms, kind) else 1
                seconds = math.floor(seconds * days / length / unit) * Fraction(unit)
            allowance[purse(number)] += int(seconds)

    known = {call.call_id: call for call in calls}
    pieces = [piece for call in known.values() for piece in pieces_of(call, terms)]
    pieces = [piece for piece in pieces if (piece.begins.year, piece.begins.month) == (year, month)]
    pieces.sort(key=lambda piece: piece.order)
    for piece in pieces:
        if rate_of(terms, piece.kind) is not None:
            piece.included = min(allowance[purse(piece.number)], piece.seconds)
            allowance[purse(piece.number)] -= piece.included
    for rate in terms.rates:
        of_rate = [piece for piece in pieces if piece.kind in rate.kinds]
        total = sum(piece.seconds - (0 if rate.included_count else piece.included) for piece in of_rate)
        used = 0
        for piece in of_rate:
            if rate.included_count:
                used += piece.included
            left = piece.seconds - piece.included
            while left:
                reached = used if rate.graduated else total
                tier = next(
                    tier
                    for tier in rate.tiers
                    if tier.up_to is None
                    or (reached < tier.up_to * 60 if rate.graduated else reached <= tier.up_to * 60)
                )
                here = left
                if rate.graduated and tier.up_to is not None:
                    here = min(left, tier.up_to * 60 - used)
                piece.charges.append(half_up(Fraction(tier.price) * here / 60, terms.places))
                used += here
                left -= here
    for piece in pieces:
        if piece.first and piece.call.reason not in [reason.value for reason in terms.free_reasons]:
            piece.charges += extras(piece.call, terms)
    by_call: dict[str, Fraction] = defaultdict(Fraction)
    by_order: dict[str | None, Fraction] = defaultdict(Fraction)
    for piece in pieces:
        by_call[piece.call.call_id] += sum(piece.charges)
        by_order[piece.call.order_ref] += sum(piece.charges)
        by_number[piece.number] += sum(piece.charges)
    return {
        "calls": dict(by_call),
        "orders": dict(by_order),
        "numbers": {number: amount for number, amount in by_number.items() if amount},
        "total": half_up(sum(by_number.values(), Fraction(0)), 2),
    }


def extras(call: Cdr, terms: Terms) -> list[Fraction]:
    found = []
    for record in terms.records:
        wanted = call.displayed is not None if record.item.value == "number_protection" else call.recorded
        if wanted and (record.when.value == "all" or call.answered_at is not None):
            found.append(half_up(Fraction(record.price), terms.places))
    if terms.acd is not None and call.acd_ms:
        units = math.ceil(Fraction(call.acd_ms, 1000 * terms.acd.unit_s))
        found.append(half_up(Fraction(terms.acd.price) * units * terms.acd.unit_s / 60, terms.places))
    return found
