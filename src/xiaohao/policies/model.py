"""The terms of policies: entries of lists, rules of several kinds, and what may not stand in them.

A layer is whose policies they are: the operator's, for all customers or for one, and the customer's own. A
call must be let through by both layers.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from xiaohao.bindings.model import Role
from xiaohao.policies.calendar import CLOCK, DAYS, zone_of

#: `customer_id` of what the operator sets for all customers
EVERYBODY: Final = ""
LONGEST_WINDOW_S: Final = 86_400
_COUNT_MAX: Final = 1_000_000
_PREFIXES_MAX: Final = 500
_TIMES_MAX: Final = 50


class SetBy(StrEnum):
    """The two layers."""

    OPERATOR = "operator"
    CUSTOMER = "customer"


class List(StrEnum):
    """What an entry does."""

    BLACK = "black"
    WHITE = "white"


class Kind(StrEnum):
    """Whom an entry is about."""

    PERSON = "person"
    #: two people, whoever of them calls
    PAIR = "pair"
    #: everybody whose number begins so
    PREFIX = "prefix"


class Side(StrEnum):
    """In which part an entry's person counts."""

    CALLER = "caller"
    CALLEE = "callee"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list. `expires_at` is in µs since the epoch; None: for good."""

    id: str
    set_by: SetBy
    customer_id: str
    list: List
    kind: Kind
    side: Side
    person: str | None = field(repr=False)
    other: str | None = field(repr=False)
    prefix: str | None
    expires_at: int | None
    note: str | None = field(repr=False)
    created_at: int
    updated_at: int


class Per(StrEnum):
    """Whose calls are counted."""

    CALLER = "caller"
    CALLEE = "callee"
    #: the two of a call, whoever of them calls
    PAIR = "pair"
    #: the number that the callee sees
    DISPLAYED = "displayed"
    CUSTOMER = "customer"
    TRUNK = "trunk"


class Every(StrEnum):
    """The length of a window."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        """The length in seconds."""
        return {"minute": 60, "hour": 3600, "day": 86_400}[self.value]


class Window(StrEnum):
    """Where a window lies."""

    #: it ends now
    SLIDING = "sliding"
    #: the minute, hour or day of the Chinese clock
    CLOCK = "clock"


class Frequency(msgspec.Struct, frozen=True, tag_field="kind", tag="frequency", forbid_unknown_fields=True):
    """At most `limit` calls in each window."""

    per: Per
    limit: int
    every: Every
    window: Window = Window.SLIDING


class Concurrent(msgspec.Struct, frozen=True, tag_field="kind", tag="concurrent", forbid_unknown_fields=True):
    """At most `limit` calls at a time. `trunk_id`: of this trunk only."""

    per: Per
    limit: int
    trunk_id: str | None = None


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From one time of day until another, `HH:MM`; where that is earlier, until the next day.

    `days` are `mon` … `sun`, `workday`, `day_off` (weekends and holidays) or `holiday`; none: every day. The
    hours after midnight belong to the day before.
    """

    since: str = "00:00"
    until: str = "24:00"
    days: tuple[str, ...] = ()


class Hours(msgspec.Struct, frozen=True, tag_field="kind", tag="hours", forbid_unknown_fields=True):
    """Calls are allowed at these times only, in the time zone (IANA) that is given."""

    times: tuple[Times, ...]
    zone: str = CLOCK


class Direction(msgspec.Struct, frozen=True, tag_field="kind", tag="direction", forbid_unknown_fields=True):
    """Only these of the two people of a binding may call."""

    roles: tuple[Role, ...]


class OnlyListed(
    msgspec.Struct, frozen=True, tag_field="kind", tag="only_listed", forbid_unknown_fields=True
):
    """Only those on the white list of the same layer may call or be called."""


class Destinations(
    msgspec.Struct, frozen=True, tag_field="kind", tag="destinations", forbid_unknown_fields=True
):
    """Prefixes (`+852`) of other countries' numbers, and of premium ones, that may be called."""

    international: tuple[str, ...] = ()
    premium: tuple[str, ...] = ()


class Fraud(msgspec.Struct, frozen=True, tag_field="kind", tag="fraud", forbid_unknown_fields=True):
    """What is suspected within `window_s` seconds, and what happens then.

    `numbers`: so many different numbers dialled by one caller (called from one displayed number). The ratios
    count from `least_calls` on: `short_ratio` of the answered calls were shorter than `short_s`;
    `answer_ratio` or less were answered. `block_s` 0: an alarm only.
    """

    window_s: int
    per: Per = Per.CALLER
    least_calls: int = 20
    numbers: int | None = None
    short_s: int = 6
    short_ratio: float | None = None
    answer_ratio: float | None = None
    block_s: int = 0


Spec = Frequency | Concurrent | Hours | Direction | OnlyListed | Destinations | Fraud

#: whose calls may be counted by each kind
_PERS: Final = {
    Frequency: (Per.CALLER, Per.CALLEE, Per.PAIR, Per.DISPLAYED),
    Concurrent: (Per.CUSTOMER, Per.TRUNK, Per.DISPLAYED, Per.CALLER, Per.CALLEE),
    Fraud: (Per.CALLER, Per.DISPLAYED),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. `number`: for calls to this platform number only; None: for all."""

    id: str
    set_by: SetBy
    customer_id: str
    name: str
    number: str | None
    enabled: bool
    spec: Spec
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """A suspicion of fraud. `subject`: a person's number, or the displayed one; `found`: what was counted."""

    id: str
    rule_id: str
    set_by: SetBy
    customer_id: str
    per: Per
    subject: str = field(repr=False)
    at: int
    found: dict[str, float]
    blocked_until: int | None
    lifted_at: int | None


def faults(spec: Spec, set_by: SetBy) -> list[tuple[str, str]]:
    """What is wrong with a rule: (field, what)."""
    found: list[tuple[str, str]] = []
    allowed = _PERS.get(type(spec))
    if allowed is not None:
        per: Per = spec.per  # type: ignore[union-attr]
        if per not in allowed:
            found.append(("per", f"is one of {', '.join(allowed)} for this kind"))
        if per is Per.TRUNK and set_by is SetBy.CUSTOMER:
            found.append(("per", "trunks are the operator's"))
    if isinstance(spec, Frequency | Concurrent) and not 0 <= spec.limit <= _COUNT_MAX:
        found.append(("limit", f"is between 0 and {_COUNT_MAX}"))
    if isinstance(spec, Concurrent) and spec.trunk_id is not None and spec.per is not Per.TRUNK:
        found.append(("trunk_id", "goes with calls per trunk only"))
    if isinstance(spec, Hours):
        found += _faults_of_hours(spec)
    if isinstance(spec, Direction) and not spec.roles:
        found.append(("roles", "somebody must be able to call: suspend the customer otherwise"))
    if isinstance(spec, Destinations):
        found += _faults_of_destinations(spec)
    if isinstance(spec, Fraud):
        found += _faults_of_fraud(spec)
    return found


def _faults_of_hours(spec: Hours) -> list[tuple[str, str]]:
    found = []
    if zone_of(spec.zone) is None:
        found.append(("zone", "is no time zone, as Asia/Shanghai is"))
    if not 1 <= len(spec.times) <= _TIMES_MAX:
        found.append(("times", f"are between 1 and {_TIMES_MAX}"))
    for place, times in enumerate(spec.times):
        for name in ("since", "until"):
            if minute_of(getattr(times, name)) is None:
                found.append((f"times.{place}.{name}", "is no time of day, as 09:30 is"))
        if not set(times.days) <= DAYS.keys():
            found.append((f"times.{place}.days", f"are among {', '.join(DAYS)}"))
    return found


def _faults_of_destinations(spec: Destinations) -> list[tuple[str, str]]:
    found = []
    for name in ("international", "premium"):
        prefixes: tuple[str, ...] = getattr(spec, name)
        if len(prefixes) > _PREFIXES_MAX:
            found.append((name, f"are at most {_PREFIXES_MAX}"))
        if not all(is_prefix(prefix) for prefix in prefixes):
            found.append((name, "are prefixes with their country code, as +852 is"))
    return found


def _faults_of_fraud(spec: Fraud) -> list[tuple[str, str]]:
    found = []
    if not 60 <= spec.window_s <= LONGEST_WINDOW_S:
        found.append(("window_s", f"is between 60 and {LONGEST_WINDOW_S}"))
    if spec.numbers is None and spec.short_ratio is None and spec.answer_ratio is None:
        found.append(("numbers", "nothing is suspected: give numbers, short_ratio or answer_ratio"))
    if not 1 <= spec.least_calls <= _COUNT_MAX:
        found.append(("least_calls", f"is between 1 and {_COUNT_MAX}"))
    if spec.numbers is not None and not 2 <= spec.numbers <= _COUNT_MAX:
        found.append(("numbers", f"are between 2 and {_COUNT_MAX}"))
    for name in ("short_ratio", "answer_ratio"):
        ratio: float | None = getattr(spec, name)
        if ratio is not None and not 0 <= ratio <= 1:
            found.append((name, "is between 0 and 1"))
    if not 1 <= spec.short_s <= 3600:
        found.append(("short_s", "is between 1 and 3600"))
    if not 0 <= spec.block_s <= 366 * LONGEST_WINDOW_S:
        found.append(("block_s", "is at most a year"))
    return found


def minute_of(text: str) -> int | None:
    """The minute of a day that `HH:MM` says, 24:00 included; None where it says none."""
    hours, colon, minutes = text.partition(":")
    if not (colon and len(hours) == len(minutes) == 2 and (hours + minutes).isascii()):
        return None
    if not (hours + minutes).isdigit():
        return None
    minute = int(hours) * 60 + int(minutes)
    return minute if int(minutes) < 60 and minute <= 1440 else None


#: the longest that is still shorter than a person's number
PREFIX_DIGITS: Final = 10


def is_prefix(text: str) -> bool:
    """Whether numbers may begin so: `+` and up to ten digits, fewer than any whole number of a person has."""
    digits = text[1:]
    return text[:1] == "+" and 1 <= len(digits) <= PREFIX_DIGITS and digits.isascii() and digits.isdigit()
