"""The terms of look-ups, and the rules that say what was true at a moment. Times in µs since the epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from xiaohao.bindings.modes import PAIRS, legs_of
from xiaohao.bindings.recognition import Outcome
from xiaohao.calls.model import Call


class Standing(StrEnum):
    """What a relation was at the moment asked for."""

    LIVE = "live"
    #: it had ended, and its people were still connected (lost property)
    GRACE = "grace"
    #: it had ended; who dialled was recognised and not connected
    QUARANTINED = "quarantined"


class Side(StrEnum):
    """For whom a number stands in a relation: A behind an X, B behind a Y."""

    A = "a"
    B = "b"


@dataclass(frozen=True, slots=True)
class Relation:
    """A binding as it was at the moment asked for.

    `since` and `until` bound the time in which it had this content (`until` None: it still has). The real
    numbers are in the clear, and None where the mode has no such person.
    """

    binding_id: str
    customer_id: str
    mode: str
    standing: Standing
    a: str | None = field(repr=False)
    b: str | None = field(repr=False)
    x: str
    y: str | None
    extension: str | None
    stands_for: Side | None
    since: int
    until: int | None
    ended_at: int | None
    recycle_until: int | None
    grace_until: int | None
    order_ref: str | None

    @property
    def person(self) -> str | None:
        """The real number of whom the number asked for stood for."""
        return {Side.A: self.a, Side.B: self.b}.get(self.stands_for) if self.stands_for else None


@dataclass(frozen=True, slots=True)
class NumberThen:
    """A platform number at a moment. `person`: whose X it was; `known_since`: since when it was all this."""

    number: str
    state: str | None
    reason: str | None
    customer_id: str | None
    person: str | None = field(repr=False)
    known_since: int | None


@dataclass(frozen=True, slots=True)
class Dial:
    """A number that a person can dial, or could a short while ago. `outcome`: of a call at this moment."""

    number: str
    binding_id: str
    customer_id: str
    standing: Standing
    outcome: Outcome
    barred: bool
    reaches: str | None = field(repr=False)
    shows: str | None
    valid_until: int | None
    quarantine_until: int | None


@dataclass(frozen=True, slots=True)
class AboutNumber:
    """What a look-up by number finds. `more`: the `seq` behind which further relations begin."""

    number: NumberThen
    relations: list[Relation]
    more: int | None
    live_calls: list[Call]
    ended_calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AboutPerson:
    """What a look-up by person, or by pair, finds. `more`: there are further ones that are not shown."""

    own_numbers: list[str]
    dials: list[Dial]
    relations: list[Relation]
    live_calls: list[Call]
    more: bool


def content_at(
    row: Mapping[str, Any], versions: Iterable[Mapping[str, Any]], at: int
) -> tuple[Mapping[str, Any], int, int | None]:
    """What a binding said at a moment: the content, since when and until when. `versions`: those of it."""
    since: int = row["created_at"]
    for version in sorted(versions, key=lambda version: int(version["valid_from"])):
        if version["valid_from"] <= at < version["valid_until"]:
            return version, version["valid_from"], version["valid_until"]
        since = max(since, version["valid_until"])
    return row, since, None


def replaced_at(
    row: Mapping[str, Any], versions: Iterable[Mapping[str, Any]], at: int, number: str, rest: int
) -> list[Mapping[str, Any]]:
    """What a binding said earlier of those who can no longer dial a number, and whose keys rest there.

    `rest`: for how long (µs). The newest first.
    """
    ordered = sorted(versions, key=lambda version: int(version["valid_from"]))
    found = []
    for version, after in zip(ordered, [*ordered, row][1:], strict=True):
        resting = version["valid_until"] <= at < version["valid_until"] + rest
        if resting and _callers(row, version, number) - _callers(row, after, number):
            found.append(version)
    return found[::-1]


def _callers(row: Mapping[str, Any], said: Mapping[str, Any], number: str) -> set[bytes]:
    """The keys of who could dial this number by the binding of `row` when it said this."""
    return {leg.caller_key for leg in legs_of({**row, **said}) if leg.dialled == number}


def grace_end(row: Mapping[str, Any], number: str | None) -> int | None:
    """Until when a binding that was ended connected its pair by this number (None: by whichever)."""
    return _latest(row, number, "grace_until")


def rest_end(row: Mapping[str, Any], number: str | None) -> int | None:
    """Until when the keys of a binding that was ended rest at this number (None: at whichever)."""
    return _latest(row, number, "recycle_until")


def _latest(row: Mapping[str, Any], number: str | None, what: str) -> int | None:
    ends = [row[f"{name}_{what}"] for name in ("x", "y") if number in (None, row[name])]
    return max((end for end in ends if end is not None), default=None)


def standing_at(
    row: Mapping[str, Any], grace_until: int | None, recycle_until: int | None, at: int
) -> Standing | None:
    """What a binding was at a moment; None: not yet, or no more."""
    if at < row["created_at"]:
        return None
    end = row["ended_at"] if row["state"] != "live" else row["expires_at"]
    if end is None or at < end:
        return Standing.LIVE
    if grace_until is not None and at < grace_until:
        return Standing.GRACE
    # Nobody has swept it yet where it counts as live: its keys are kept.
    if row["state"] == "live" or (recycle_until is not None and at < recycle_until):
        return Standing.QUARANTINED
    return None


def leg_standing(leg: Mapping[str, Any], at: int) -> Standing | None:
    """What a leg is at the present moment `at`; None: its time is over."""
    if leg["state"] == "live" and (leg["valid_until"] is None or at < leg["valid_until"]):
        return Standing.LIVE
    of_a_pair = leg["mode"] in PAIRS and leg["display"] is not None
    if of_a_pair and leg["grace_until"] is not None and at < leg["grace_until"]:
        return Standing.GRACE
    if leg["state"] == "live" or at < (leg["quarantine_until"] or 0):
        return Standing.QUARANTINED
    return None
