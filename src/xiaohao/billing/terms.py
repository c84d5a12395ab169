"""Contracts as data: what is charged, how much, and by which rule. The document is JSON, amounts are text.

Every choice has a default, written here and explained in `docs/billing.md`. `check` says what no document may
contain; what passed it can be rated.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from itertools import pairwise
from typing import Any, Final

import msgspec

from xiaohao.billing.money import PLACES_MAX
from xiaohao.calls.model import Reason
from xiaohao.numbers.model import Kind

_PRICE_MAX: Final = Decimal(1_000_000)
#: of a minute or a CDR: a month of so many millions of them is a sum that the database holds
_CALL_PRICE_MAX: Final = Decimal(1000)
_MINUTES_MAX: Final = 1_000_000_000
_UNIT_MAX_S: Final = 3600


class Leg(StrEnum):
    """Whose minutes are charged, by the kind of which number."""

    #: those of the number that was dialled
    DIALLED = "dialled"
    #: those of the number that the callee saw
    DISPLAYED = "displayed"
    BOTH = "both"


class Signal(StrEnum):
    """From when a call's time counts, until its end."""

    ANSWERED = "answered"
    RINGING = "ringing"
    RECEIVED = "received"


class MonthRule(StrEnum):
    """Which month a call belongs to that crosses midnight of the month's end."""

    #: that in which its time begins
    START = "start"
    #: that in which it ends
    END = "end"
    #: each what was talked in it; units are counted over the whole call, the first month has its begun units
    SPLIT = "split"


class ProRata(StrEnum):
    """What a number costs that was not the customer's for the whole month."""

    #: a share for each day begun
    DAILY = "daily"
    #: half for at most fifteen days, else all
    HALF = "half"
    #: all
    FULL = "full"


class When(StrEnum):
    """Which CDRs a charge per CDR is for."""

    ANSWERED = "answered"
    ALL = "all"


class RecordItem(StrEnum):
    """What is charged per CDR."""

    NUMBER_PROTECTION = "number_protection"
    RECORDING = "recording"


class ServiceItem(StrEnum):
    """What is entered beside the calls, by hand but for the last one."""

    PROMPT = "prompt"
    DEVELOPMENT_DAY = "development_day"
    SUPPORT_DAY = "support_day"
    ADJUSTMENT = "adjustment"
    #: what rating an invoiced month anew has found, tax and discounts of that month in it
    CORRECTION = "correction"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Tier(_Part, frozen=True):
    """A price a minute for volumes up to and including `up_to` minutes (None: any)."""

    price: Decimal
    up_to: int | None = None


class Rate(_Part, frozen=True):
    """Charges per minute of some kinds of number, whose minutes count together."""

    kinds: list[Kind]
    tiers: list[Tier]
    #: false: the tier of the month's total prices every minute; true: each tier prices its own minutes
    graduated: bool = False
    #: a begun unit counts whole
    unit_s: int = 60
    #: whether included minutes count for the tier
    included_count: bool = False


class Included(_Part, frozen=True):
    """Minutes that a number's rent pays for, in each month."""

    minutes: int
    #: whether the minutes of all such numbers are one pool
    pooled: bool = False
    #: whether a number that was had for a part of the month brings a part of them
    pro_rata: bool = False


class Rent(_Part, frozen=True):
    """What a number of some kinds costs a month."""

    kinds: list[Kind]
    price: Decimal
    pro_rata: ProRata = ProRata.DAILY
    included: Included | None = None


class PerRecord(_Part, frozen=True):
    """A charge per CDR."""

    item: RecordItem
    price: Decimal
    when: When = When.ANSWERED


class Acd(_Part, frozen=True):
    """Charges per minute in which the ACD had a call."""

    price: Decimal
    unit_s: int = 60


class Discount(_Part, frozen=True):
    """So many per cent off the sum of some items (None: of all)."""

    percent: Decimal
    items: list[str] | None = None


class Vat(_Part, frozen=True):
    """Value-added tax. `included`: the prices have it in them."""

    percent: Decimal = Decimal(6)
    included: bool = True


class Terms(_Part, frozen=True):
    """All of a contract that a price depends on."""

    rates: list[Rate]
    rents: list[Rent] = []
    records: list[PerRecord] = []
    services: dict[ServiceItem, Decimal] = {}
    acd: Acd | None = None
    currency: str = "CNY"
    #: decimals of a charge
    places: int = 2
    leg: Leg = Leg.DIALLED
    signal: Signal = Signal.ANSWERED
    month: MonthRule = MonthRule.START
    #: reasons of calls that cost nothing at all
    free_reasons: list[Reason] = []
    discounts: list[Discount] = []
    #: the least that a month costs
    minimum: Decimal = Decimal(0)
    vat: Vat = Vat()


#: what discounts may name
ITEMS: Final = (
    *("rent", "minutes", "acd", *RecordItem),
    *(item for item in ServiceItem if item is not ServiceItem.CORRECTION),
)

_decode = msgspec.json.Decoder(Terms).decode
_encoder: Final = msgspec.json.Encoder(decimal_format="string", order="deterministic")


class TermsInvalid(ValueError):
    """A document is no contract; the text says what of it and why."""


def read(document: bytes | str) -> Terms:
    """The terms of a stored document. Raises TermsInvalid."""
    try:
        return check(_decode(document))
    except msgspec.ValidationError as error:
        raise TermsInvalid(str(error)) from None


def take(document: Mapping[str, Any]) -> Terms:
    """The terms that a request holds. Raises TermsInvalid."""
    try:
        return check(msgspec.convert(document, Terms))
    except msgspec.ValidationError as error:
        raise TermsInvalid(str(error)) from None


def write(terms: Terms) -> str:
    """The document of terms, every default said; equal terms give equal text."""
    return _encoder.encode(terms).decode()


def document_of(terms: Terms) -> dict[str, Any]:
    """The same as JSON values."""
    document: dict[str, Any] = msgspec.json.decode(write(terms))
    return document


def standard() -> Terms:
    """The platform's price table."""
    return read(resources.files("xiaohao.billing").joinpath("standard.json").read_bytes())


def check(terms: Terms) -> Terms:
    """Gives the terms back. Raises TermsInvalid."""
    for fault in _faults(terms):
        raise TermsInvalid(fault)
    return terms


def _faults(terms: Terms) -> Iterator[str]:
    if not 2 <= terms.places <= PLACES_MAX:
        yield f"places: 2 to {PLACES_MAX}"
    if terms.currency != "CNY":
        yield "currency: CNY"
    yield from _prices(terms)
    for name, groups in (("rates", terms.rates), ("rents", terms.rents)):
        kinds = [kind for group in groups for kind in group.kinds]
        if len(kinds) != len(set(kinds)):
            yield f"{name}: a kind of number is named twice"
    for rate in terms.rates:
        yield from _faults_of_rate(rate)
    for rent in terms.rents:
        if not rent.kinds:
            yield "rents: at least one kind"
        if rent.included is not None and not 0 <= rent.included.minutes <= _MINUTES_MAX:
            yield "rents.included.minutes: too many, or less than none"
        if rent.included is not None and rent.included.pooled:
            # whose minutes are included would decide what the others cost
            of_kinds = [place for place, rate in enumerate(terms.rates) if set(rate.kinds) & set(rent.kinds)]
            if len(of_kinds) > 1:
                yield "rents.included.pooled: only for kinds of one rate"
    if len({record.item for record in terms.records}) != len(terms.records):
        yield "records: an item is named twice"
    if terms.acd is not None and not 1 <= terms.acd.unit_s <= _UNIT_MAX_S:
        yield f"acd.unit_s: 1 to {_UNIT_MAX_S}"
    yield from _percentages(terms)


def _percentages(terms: Terms) -> Iterator[str]:
    for percent in (*(discount.percent for discount in terms.discounts), terms.vat.percent):
        if not (percent.is_finite() and 0 <= percent <= 100 and _places(percent) <= 4):
            yield "percent: 0 to 100, at most 4 decimals"
    for discount in terms.discounts:
        if not set(discount.items or ()) <= set(ITEMS):
            yield f"discounts.items: some of {', '.join(ITEMS)}"
            return
    for item in ITEMS:
        of_item = [one.percent for one in terms.discounts if one.items is None or item in one.items]
        if sum(of_item) > 100:
            yield f"discounts: more than all of {item}"


def _faults_of_rate(rate: Rate) -> Iterator[str]:
    if not rate.kinds or not rate.tiers:
        yield "rates: at least one kind and one tier"
        return
    if not 1 <= rate.unit_s <= _UNIT_MAX_S:
        yield f"rates.unit_s: 1 to {_UNIT_MAX_S}"
    *bounded, last = (tier.up_to for tier in rate.tiers)
    if last is not None or None in bounded:
        yield "rates.tiers: up_to is missing in the last tier only"
        return
    limits = [0, *(limit for limit in bounded if limit is not None)]
    if any(low >= high for low, high in pairwise(limits)) or limits[-1] > _MINUTES_MAX:
        yield "rates.tiers: up_to grows from tier to tier"


def _prices(terms: Terms) -> Iterator[str]:
    prices = [tier.price for rate in terms.rates for tier in rate.tiers]
    prices += [record.price for record in terms.records] + ([terms.acd.price] if terms.acd else [])
    others = [rent.price for rent in terms.rents] + [*terms.services.values(), terms.minimum]
    for most, group in ((_CALL_PRICE_MAX, prices), (_PRICE_MAX, others)):
        for price in group:
            if not (price.is_finite() and 0 <= price <= most and _places(price) <= PLACES_MAX):
                yield f"price: 0 to {most}, at most {PLACES_MAX} decimals"


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else PLACES_MAX + 1
