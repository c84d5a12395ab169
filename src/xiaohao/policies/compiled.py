"""Rules of one scope as a call meets them: of many that say the same in different measure, the strictest.

However many rules there are, a call looks at a bounded number of things: a limit for each way of counting,
one answer a minute for all hours together, one set of roles, one table of prefixes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from typing import Final

from xiaohao.bindings.model import Role
from xiaohao.clock import CHINA, SECOND
from xiaohao.policies import calendar
from xiaohao.policies.calendar import DAYS, EVERY_DAY, DayKind
from xiaohao.policies.model import (
    Concurrent,
    Destinations,
    Direction,
    Every,
    Frequency,
    Hours,
    OnlyListed,
    Per,
    Rule,
    Window,
    minute_of,
)

_MINUTE: Final = 60 * SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: China is eight hours ahead all year
_AHEAD: Final = 8 * _HOUR


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` in a window (`every` None: at a time)."""

    rule_id: str
    per: Per
    most: int
    every: Every | None = None
    window: Window = Window.SLIDING
    trunk_id: str | None = None

    def since(self, at: int) -> int:
        """The last moment before the window in which `at` lies; what is after it counts."""
        assert self.every is not None  # noqa: S101 – asked of frequencies only
        length = self.every.seconds * SECOND
        if self.window is Window.SLIDING:
            return at - length
        return (at + _AHEAD) // length * length - _AHEAD - 1


@dataclass(frozen=True, slots=True)
class _Span:
    since: int
    until: int
    days: int


@dataclass(frozen=True, slots=True)
class _Week:
    rule_id: str
    zone: tzinfo
    spans: tuple[_Span, ...]


class Days:
    """The kinds of days, each looked up once."""

    def __init__(self, said: Mapping[date, DayKind] | None = None) -> None:
        self._said = dict(said or {})
        self._bits: dict[date, int] = {}

    def bits(self, day: date) -> int:
        """See `calendar.bits_of`."""
        known = self._bits.get(day)
        if known is None:
            if len(self._bits) > 1000:
                self._bits.clear()
            known = self._bits[day] = calendar.bits_of(day, self._said)
        return known


@dataclass(slots=True)
class RuleSet:
    """All rules of one scope, or those of it that are about one number."""

    limits: list[Limit] = field(default_factory=list)
    at_a_time: list[Limit] = field(default_factory=list)
    roles: frozenset[Role] | None = None
    direction_id: str = ""
    only_listed_id: str | None = None
    destinations_id: str | None = None
    international: dict[str, str] = field(default_factory=dict)
    premium: dict[str, str] = field(default_factory=dict)
    weeks: list[_Week] = field(default_factory=list)
    _asked: int = -1
    _closed: str | None = None

    def closed(self, at: int, days: Days) -> str | None:
        """The rule by which no call is allowed at this moment; the same for a whole minute."""
        if not self.weeks:
            return None
        minute = at // _MINUTE
        if minute != self._asked:
            self._closed = next((w.rule_id for w in self.weeks if not _is_open(w, at, days)), None)
            self._asked = minute
        return self._closed

    def forget(self) -> None:
        """Days have changed."""
        self._asked = -1


def _is_open(week: _Week, at: int, days: Days) -> bool:
    now = calendar.local(at, week.zone)
    today, minute = now.date(), now.hour * 60 + now.minute
    for span in week.spans:
        if span.until > span.since:
            if span.since <= minute < span.until and days.bits(today) & span.days:
                return True
            continue
        yesterday = calendar.day_before(today)
        if minute >= span.since and days.bits(today) & span.days:
            return True
        if minute < span.until and days.bits(yesterday) & span.days:
            return True
    return False


def compiled(rules: Iterable[Rule]) -> tuple[RuleSet, dict[str, RuleSet]]:
    """The rules for every number, and those for one number each. Rules that are off do not count."""
    common = RuleSet()
    by_number: dict[str, RuleSet] = {}
    for rule in sorted(rules, key=lambda rule: rule.id):
        if rule.enabled:
            _add(common if rule.number is None else by_number.setdefault(rule.number, RuleSet()), rule)
    for rule_set in (common, *by_number.values()):
        rule_set.limits = _strictest(rule_set.limits)
        rule_set.at_a_time = _strictest(rule_set.at_a_time)
    return common, by_number


def _add(into: RuleSet, rule: Rule) -> None:
    spec = rule.spec
    if isinstance(spec, Frequency):
        into.limits.append(Limit(rule.id, spec.per, spec.limit, spec.every, spec.window))
    elif isinstance(spec, Concurrent):
        into.at_a_time.append(Limit(rule.id, spec.per, spec.limit, trunk_id=spec.trunk_id))
    elif isinstance(spec, Direction):
        roles = frozenset(spec.roles)
        if into.roles is None or not into.roles <= roles:
            into.direction_id = rule.id
        into.roles = roles if into.roles is None else into.roles & roles
    elif isinstance(spec, OnlyListed):
        into.only_listed_id = into.only_listed_id or rule.id
    elif isinstance(spec, Destinations):
        into.destinations_id = into.destinations_id or rule.id
        into.international.update(dict.fromkeys(spec.international, rule.id))
        into.premium.update(dict.fromkeys(spec.premium, rule.id))
    elif isinstance(spec, Hours):
        into.weeks.append(_Week(rule.id, calendar.zone_of(spec.zone) or CHINA, _spans(spec)))


def _spans(spec: Hours) -> tuple[_Span, ...]:
    found = []
    for times in spec.times:
        mask = 0
        for name in times.days:
            mask |= DAYS[name]
        found.append(_Span(minute_of(times.since) or 0, minute_of(times.until) or 0, mask or EVERY_DAY))
    return tuple(found)


def _strictest(limits: list[Limit]) -> list[Limit]:
    least: dict[tuple[object, ...], Limit] = {}
    for limit in limits:
        way = (limit.per, limit.every, limit.window, limit.trunk_id)
        if way not in least or limit.most < least[way].most:
            least[way] = limit
    return list(least.values())


def covers(prefixes: Mapping[str, str], number: str) -> str | None:
    """The rule that has a prefix of this number."""
    for length in range(2, min(len(number), 12)):
        rule_id = prefixes.get(number[:length])
        if rule_id is not None:
            return rule_id
    return None
