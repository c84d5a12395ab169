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

    def measure(self, cdr: Cdr) -> list[Usage]:
        """The usages of a call, in the order of their parts; a call that costs nothing has one, too."""
        answered = cdr.answered_at is not None
        if self._signal is Signal.ANSWERED:
            begins = cdr.answered_at
        else:
            begins = cdr.ringing_at if self._signal is Signal.RINGING else cdr.received_at
        free = cdr.reason in self._free
        talk_ms = 0 if free or begins is None else max(cdr.ended_at // 1000 - begins // 1000, 0)
        charged = not free
        records = (
            1,
            _units(cdr.acd_ms, self._acd_unit_s) if charged and self._acd_unit_s else 0,
            int(charged and cdr.displayed is not None and _counts(self._protection, answered)),
            int(charged and cdr.recorded and _counts(self._recording, answered)),
        )
        at = cdr.received_at if begins is None else begins
        number = cdr.dialled
        if self._leg is Leg.DISPLAYED:
            number = cdr.displayed or cdr.dialled
        usages = self._usages(cdr, 0, number, at, talk_ms, records)
        if self._leg is Leg.BOTH and cdr.displayed is not None and talk_ms:
            usages += self._usages(cdr, _SECOND_LEG, cdr.displayed, at, talk_ms, (0, 0, 0, 0))
        return usages

    def _usages(
        self, cdr: Cdr, part: int, number: str, at: int, talk_ms: int, records: tuple[int, int, int, int]
    ) -> list[Usage]:
        kind_ = kind(number)
        unit_s = self._units.get(kind_, _UNPRICED_UNIT_S)
        seconds = _units(talk_ms, unit_s)
        if self._rule is MonthRule.END:
            at = cdr.ended_at
        elif self._rule is MonthRule.SPLIT and talk_ms:
            month = calendar.month_of(at)
            midnight = calendar.end_of(month)
            if cdr.ended_at > midnight:
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


def _counts(when: When | None, answered: bool) -> bool:
    return when is When.ALL or (when is When.ANSWERED and answered)


def _units(milliseconds: int, unit_s: int) -> int:
    """Seconds of the units begun."""
    return -(-milliseconds // (unit_s * 1000)) * unit_s
