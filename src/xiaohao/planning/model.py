"""The terms of planning: what is known of the demand, and how many numbers it needs.

Seconds everywhere; rates are a day's unless said otherwise. A relation is one person's claim on one number:
it lives while a binding lives and then rests for the recycle period.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOURS: Final = 24
DAY_S: Final = 86_400
MONTH_DAYS: Final = 30

#: Share of a day's ride-hailing orders in each hour of the day, from midnight on: two peaks, a quiet night. A
#: guess to begin with; give `orders` by hour, or plan from the platform's own history, to do better.
TYPICAL_DAY: Final = (
    *(0.014, 0.009, 0.006, 0.005, 0.006, 0.013, 0.030, 0.062, 0.073, 0.055, 0.046, 0.045),
    *(0.046, 0.047, 0.046, 0.046, 0.050, 0.066, 0.073, 0.064, 0.059, 0.056, 0.047, 0.036),
)

#: Recycle periods that every plan compares, in seconds.
RECYCLE_CHOICES: Final = (
    0,
    3600,
    6 * 3600,
    12 * 3600,
    DAY_S,
    2 * DAY_S,
    3 * DAY_S,
    7 * DAY_S,
    14 * DAY_S,
    30 * DAY_S,
)


class Life(StrEnum):
    """How the time from the reservation of a call to its release is spread."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class Group:
    """Drivers who are alike: how many of them work on a day, and how many orders each takes."""

    drivers: float
    orders: float


@dataclass(frozen=True, slots=True)
class CityDemand:
    """A city's day. `drivers` are all who have an X, `groups` those who work on the day planned for.

    `orders`: orders in each of the 24 hours, from midnight on, of all drivers together.
    """

    city: str
    drivers: int
    orders: tuple[float, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What numbers are needed for.

    `call_share`: of the orders, those for which a call is reserved (only these take a Y).
    `life_s`: mean time until such a binding ends. `recycle_s`: the recycle period of the Y.
    `blocking`: of the reservations, the largest share that may find no number free.
    `leaving`: share of the drivers that leave within 30 days; their X rest for `x_rest_s` before they go
    to a successor. `max_relations`: live relations that one number may carry; None: as many as fit.
    """

    cities: tuple[CityDemand, ...]
    call_share: float
    life_s: float
    life: Life
    recycle_s: float
    blocking: float
    leaving: float
    x_rest_s: float
    max_relations: int | None


@dataclass(frozen=True, slots=True)
class CityPlan:
    """The numbers that one city needs.

    `x` = `drivers` + `x_resting`; `x_lent` would do if an X were lent for as long as its driver has a
    relation, instead of being the driver's own. `y` keeps the share of refused reservations at `y_blocking`,
    which is `refused_a_day` of the `reservations` a day; `y_never` numbers refuse nobody on 99 days of 100.
    `mean_held` and `busiest_held`: relations, living and resting, of the average working driver and of the
    busiest one of an average day. `y_by_relations`: what `max_relations` alone would ask for.
    """

    city: str
    drivers: int
    working: float
    orders: float
    reservations: float
    x_resting: int
    x: int
    x_lent: int
    y: int
    y_blocking: float
    y_never: int
    y_by_relations: int
    refused_a_day: float
    mean_held: float
    busiest_held: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What another recycle period would need; `y_saved` compared with the plan's own, negative: more."""

    recycle_s: float
    y: int
    y_shared: int
    y_saved: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `y_shared`: Y numbers if all cities shared one pool, which numbers without a city allow."""

    demand: Demand
    cities: tuple[CityPlan, ...]
    choices: tuple[Choice, ...]
    drivers: int
    x: int
    x_lent: int
    y: int
    y_shared: int
    y_never: int


@dataclass(frozen=True, slots=True)
class Occupation:
    """One passenger on one Y of one driver, in seconds from the beginning of the picture."""

    driver: int
    passenger: int
    y: int
    since: float
    ends: float
    rests_until: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pool stands at a moment, in numbers.

    `usable`: those in a state that can be used; `assigned`: X of somebody; `used`: with a live relation;
    `resting`: with relations that all rest; `free`: usable without either. `peak`: the most numbers, live and
    resting, that one person holds. A number that is used by one person is free for another, so that a pool is
    exhausted for somebody when `peak` has reached what is `usable` and not `assigned`, however many are used.
    """

    total: int
    usable: int
    assigned: int
    used: int
    resting: int
    free: int
    peak: int

    @property
    def needed(self) -> int:
        """Numbers without which somebody would have been refused."""
        return self.assigned + self.peak


@dataclass(frozen=True, slots=True)
class Usage:
    """A pool's standing and what its trend says; `days_left` None: it does not grow, or it is not known."""

    standing: Standing
    at: int
    days_left: float | None
