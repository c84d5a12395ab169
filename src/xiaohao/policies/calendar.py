"""Days and their kinds: which are worked on in China, and what the operator says differently.

Holidays and make-up working days are those that the State Council's General Office publishes each autumn for
the next year (国务院办公厅关于部分节假日安排的通知), as the library chinesecalendar has them. For a
year that is not published yet weekends are days off and nothing else is: the operator enters what is known.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from chinese_calendar import constants  # type: ignore[import-untyped]

from xiaohao.clock import CHINA, SECOND

CLOCK: Final = "Asia/Shanghai"
#: the last year of which the arrangement is known
PUBLISHED_UNTIL: Final = max(constants.holidays).year
_LONGEST_NAME: Final = 64


class DayKind(StrEnum):
    """What the operator may say of a day."""

    WORKDAY = "workday"
    #: neither a weekend's nor a working day
    HOLIDAY = "holiday"


#: names of days, each with its place in a set of bits
DAYS: Final = {
    name: 1 << place
    for place, name in enumerate(
        ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "day_off", "holiday")
    )
}
EVERY_DAY: Final = (1 << 7) - 1


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo | None:
    """The time zone of this name; None where there is none."""
    if name == CLOCK:
        return CHINA
    if not name or len(name) > _LONGEST_NAME:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
        return None


def bits_of(day: date, said: Mapping[date, DayKind]) -> int:
    """The names that a day has, `said` being what the operator says of days."""
    kind = said.get(day)
    published = day in constants.holidays
    holiday = kind is DayKind.HOLIDAY or (kind is None and published)
    worked = kind is DayKind.WORKDAY or (kind is None and day in constants.workdays)
    off = holiday or (day.weekday() >= 5 and not worked)
    bits = 1 << day.weekday()
    bits |= DAYS["day_off"] if off else DAYS["workday"]
    return bits | (DAYS["holiday"] if holiday else 0)


def local(at: int, zone: tzinfo) -> datetime:
    """A moment in µs since the epoch, on the clock of a zone."""
    return datetime.fromtimestamp(at // SECOND, zone)


def day_before(day: date) -> date:
    """Yesterday."""
    return day - timedelta(days=1)
