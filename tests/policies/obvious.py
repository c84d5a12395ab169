"""The policies told again, slowly: everything is gone through one by one, nothing is compiled or indexed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
from chinese_calendar import get_holiday_detail, is_holiday, is_workday  # type: ignore[import-untyped]

from xiaohao.calls.model import Reason
from xiaohao.clock import SECOND
from xiaohao.policies.decision import Facts
from xiaohao.policies.model import (
    Concurrent,
    Destinations,
    Direction,
    Frequency,
    Hours,
    List,
    OnlyListed,
    Per,
    Side,
    Spec,
    Window,
)
from xiaohao.policies.service import NewEntry

#: operator for all, operator for the customer, the customer
Place = tuple[str, str]
LENGTH = {"minute": 60 * SECOND, "hour": 3600 * SECOND, "day": 86_400 * SECOND}
TOO_OFTEN = {
    "caller": Reason.CALLER_TOO_OFTEN,
    "callee": Reason.CALLEE_TOO_OFTEN,
    "pair": Reason.PAIR_TOO_OFTEN,
    "displayed": Reason.NUMBER_TOO_OFTEN,
}
FULL = {
    "customer": Reason.CUSTOMER_CALLS_FULL,
    "trunk": Reason.TRUNK_CALLS_FULL,
    "displayed": Reason.NUMBER_CALLS_FULL,
    "caller": Reason.CALLER_CALLS_FULL,
    "callee": Reason.CALLEE_CALLS_FULL,
}


@dataclass
class Obvious:
    entries: list[tuple[Place, NewEntry]] = field(default_factory=list)
    rules: list[tuple[Place, str | None, Spec]] = field(default_factory=list)
    #: (layer's place, "caller" or "displayed", number, until)
    blocks: list[tuple[Place, str, str, int]] = field(default_factory=list)
    #: calls let through, with the rules that counted them; those in progress, or lost by a switch
    passed: list[tuple[Facts, list[tuple[Place, str | None, Spec]]]] = field(default_factory=list)
    seats: dict[str, tuple[Facts, bool]] = field(default_factory=dict)

    def ask(self, facts: Facts) -> Reason | None:
        counted: list[tuple[Place, str | None, Spec]] = []
        for layer in ("operator", "customer"):
            places = [(layer, facts.customer_id)]
            if layer == "operator":
                places.insert(0, (layer, ""))
            reason = self._layer(layer, places, facts, counted)
            if reason is not None:
                return reason
        reasons = [self._count(rule, facts) for rule in counted if isinstance(rule[2], Frequency)]
        reasons += [self._count(rule, facts) for rule in counted if isinstance(rule[2], Concurrent)]
        refused = {reason for reason in reasons if reason is not None}
        if refused:
            return min(refused, key=reasons.index)
        self.passed.append((facts, counted))
        return None

    def _layer(
        self,
        layer: str,
        places: list[Place],
        facts: Facts,
        counted: list[tuple[Place, str | None, Spec]],
    ) -> Reason | None:
        listed = self._listed(places, facts)
        if listed is not None and listed[0] is List.BLACK:
            return listed[1]
        free = listed is not None
        rules = [r for r in self.rules if r[0] in places and r[1] in (None, facts.dialled)]
        specs = [spec for _, _, spec in rules]
        if facts.role and any(isinstance(s, Direction) and facts.role not in s.roles for s in specs):
            return Reason.DIRECTION_BARRED
        if not free:
            for place, per, number, until in self.blocks:
                mine = facts.caller if per == "caller" else facts.displayed
                if place in places and mine == number and until > facts.at:
                    return Reason.FRAUD_SUSPECTED
            if any(isinstance(s, OnlyListed) for s in specs):
                return Reason.NOT_WHITELISTED
            if not all(open_at(s, facts.at) for s in specs if isinstance(s, Hours)):
                return Reason.OUTSIDE_HOURS
            if (reason := self._destination(layer, specs, facts)) is not None:
                return reason
        for place in places:
            of_place = [r for r in rules if r[0] == place]
            # those for every number come before those for one
            of_place.sort(key=lambda r: r[1] is not None)
            counted += [r for r in of_place if isinstance(r[2], Frequency) and not free]
            counted += [r for r in of_place if isinstance(r[2], Concurrent)]
        return None

    def _listed(self, places: list[Place], facts: Facts) -> tuple[List, Reason] | None:
        found: list[tuple[float, bool, int, Reason]] = []
        for place, entry in self.entries:
            if place not in places or (entry.expires_at and entry.expires_at <= facts.at):
                continue
            if entry.other is not None:
                if {entry.person, entry.other} == {facts.caller, facts.callee}:
                    found.append((200, entry.list is List.BLACK, 0, Reason.PAIR_BLACKLISTED))
                continue
            for side, number, reason in (
                (Side.CALLER, facts.caller, Reason.CALLER_BLACKLISTED),
                (Side.CALLEE, facts.callee, Reason.CALLEE_BLACKLISTED),
            ):
                if number is None or entry.side not in (side, Side.ANY):
                    continue
                if entry.person == number:
                    found.append((100, entry.list is List.BLACK, side is Side.CALLER, reason))
                elif entry.prefix and number.startswith(entry.prefix):
                    found.append((len(entry.prefix), entry.list is List.BLACK, side is Side.CALLER, reason))
        if not found:
            return None
        weight, black, _, _ = max(found, key=lambda f: f[:2])
        best = [reason for w, b, _, reason in found if (w, b) == (weight, black)]
        # where both are equally black the places are asked one after the other, in each the caller first
        return (List.BLACK if black else List.WHITE), best[0] if len(set(best)) == 1 else Reason.LOOP

    def _destination(self, layer: str, specs: list[Spec], facts: Facts) -> Reason | None:
        if facts.callee.startswith("+86"):
            return None
        ruled = [s for s in specs if isinstance(s, Destinations)]
        if layer == "customer" and not ruled:
            return None
        parsed = phonenumbers.parse(facts.callee)
        dear = phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.PREMIUM_RATE
        if facts.callee[:4] in ("+870", "+881", "+882", "+883", "+979"):
            dear = True
        allowed = [prefix for s in ruled for prefix in (s.premium if dear else s.international)]
        if any(facts.callee.startswith(prefix) for prefix in allowed):
            return None
        return Reason.PREMIUM_BARRED if dear else Reason.INTERNATIONAL_BARRED

    def _count(self, rule: tuple[Place, str | None, Spec], facts: Facts) -> Reason | None:
        place, number, spec = rule
        if isinstance(spec, Frequency):
            who = subject(spec.per, facts)
            if who is None:
                return None
            count = 0
            for other, counted in self.passed:
                # it was counted if any rule of the same place and number counts the same kind of people
                seen = any(
                    isinstance(s, Frequency) and s.per == spec.per and n == number and counts_same(p, place)
                    for p, n, s in counted
                )
                same = place[1] == "" or other.customer_id == facts.customer_id
                if seen and same and subject(spec.per, other) == who:
                    count += in_window(spec, other.at, facts.at)
            return TOO_OFTEN[spec.per] if count >= spec.limit else None
        assert isinstance(spec, Concurrent)
        for who in seats_of(spec, facts):
            taken = 0
            for other, alive in self.seats.values():
                if not alive and other.at <= facts.at - 15 * SECOND:
                    continue
                if number is not None and other.dialled != number:
                    continue
                if place[1] != "" and other.customer_id != facts.customer_id:
                    continue
                taken += seats_of(Concurrent(spec.per, 0), other).count(who)
            if taken + seats_of(spec, facts).count(who) > spec.limit:
                return FULL[spec.per]
        return None


def counts_same(one: Place, other: Place) -> bool:
    """The operator's for one customer and the customer's own count the same calls."""
    return (one[1] == "") == (other[1] == "")


def subject(per: Per, facts: Facts) -> object:
    if per == "pair":
        return None if facts.caller is None else frozenset((facts.caller, facts.callee))
    return {"caller": facts.caller, "callee": facts.callee, "displayed": facts.displayed}[per]


def seats_of(spec: Concurrent, facts: Facts) -> list[object]:
    if spec.per == "customer":
        return [facts.customer_id]
    if spec.per == "trunk":
        trunks = [facts.trunk_in, facts.trunk_out]
        return [t for t in trunks if t is not None and spec.trunk_id in (None, t)]
    found = subject(spec.per, facts)
    return [] if found is None else [found]


def in_window(spec: Frequency, at: int, now: int) -> bool:
    if spec.window is Window.SLIDING:
        return at > now - LENGTH[spec.every]
    zone = ZoneInfo("Asia/Shanghai")
    shape = {"minute": "%Y%m%d%H%M", "hour": "%Y%m%d%H", "day": "%Y%m%d"}[spec.every]
    one, other = (datetime.fromtimestamp(m / SECOND, zone).strftime(shape) for m in (at, now))
    return one >= other


def open_at(spec: Hours, at: int) -> bool:
    now = datetime.fromtimestamp(at // SECOND, UTC).astimezone(ZoneInfo(spec.zone))
    minute = f"{now:%H:%M}"
    for times in spec.times:
        if times.since < times.until:
            if times.since <= minute < times.until and day_is(now, times.days):
                return True
        elif (minute >= times.since and day_is(now, times.days)) or (
            minute < times.until and day_is(now - timedelta(days=1), times.days)
        ):
            return True
    return False


def day_is(moment: datetime, names: tuple[str, ...]) -> bool:
    day = moment.date()
    working = is_workday(day)
    mine = {f"{day:%a}".lower(), "workday" if working else "day_off"}
    if is_holiday(day) and (day.weekday() < 5 or _named(day)):
        mine.add("holiday")
    return not names or bool(mine & set(names))


def _named(day: object) -> bool:
    return get_holiday_detail(day)[1] is not None
