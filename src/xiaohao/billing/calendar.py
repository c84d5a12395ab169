"""Days and months of a bill, on a Chinese clock. A month is the number 202611, a day the number 20261130."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from xiaohao.clock import CHINA, SECOND

_OFFSET: Final = 8 * 3600 * SECOND
_DAY: Final = 86_400 * SECOND
_EPOCH: Final = date(1970, 1, 1)
_MONTH: Final = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@lru_cache(maxsize=4096)
def _day(number: int) -> int:
    day = _EPOCH + timedelta(days=number)
    return day.year * 10_000 + day.month * 100 + day.day


def day_of(moment: int) -> int:
    """The day that a moment (µs) falls on."""
    return _day((moment + _OFFSET) // _DAY)


def month_of(moment: int) -> int:
    """The month that a moment (µs) falls into."""
    return day_of(moment) // 100


def start_of(month: int) -> int:
    """The first moment (µs) of a month."""
    first = datetime(month // 100, month % 100, 1, tzinfo=CHINA)
    return int(first.astimezone(UTC).timestamp()) * SECOND


def end_of(month: int) -> int:
    """The first moment (µs) after a month."""
    return start_of(after(month))


def after(month: int) -> int:
    """The next month."""
    return month + 1 if month % 100 < 12 else month + 89


def before(month: int) -> int:
    """The month before."""
    return month - 1 if month % 100 > 1 else month - 89


@lru_cache(maxsize=256)
def days_in(month: int) -> int:
    """How many days a month has."""
    return (end_of(month) - start_of(month)) // _DAY


def parse_month(text: str) -> int:
    """The month written `2026-11`. Raises ValueError."""
    match = _MONTH.fullmatch(text)
    if match is None:
        raise ValueError("not a month, as in 2026-11")
    return int(match[1]) * 100 + int(match[2])


def month_text(month: int) -> str:
    """`2026-11`."""
    return f"{month // 100}-{month % 100:02d}"


def day_text(day: int) -> str:
    """`2026-11-30`."""
    return f"{month_text(day // 100)}-{day % 100:02d}"


def days_within(month: int, since: int, until: int | None) -> int:
    """Days of a month on which something was had from `since` until `until` (µs; None: still).

    Every day begun counts, the day of returning too; a time without length has no days.
    """
    return len(day_places(month, [(since, until)]))


def day_places(month: int, spans: Iterable[tuple[int, int | None]]) -> set[int]:
    """The days of a month, counted from 0, that spans of time (as in `days_within`) touch."""
    start, end = start_of(month), end_of(month)
    places: set[int] = set()
    for since, until in spans:
        first, last = max(since, start), end if until is None else min(until, end)
        if first < last:
            places.update(range((first - start) // _DAY, (last - 1 - start) // _DAY + 1))
    return places
