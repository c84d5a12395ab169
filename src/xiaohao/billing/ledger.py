"""A month reckoned up in one pass over its usages, however many there are.

What a usage costs depends on those before it only while its number has included minutes left, or where its
rate is graduated. All others of equal quantities cost the same: they are counted, and priced once, when the
month's total has said which tier it is.
"""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Generic, Self, TypeVar

import msgspec

from xiaohao.billing.model import Tenure, Usage
from xiaohao.billing.rating import Allowances, Prices, Tally
from xiaohao.billing.terms import Terms
from xiaohao.numbers.model import Kind

#: so many different ones are held in memory
_GROUPS_MAX: Final = 100_000

#: kind, number, application, day, seconds, included, ACD's seconds, calls, protections, recordings
_Group = tuple[Kind, str, str | None, int, int, int, int, int, int, int]
#: a group and how many are of it
Counts = tuple[_Group, int]
T = TypeVar("T")


def including(terms: Terms) -> set[Kind]:
    """Kinds of number whose rent includes minutes."""
    priced = {kind for rate in terms.rates for kind in rate.kinds}
    return {kind for rent in terms.rents if rent.included is not None for kind in rent.kinds} & priced


def graduated(terms: Terms) -> set[Kind]:
    """Kinds of number of which each tier prices its own minutes."""
    return {kind for rate in terms.rates if rate.graduated for kind in rate.kinds}


def in_order(terms: Terms) -> set[Kind]:
    """Kinds of number of whose usages the order matters."""
    return including(terms) | graduated(terms)


def counted(usages: Iterable[Usage], counts: dict[_Group, int]) -> None:
    """Count usages of which no second is included and no order matters."""
    for one in usages:
        group = (
            *(one.kind, one.number, one.application, one.day, one.seconds),
            *(0, one.acd_s, one.calls, one.protections, one.recordings),
        )
        counts[group] = counts.get(group, 0) + 1


class Ledger:
    """Takes the usages of one customer's month in their order; then `tally` has what they cost."""

    def __init__(self, terms: Terms, month: int, tenures: Iterable[Tenure]) -> None:
        self._terms = terms
        self._month = month
        self._allowances = Allowances(terms, month, tenures)
        self._including = including(terms)
        self._graduated = graduated(terms)
        self._in_order = Prices(terms, {})  # graduated tiers need no total
        self._counts: dict[_Group, int] = {}
        self._aside = Aside(list[Counts])
        self._tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._aside.close()

    def add(self, usages: Iterable[Usage]) -> None:
        """Take the next usages."""
        counts, including, graduated = self._counts, self._including, self._graduated
        for usage in usages:
            seconds, kind = usage.seconds, usage.kind
            included = 0
            if seconds:
                if kind in including:
                    included = self._allowances.take(usage.number, kind, seconds)
                if kind in graduated:
                    self._tally.add(usage, self._in_order.charge(usage, included))
                    continue
            group = (
                kind,
                usage.number,
                usage.application,
                usage.day,
                seconds,
                included,
                usage.acd_s,
                usage.calls,
                usage.protections,
                usage.recordings,
            )
            counts[group] = counts.get(group, 0) + 1
        self._aside.put_if_many(counts)

    def add_counts(self, more: Iterable[Counts]) -> None:
        """Take usages whose order does not matter, counted by `counted`."""
        counts = self._counts
        for group, count in more:
            counts[group] = counts.get(group, 0) + count
        self._aside.put_if_many(counts)

    def tally(self) -> Tally:
        """What all of it costs; nothing may be added then."""
        prices = Prices(self._terms, self._volumes())
        for group, count in self._all():
            usage, included = self._usage(group), group[5]
            self._tally.add(usage, prices.charge(usage, included), count)
        return self._tally

    def _all(self) -> Iterable[Counts]:
        return chain(chain.from_iterable(self._aside), self._counts.items())

    def _volumes(self) -> dict[int, int]:
        """The seconds that count for the tier of each rate, by its place in the contract."""
        places = {kind: place for place, rate in enumerate(self._terms.rates) for kind in rate.kinds}
        counted = [rate.included_count for rate in self._terms.rates]
        found: dict[int, int] = {}
        for group, count in self._all():
            kind, seconds, included = group[0], group[4], group[5]
            if seconds and (place := places.get(kind)) is not None:
                more = seconds if counted[place] else seconds - included
                found[place] = found.get(place, 0) + more * count
        return found

    def _usage(self, group: _Group) -> Usage:
        kind, number, application, day, seconds, _, acd_s, calls, protections, recordings = group
        return Usage(
            call_id="",
            part=0,
            month=self._month,
            day=day,
            at=0,
            number=number,
            kind=kind,
            application=application,
            order_ref=None,
            calls=calls,
            seconds=seconds,
            acd_s=acd_s,
            protections=protections,
            recordings=recordings,
        )


class Aside(Generic[T]):
    """Lists that are too long for the memory: in a file without a name. Read as often as one likes."""

    def __init__(self, of: type[list[T]]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._lengths: list[int] = []
        self._decode = msgspec.msgpack.Decoder(of).decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, items: list[T]) -> None:
        """Put these behind the others."""
        self._lengths.append(self._file.write(_encode(items)))

    def put_if_many(self: "Aside[Counts]", counts: dict[_Group, int]) -> None:
        """Put these counts aside where they are too many to be held; then they begin anew."""
        if len(counts) > _GROUPS_MAX:
            self.put(list(counts.items()))
            counts.clear()

    def __iter__(self) -> Iterator[list[T]]:
        self._file.seek(0)
        for length in self._lengths:
            yield self._decode(self._file.read(length))

    def close(self) -> None:
        """Forget all of it."""
        self._file.close()


_encode: Final = msgspec.msgpack.Encoder().encode
