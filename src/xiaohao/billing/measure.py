"""From a CDR to what is charged of it: whose minutes, from when, in which units, in which month. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from xiaohao.billing import calendar
from xiaohao.billing.model import Cdr, Usage
from xiaohao.billing.terms import Leg, MonthRule, RecordItem, Signal, Terms, When
from xiaohao.numbers.model import Kind, kind_of

#: the unit of kinds that the contract has no price for: a bill shows their minutes at no price
_UNPRICED_UNIT_S: Final = 60
_SECOND_LEG: Final = 2


@lru_cache(maxsize=262_144)
def kind(number: str) -> Kind:
    """The kind of a number; what is none of the numbering plan counts as foreign."""
    try:
        return kind_of(number)
    except ValueError:
        return Kind.FOREIGN


def holds(before: Terms, after: Terms) -> bool:
    """Whether what was measured under one contract is right under another, too.

    What that has no price for may have been counted: it costs nothing.
    """
    when = {record.item: record.when for record in before.records}
    return (
        _rules(before) == _rules(after)
        and all(when.get(record.item) is record.when for record in after.records)
        and (after.acd is None or (before.acd is not None and before.acd.unit_s == after.acd.unit_s))
    )


def _rules(terms: Terms) -> tuple[object, ...]:
    units = {kind: rate.unit_s for rate in terms.rates for kind in rate.kinds}
    every = [units.get(kind, _UNPRICED_UNIT_S) for kind in Kind]
    return terms.leg, terms.signal, terms.month, frozenset(terms.free_reasons), every


class Meter:
    """Measures calls under one contract. `applications` names the application of a number."""

    def __init__(self, terms: Terms, applications: Mapping[str, str | None]) -> None:
        self._applications = applications
        self._units = {kind: rate.unit_s for rate in terms.rates for kind in rate.kinds}
        self._signal = terms.signal
        self._leg = terms.leg
        self._rule = terms.month
        self._free = frozenset(reason.value for reason in terms.free_reasons)
        self._acd_unit_s = terms.acd.unit_s if terms.acd else 0
        when = {record.item: record.when for record in terms.records}
        self._protection = when.get(RecordItem.NUMBER_PROTECTION)
        self._recording = when.get(RecordItem.RECORDING)
        #: kind and unit of numbers
        self._known: dict[str, tuple[Kind, int]] = {}

    def measure(self, cdr: Cdr) -> list[Usage]:
        """The usages of a call, in the order of their parts; a call that costs nothing has one, too."""
        signal, answered_at = self._signal, cdr.answered_at
        if signal is Signal.ANSWERED:
            begins = answered_at
        else:
            begins = cdr.ringing_at if signal is Signal.RINGING else cdr.received_at
        talk_ms, acd_s, protections, recordings = 0, 0, 0, 0
        if cdr.reason not in self._free:
            if begins is not None and (talk_ms := cdr.ended_at // 1000 - begins // 1000) < 0:
                talk_ms = 0
            if cdr.acd_ms and self._acd_unit_s:
                acd_s = _units(cdr.acd_ms, self._acd_unit_s)
            if cdr.displayed is not None and _counts(self._protection, answered_at):
                protections = 1
            if cdr.recorded and _counts(self._recording, answered_at):
                recordings = 1
        at = cdr.received_at if begins is None else begins
        number = cdr.dialled
        if self._leg is Leg.DISPLAYED:
            number = cdr.displayed or number
        records = (1, acd_s, protections, recordings)
        usages = self._usages(cdr, 0, number, at, talk_ms, records)
        if self._leg is Leg.BOTH and cdr.displayed is not None and talk_ms:
            usages += self._usages(cdr, _SECOND_LEG, cdr.displayed, at, talk_ms, (0, 0, 0, 0))
        return usages

    def _usages(
        self, cdr: Cdr, part: int, number: str, at: int, talk_ms: int, records: tuple[int, int, int, int]
    ) -> list[Usage]:
        known = self._known.get(number)
        if known is None:
            found = kind(number)
            known = self._known[number] = found, self._units.get(found, _UNPRICED_UNIT_S)
        kind_, unit_s = known
        seconds = _units(talk_ms, unit_s) if talk_ms else 0
        if self._rule is not MonthRule.START:
            if self._rule is MonthRule.END:
                at = cdr.ended_at
            elif talk_ms and cdr.ended_at > (midnight := calendar.end_of(calendar.month_of(at))):
                first = min(_units(midnight // 1000 - at // 1000, unit_s), seconds)
                return [
                    self._usage(cdr, part, number, kind_, at, first, records),
                    self._usage(cdr, part + 1, number, kind_, midnight, seconds - first, (0, 0, 0, 0)),
                ]
        return [self._usage(cdr, part, number, kind_, at, seconds, records)]

    def _usage(
        self,
        cdr: Cdr,
        part: int,
        number: str,
        kind_: Kind,
        at: int,
        seconds: int,
        records: tuple[int, int, int, int],
    ) -> Usage:
        day = calendar.day_of(at)
        calls, acd_s, protections, recordings = records
        return Usage(
            cdr.call_id,
            part,
            day // 100,
            day,
            at,
            number,
            kind_,
            self._applications.get(number),
            cdr.order_ref,
            calls,
            seconds,
            acd_s,
            protections,
            recordings,
        )


def _counts(when: When | None, answered_at: int | None) -> bool:
    return when is When.ALL or (when is When.ANSWERED and answered_at is not None)


def _units(milliseconds: int, unit_s: int) -> int:
    """Seconds of the units begun."""
    return -(-milliseconds // (unit_s * 1000)) * unit_s
