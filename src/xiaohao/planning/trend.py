"""When a pool will be exhausted, from what it needed hour by hour."""

from collections.abc import Sequence
from typing import Final

from xiaohao.clock import SECOND
from xiaohao.planning.model import DAY_S

#: the days that a trend is reckoned from
DAYS: Final = 14
_FEWEST_DAYS: Final = 2
_DAY: Final = DAY_S * SECOND
#: of a day's hours, those that must have been sampled for the day to count
_FEWEST_HOURS: Final = 12
#: a trend so flat that it would take years is none
_LONGEST_DAYS: Final = 3650.0


def days_left(samples: Sequence[tuple[int, int]], needed: int, usable: int, now: int) -> float | None:
    """Days until `usable` numbers are needed, at the trend of the last days' peaks.

    `samples`: moments (microseconds) and numbers needed. Whole days of 24 hours up to `now` are compared, so
    that a morning is no growth. A straight line through the days' peaks (least squares) is the trend. 0 where
    no number is left; None where the peaks do not grow, or fewer than two days are known.
    """
    if needed >= usable:
        return 0.0
    by_day: dict[int, list[int]] = {}
    for at, value in samples:
        by_day.setdefault((now - at) // _DAY, []).append(value)
    peaks = {
        -day: max(values)
        for day, values in by_day.items()
        if 0 <= day < DAYS and len(values) >= _FEWEST_HOURS
    }
    if len(peaks) < _FEWEST_DAYS:
        return None
    middle = sum(peaks) / len(peaks)
    mean = sum(peaks.values()) / len(peaks)
    slope = sum((day - middle) * (peak - mean) for day, peak in peaks.items())
    slope /= sum((day - middle) ** 2 for day in peaks)
    if slope <= 0.0:
        return None
    left = (usable - max(needed, mean - slope * middle)) / slope
    return None if left > _LONGEST_DAYS else max(left, 0.0)
