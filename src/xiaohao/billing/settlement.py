"""The month's bill: rents, usage, what was entered by hand, discounts, the minimum and the tax. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from xiaohao.billing import money
from xiaohao.billing.model import Bill, Entry, Line, Tenure, Usage
from xiaohao.billing.rating import (
    Pricer,
    Tally,
    applications_of,
    days_of_numbers,
    rent_charge,
    seconds_by_number,
    unique,
)
from xiaohao.billing.terms import RecordItem, ServiceItem, Terms
from xiaohao.numbers.model import Kind


def rate(
    terms: Terms,
    month: int,
    usages: Iterable[Usage],
    tenures: Sequence[Tenure],
    entries: Sequence[Entry] = (),
) -> Bill:
    """The bill of a month, all at once. Usages may come in any order and more than once.

    What runs over millions of calls does the same piece by piece: see `runs.py`.
    """
    found = [usage for usage in unique(usages) if usage.month == month]
    pricer, tally = Pricer(terms, month, tenures, seconds_by_number(found)), Tally()
    for usage in found:
        tally.add(usage, pricer.charge(usage))
    return settle(terms, month, tally, tenures, entries)


def settle(
    terms: Terms, month: int, tally: Tally, tenures: Sequence[Tenure], entries: Sequence[Entry] = ()
) -> Bill:
    """The bill of what was tallied. Adds the rents to the tally: use it once."""
    lines = [
        *_rents(terms, month, tally, tenures),
        *_minutes(tally),
        *_acd(terms, tally),
        *_records(terms, tally),
        *(_entry(terms, entry) for entry in entries if entry.item is not ServiceItem.CORRECTION),
    ]
    lines += _discounts(terms, lines)
    lines += _minimum(terms, lines)
    # of another month: this one's discounts, minimum and tax on top are not for them
    lines += (_correction(terms, entry) for entry in entries if entry.item is ServiceItem.CORRECTION)
    total = sum(line.amount for line in lines)
    rest = money.to_the_cent(total) - total
    if rest:
        lines.append(Line("rounding", None, None, None, None, rest))
        total += rest
    vat = terms.vat
    if vat.included:
        gross, net = total, money.without_tax(total, vat.percent)
    else:
        net, gross = total, total + money.share(total, vat.percent)
    return Bill(
        month,
        terms.currency,
        lines,
        sorted(tally.numbers.values(), key=lambda one: (one.application or "", one.kind, one.number)),
        sorted(tally.days.values(), key=lambda one: one.day),
        total,
        net,
        vat.percent,
        gross - net,
        gross,
    )


def _rents(terms: Terms, month: int, tally: Tally, tenures: Sequence[Tenure]) -> list[Line]:
    rents = {kind: rent for rent in terms.rents for kind in rent.kinds}
    applications = applications_of(month, tenures)
    counts: Counter[tuple[Kind, Decimal, int]] = Counter()
    for (number, kind), days in sorted(days_of_numbers(month, tenures).items()):
        if (rent := rents.get(kind)) is None:
            continue
        amount = rent_charge(terms, rent, month, days)
        tally.of_number(applications[number], kind, number).rent += amount
        counts[kind, rent.price, amount] += 1
    lines = []
    for (kind, price, amount), count in sorted(counts.items(), key=lambda one: (one[0][0], -one[0][2])):
        whole = money.charge(price, 1, terms.places)
        note, about = None, None
        if amount != whole:
            about = {"whole": money.text_of(whole)}
            note = f"part of a month of {about['whole']}"
        price_text = money.text_of(amount)
        lines.append(Line("rent", kind, "number", str(count), price_text, amount * count, note, about))
    return lines


def _minutes(tally: Tally) -> list[Line]:
    lines = []
    for kind, seconds in sorted(tally.included.items()):
        lines.append(Line("included_minutes", kind, "minute", str(seconds), "0.00", 0))
    for (kind, price), (seconds, amount) in sorted(
        tally.minutes.items(), key=lambda one: (one[0][0], -(one[0][1] or 0))
    ):
        said = None if price is None else money.text_of(price)
        note = "the contract has no price for this kind" if price is None else None
        about: dict[str, str] | None = {} if price is None else None
        lines.append(Line("minutes", kind, "minute", str(seconds), said, amount, note, about))
    return lines


def _acd(terms: Terms, tally: Tally) -> list[Line]:
    seconds = sum(one.acd_s for one in tally.numbers.values())
    if terms.acd is None or not seconds:
        return []
    amount = sum(one.acd for one in tally.numbers.values())
    price = money.text_of(money.millionths(terms.acd.price))
    return [Line("acd", None, "minute", str(seconds), price, amount)]


def _records(terms: Terms, tally: Tally) -> list[Line]:
    lines = []
    for record in terms.records:
        of_item = [
            (one.protections, one.number_protection)
            if record.item is RecordItem.NUMBER_PROTECTION
            else (one.recordings, one.recording)
            for one in tally.numbers.values()
        ]
        count, amount = sum(one[0] for one in of_item), sum(one[1] for one in of_item)
        if count:
            price = money.text_of(money.charge(record.price, 1, terms.places))
            lines.append(Line(record.item, None, "cdr", str(count), price, amount))
    return lines


def _entry(terms: Terms, entry: Entry) -> Line:
    amount = money.charge(entry.price, entry.quantity, terms.places)
    return Line(
        entry.item,
        None,
        "piece",
        str(entry.quantity),
        money.text_of(money.millionths(entry.price)),
        amount,
        entry.note,
    )


def _correction(terms: Terms, entry: Entry) -> Line:
    amount = money.charge(entry.price, entry.quantity, terms.places)
    if not terms.vat.included:
        amount = money.without_tax(amount, terms.vat.percent)
    return Line(entry.item, None, None, None, None, amount, entry.note)


def _discounts(terms: Terms, lines: Sequence[Line]) -> list[Line]:
    found = []
    for discount in terms.discounts:
        base = sum(line.amount for line in lines if discount.items is None or line.item in discount.items)
        amount = -money.share(base, discount.percent)
        if amount:
            about = {"percent": str(discount.percent), "items": " ".join(discount.items or ("everything",))}
            note = f"{discount.percent} % off {', '.join(discount.items or ('everything',))}"
            found.append(Line("discount", None, None, None, None, amount, note, about))
    return found


def _minimum(terms: Terms, lines: Sequence[Line]) -> list[Line]:
    least = money.millionths(terms.minimum)
    missing = least - sum(line.amount for line in lines)
    if not least or missing <= 0:
        return []
    about = {"least": money.text_of(least)}
    return [Line("minimum", None, None, None, None, missing, f"at least {about['least']}", about)]
