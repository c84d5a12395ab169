"""Time: microseconds since 1970-01-01T00:00:00Z everywhere inside, RFC 3339 text outside."""

import time
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

#: China Standard Time has had no daylight saving since 1991, so a fixed offset says it all.
CHINA: Final = timezone(timedelta(hours=8))
SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND

_MINUTE: Final = 60 * SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now_us() -> int:
    """The present moment in microseconds since the epoch."""
    return time.time_ns() // 1000


# A call has a handful of moments and writes each a dozen times: in its events, in its CDR.
@lru_cache(maxsize=1024)
def rfc3339(us: int) -> str:
    """UTC with milliseconds: `2026-11-23T03:04:05.678Z` (RFC 3339 section 5.6); finer digits are cut off."""
    minute, rest = divmod(us, _MINUTE)
    return f"{_until_the_minute(minute, UTC)}{rest // SECOND:02d}.{rest // 1000 % 1000:03d}Z"


def rfc3339_or_none(us: int | None) -> str | None:
    """The same for a moment that may not have come."""
    return None if us is None else rfc3339(us)


@lru_cache(maxsize=1024)
def rfc3339_local(us: int) -> str:
    """The same moment on a Chinese clock: `2026-11-23T11:04:05.678+08:00`."""
    minute, rest = divmod(us, _MINUTE)
    return f"{_until_the_minute(minute, CHINA)}{rest // SECOND:02d}.{rest // 1000 % 1000:03d}+08:00"


def parse_rfc3339(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 date-time with its offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text.upper():
        raise ValueError("a moment needs date, time and offset, as in 2026-11-23T03:04:05Z")
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=64)
def _until_the_minute(minute: int, zone: timezone) -> str:
    return (_EPOCH + timedelta(minutes=minute)).astimezone(zone).strftime("%Y-%m-%dT%H:%M:")
