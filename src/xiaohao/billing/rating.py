"""What usages cost: tiers, included minutes, charges per CDR. Pure: no clock, no store.

A month is rated in two passes. The first adds up seconds by number, which settles how many minutes the rents
include and into which tier the month falls, whatever the order of the calls. The second gives each call its
charges in the order of the moments at which their time began (then call id and part): included minutes go to
those who come first, and graduated tiers fill up in that order.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from xiaohao.billing import calendar, money
from xiaohao.billing.model import Charged, DaySum, NumberSum, Portion, Tenure, Usage
from xiaohao.billing.terms import Included, ProRata, Rate, RecordItem, Rent, Terms
from xiaohao.numbers.model import Kind

_MINUTE_S: Final = 60
_HALF_MONTH: Final = 15
_NOTHING: Final[tuple[Portion, ...]] = ()


def order(usage: Usage) -> tuple[int, str, int]:
    """The order in which usages are charged."""
    return usage.at, usage.call_id, usage.part


class Allowances:
    """The seconds that the rents of a month include: of each number, or in a pool."""

    def __init__(self, terms: Terms, month: int, tenures: Iterable[Tenure]) -> None:
        self._pool_of: dict[Kind, int] = {}
        self._own: dict[str, int] = {}
        self._pools: dict[int, int] = {}
        rents = {kind: (place, rent) for place, rent in enumerate(terms.rents) for kind in rent.kinds}
        units = {kind: rate.unit_s for rate in terms.rates for kind in rate.kinds}
        for kind, (place, rent) in rents.items():
            if rent.included is not None and rent.included.pooled:
                self._pool_of[kind] = place
        for (number, kind), days in days_of_numbers(month, tenures).items():
            place, found = rents.get(kind, (0, None))
            if found is None or found.included is None:
                continue
            seconds = _allowed(found.included, days, month, units.get(kind, 1))
            if found.included.pooled:
                self._pools[place] = self._pools.get(place, 0) + seconds
            else:
                self._own[number] = seconds

    def take(self, number: str, kind: Kind, seconds: int) -> int:
        """How many of these seconds the rent pays for; they are gone then."""
        place = self._pool_of.get(kind)
        if place is None:
            left = self._own.get(number, 0)
            taken = min(left, seconds)
            if taken:
                self._own[number] = left - taken
        else:
            left = self._pools.get(place, 0)
            taken = min(left, seconds)
            if taken:
                self._pools[place] = left - taken
        return taken


def _allowed(included: Included, days: int, month: int, unit_s: int) -> int:
    seconds = included.minutes * _MINUTE_S
    if not included.pro_rata:
        return seconds
    return seconds * days // calendar.days_in(month) // unit_s * unit_s


def days_of_numbers(month: int, tenures: Iterable[Tenure]) -> dict[tuple[str, Kind], int]:
    """On how many days of the month each number was the customer's; those of no day are left out.

    A day on which a number came back and was had again counts once.
    """
    spans: dict[tuple[str, Kind], list[tuple[int, int | None]]] = {}
    for tenure in tenures:
        spans.setdefault((tenure.number, tenure.kind), []).append((tenure.since, tenure.until))
    days = {key: len(calendar.day_places(month, found)) for key, found in spans.items()}
    return {key: count for key, count in days.items() if count}


def applications_of(month: int, tenures: Iterable[Tenure]) -> dict[str, str | None]:
    """The application that pays a number's rent: the last one that it had in the month."""
    return {
        tenure.number: tenure.application
        for tenure in sorted(tenures, key=lambda one: one.since)
        if calendar.days_within(month, tenure.since, tenure.until)
    }


def rent_charge(terms: Terms, rent: Rent, month: int, days: int) -> int:
    """What a number costs that was had on so many days of a month."""
    if rent.pro_rata is ProRata.FULL or days >= calendar.days_in(month):
        return money.charge(rent.price, 1, terms.places)
    if rent.pro_rata is ProRata.HALF:
        halves = 1 if days <= _HALF_MONTH else 2
        return money.rounded(rent.price * halves / 2, terms.places)
    return money.rounded(rent.price * days / calendar.days_in(month), terms.places)


def volumes(terms: Terms, allowances: Allowances, seconds: Iterable[tuple[str, Kind, int]]) -> dict[int, int]:
    """The seconds of the month that count for the tier of each rate (by its place in the contract).

    `seconds` gives each number once, `allowances` are used up.
    """
    rates = {kind: (place, rate) for place, rate in enumerate(terms.rates) for kind in rate.kinds}
    found: dict[int, int] = {}
    for number, kind, used in seconds:
        if kind in rates:
            place, rate = rates[kind]
            included = 0 if rate.included_count else allowances.take(number, kind, used)
            found[place] = found.get(place, 0) + used - included
    return found


class _Tiers:
    """The prices of one rate in one month."""

    def __init__(self, rate: Rate, volume: int, places: int) -> None:
        self._places = places
        self._known: dict[tuple[int, int], tuple[Portion, ...]] = {}
        self._limits: list[tuple[int | None, Portion]] = []
        self._prices = {}
        for tier in rate.tiers:
            limit = None if tier.up_to is None else tier.up_to * _MINUTE_S
            price = money.millionths(tier.price)
            self._prices[price] = tier.price
            if rate.graduated:
                self._limits.append((limit, Portion(price, 0, 0)))
            elif limit is None or volume <= limit:
                self._limits = [(None, Portion(price, 0, 0))]
                break
        self._used = 0
        self._place = 0
        self._counts_included = rate.included_count

    def charge(self, seconds: int, included: int) -> tuple[Portion, ...]:
        """The charges of a call's seconds, the included ones among them."""
        place = self._place
        limit, at = self._limits[place]
        if self._counts_included and included:
            self._move(included)
            place = self._place
            limit, at = self._limits[place]
        left = seconds - included
        if limit is None or self._used + left <= limit:
            self._used += left
            return self._portions(at.price, left)
        portions: tuple[Portion, ...] = ()
        while left:
            limit, at = self._limits[self._place]
            taken = left if limit is None else min(left, limit - self._used)
            if taken:
                portions += self._portions(at.price, taken)
                self._used += taken
                left -= taken
            if left:
                self._place += 1
        return portions

    def skip(self, seconds: int, included: int) -> None:
        """Go on as if these seconds had been charged."""
        self._move(seconds if self._counts_included else seconds - included)

    def _move(self, seconds: int) -> None:
        self._used += seconds
        while (limit := self._limits[self._place][0]) is not None and self._used > limit:
            self._place += 1

    def _portions(self, price: int, seconds: int) -> tuple[Portion, ...]:
        if not seconds:
            return _NOTHING
        found = self._known.get((price, seconds))
        if found is None:
            amount = money.per_minute(self._prices[price], seconds, self._places)
            found = self._known[price, seconds] = (Portion(price, seconds, amount),)
        return found


class Prices:
    """What quantities cost under a contract, once the month's volumes are known.

    `volume`: seconds that count for the tier of each rate, by its place in the contract; graduated rates need
    none, but then usages must come in their order.
    """

    def __init__(self, terms: Terms, volume: Mapping[int, int]) -> None:
        self._tiers: dict[Kind, _Tiers] = {}
        for place, rate in enumerate(terms.rates):
            tiers = _Tiers(rate, volume.get(place, 0), terms.places)
            self._tiers.update(dict.fromkeys(rate.kinds, tiers))
        prices = {record.item: money.charge(record.price, 1, terms.places) for record in terms.records}
        self._protection = prices.get(RecordItem.NUMBER_PROTECTION, 0)
        self._recording = prices.get(RecordItem.RECORDING, 0)
        self._acd = terms.acd
        self._places = terms.places

    def has(self, kind: Kind) -> bool:
        """Whether the contract has a price for this kind of number."""
        return kind in self._tiers

    def skip(self, kind: Kind, seconds: int, included: int) -> None:
        """Go on as if so many seconds, the included ones among them, had been charged."""
        self._tiers[kind].skip(seconds, included)

    def charge(self, usage: Usage, included: int) -> Charged:
        """What this usage costs, of whose seconds so many are included."""
        portions, unpriced = _NOTHING, 0
        if usage.seconds:
            tiers = self._tiers.get(usage.kind)
            if tiers is None:
                unpriced = usage.seconds
            else:
                portions = tiers.charge(usage.seconds, included)
        acd = 0
        if usage.acd_s and self._acd is not None:
            acd = money.per_minute(self._acd.price, usage.acd_s, self._places)
        return Charged(
            included,
            unpriced,
            portions,
            acd,
            usage.protections * self._protection,
            usage.recordings * self._recording,
        )


class Pricer:
    """Gives usages of one customer's month their charges; they must come in their order."""

    def __init__(
        self, terms: Terms, month: int, tenures: Iterable[Tenure], seconds: Iterable[tuple[str, Kind, int]]
    ) -> None:
        """`seconds`: the total of each number in the month, each number once."""
        tenures = list(tenures)
        self._allowances = Allowances(terms, month, tenures)
        self._prices = Prices(terms, volumes(terms, Allowances(terms, month, tenures), seconds))

    def skip(self, number: str, kind: Kind, seconds: int) -> None:
        """Go on as if usages of a number with so many seconds had been charged."""
        if seconds and self._prices.has(kind):
            self._prices.skip(kind, seconds, self._allowances.take(number, kind, seconds))

    def charge(self, usage: Usage) -> Charged:
        """What this usage costs."""
        included = 0
        if usage.seconds and self._prices.has(usage.kind):
            included = self._allowances.take(usage.number, usage.kind, usage.seconds)
        return self._prices.charge(usage, included)


class Tally:
    """Adds up what usages cost, on every level at once. The order of adding does not matter."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str | None, str], NumberSum] = {}
        self.days: dict[int, DaySum] = {}
        #: seconds and amount by kind and price a minute; price None: the contract has none
        self.minutes: dict[tuple[Kind, int | None], list[int]] = {}
        self.included: dict[Kind, int] = {}

    def of_number(self, application: str | None, kind: Kind, number: str) -> NumberSum:
        """The sum of a number in an application, made when it is not there."""
        found = self.numbers.get((application, number))
        if found is None:
            found = self.numbers[application, number] = NumberSum(application, kind, number)
        return found

    def add(self, usage: Usage, charged: Charged, count: int = 1) -> None:
        """Add a usage, or so many that are alike."""
        minutes = 0
        for portion in charged.portions:
            minutes += portion.amount * count
            line = self.minutes.setdefault((usage.kind, portion.price), [0, 0])
            line[0] += portion.seconds * count
            line[1] += portion.amount * count
        if charged.unpriced_s:
            self.minutes.setdefault((usage.kind, None), [0, 0])[0] += charged.unpriced_s * count
        if charged.included_s:
            self.included[usage.kind] = self.included.get(usage.kind, 0) + charged.included_s * count
        found = self.of_number(usage.application, usage.kind, usage.number)
        found.calls += usage.calls * count
        found.seconds += usage.seconds * count
        found.included_s += charged.included_s * count
        found.minutes += minutes
        found.protections += usage.protections * count
        found.recordings += usage.recordings * count
        found.number_protection += charged.protection * count
        found.recording += charged.recording * count
        found.acd_s += usage.acd_s * count
        found.acd += charged.acd * count
        day = self.days.get(usage.day)
        if day is None:
            day = self.days[usage.day] = DaySum(usage.day)
        day.calls += usage.calls * count
        day.seconds += usage.seconds * count
        day.amount += minutes + (charged.acd + charged.protection + charged.recording) * count


def seconds_by_number(usages: Iterable[Usage]) -> list[tuple[str, Kind, int]]:
    """The first pass."""
    found: dict[tuple[str, Kind], int] = {}
    for usage in usages:
        key = (usage.number, usage.kind)
        found[key] = found.get(key, 0) + usage.seconds
    return [(number, kind, seconds) for (number, kind), seconds in found.items()]


def unique(usages: Iterable[Usage]) -> list[Usage]:
    """Each part of each call once, in the order of charging."""
    known: Mapping[tuple[str, int], Usage] = {(usage.call_id, usage.part): usage for usage in usages}
    return sorted(known.values(), key=order)
