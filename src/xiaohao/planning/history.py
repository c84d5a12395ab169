"""A demand read from what people did: the rows of a pool's bindings."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xiaohao.clock import CHINA, SECOND
from xiaohao.planning.model import DAY_S, HOURS, RECYCLE_CHOICES, Life
from xiaohao.planning.wire import CityInput, PlanRequest

Integers = NDArray[np.int64]

_OFFSET_S: Final = int(CHINA.utcoffset(None).total_seconds())
_DEFAULT_LIFE_S: Final = 3600.0
#: an exponential spread has as much deviation as mean, a fixed one has none
_RATHER_EXPONENTIAL: Final = 0.5
#: numbers without a city
NOWHERE: Final = "-"


@dataclass(frozen=True, slots=True)
class Held:
    """A person held a number of a city from `since` until `until` (microseconds; None: still)."""

    person: bytes
    since: int
    until: int | None
    city: str | None


@dataclass(frozen=True, slots=True)
class Busiest:
    """The most numbers that one person would have held, had the recycle period been this one."""

    recycle_s: float
    held: int


def request_from(
    held: Sequence[Held], recycle_s: float, share: float, max_relations: int | None
) -> PlanRequest:
    """The demand of the busiest day of a pool's history.

    `share`: of all people, those whose rows these are. By the method of moments, drivers differ by as much as
    the spread of their orders exceeds that of a Poisson process.
    """
    lives = [(one.until - one.since) / SECOND for one in held if one.until is not None]
    life_s = max(float(np.mean(lives)), 1.0) if lives else _DEFAULT_LIFE_S
    exponential = bool(lives) and float(np.std(lives)) > _RATHER_EXPONENTIAL * life_s
    cities: dict[str, list[Held]] = {}
    for one in held:
        cities.setdefault(one.city or NOWHERE, []).append(one)
    found = [_city(city, rows, share) for city, rows in sorted(cities.items())]
    spread = max(spread for _, spread in found)
    return PlanRequest.model_validate(
        {
            "cities": [city for city, _ in found],
            "binding_life_s": life_s,
            "binding_life": Life.EXPONENTIAL if exponential else Life.FIXED,
            "recycle_s": recycle_s,
            "spread": min(spread, 3.0),
            "max_relations": max_relations,
        }
    )


def _city(city: str, held: Sequence[Held], share: float) -> tuple[CityInput, float]:
    days = Counter(_day(one) for one in held)
    busiest = max(days, key=lambda day: (days[day], day))
    that_day = [one for one in held if _day(one) == busiest]
    hours = Counter((one.since // SECOND + _OFFSET_S) % DAY_S * HOURS // DAY_S for one in that_day)
    orders = np.array(list(Counter(one.person for one in that_day).values()), dtype=np.float64)
    mean = float(orders.mean())
    spread = math.sqrt(max(float(orders.var()) - mean, 0.0)) / mean
    people = len({one.person for one in held})
    demand = CityInput.model_validate(
        {
            "city": city,
            "drivers": max(round(people / share), 1),
            "orders": [hours.get(hour, 0) / share for hour in range(HOURS)],
            "orders_per_driver": mean,
        }
    )
    return demand, spread


def _day(one: Held) -> int:
    return (one.since // SECOND + _OFFSET_S) // DAY_S


def busiest(held: Sequence[Held], recycle_s: float, now: int) -> list[Busiest]:
    """What the busiest person of a history would have held under this and other recycle periods."""
    people = {person: place for place, person in enumerate({one.person for one in held})}
    who = np.array([people[one.person] for one in held], dtype=np.int64)
    since = np.array([one.since for one in held], dtype=np.int64)
    until = np.array([now if one.until is None else one.until for one in held], dtype=np.int64)
    return [
        Busiest(period, _most(who, since, until + int(period * SECOND)))
        for period in sorted({*RECYCLE_CHOICES, recycle_s})
    ]


def _most(who: Integers, since: Integers, until: Integers) -> int:
    """The most intervals of one person that overlap anywhere; what ends at a moment is over before it."""
    everybody = np.concatenate([who, who])
    moments = np.concatenate([since, until])
    change = np.concatenate([np.ones_like(who), -np.ones_like(who)])
    order = np.lexsort((change, moments, everybody))
    # Each person's changes add up to nothing, so that the running sum begins anew with the next one.
    return int(np.cumsum(change[order]).max(initial=0))
