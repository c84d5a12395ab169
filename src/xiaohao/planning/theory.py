"""How many numbers are needed, by teletraffic theory. `docs/planning.md` derives every formula used here.

A relation occupies its number for one person only: the leg (driver, Y) is unique, and another driver may use
the same Y for somebody else. So a pool of n numbers is, for each driver, a group of n servers of the driver's
own: reservations arrive as a Poisson process, each holds a server for life plus recycle period, and one that
finds all n taken is refused. Sources: A. K. Erlang (1917) for the loss formula; Eick, Massey and Whitt, "The
physics of the Mt/G/∞ queue" (1993) for the load that varies over the day; Jagerman, "Nonstationary blocking
in telephone traffic" (1975) for putting the one into the other; Aldous, "Probability approximations via the
Poisson clumping heuristic" (1989) for the busiest driver of a day; Golub and Welsch, "Calculation of Gauss
quadrature rules" (1969) for drivers who are not alike.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xiaohao.planning import loss
from xiaohao.planning.model import DAY_S, HOURS, MONTH_DAYS, CityDemand, Demand, Group, Life

Array = NDArray[np.float64]

#: steps of a day: a quarter of an hour is short beside what orders do in an hour
STEPS: Final = 96
_STEP_S: Final = DAY_S / STEPS
_NODES: Final = 7
#: lives after which hardly any exponential binding is left: e^-20
_LONG_LIFE: Final = 20.0
#: days on which the busiest driver is never refused, of all days
ASSURANCE: Final = 0.99
_NEGLIGIBLE: Final = 1e-9
#: a load that varies less over the day leaves Erlang's formula right
_STEADY: Final = 1.25
#: relations, and of these the ones that end in a step, beyond which a load is not followed through the day
_MANY: Final = 150.0
_QUICK: Final = 8.0
#: pool sizes that are tried at once
_TRIES: Final = 3
#: mean from which on Poisson's quantile is told from the normal one, to less than one
_LARGE_MEAN: Final = 1e4


def groups_of(drivers: float, orders: float, spread: float) -> tuple[Group, ...]:
    """Drivers whose orders a day are gamma distributed around `orders`, as a few groups of equal drivers.

    `spread`: standard deviation divided by mean. The groups are the nodes of the Gauss quadrature of that
    distribution: its mean, its spread and 11 further moments come out exactly.
    """
    if spread <= 0.0:
        return (Group(drivers, orders),)
    shape = 1.0 / spread**2
    place = np.arange(_NODES, dtype=np.float64)
    beside = np.sqrt(place[1:] * (place[1:] + shape - 1.0))
    jacobi = np.diag(2.0 * place + shape) + np.diag(beside, 1) + np.diag(beside, -1)
    nodes, vectors = np.linalg.eigh(jacobi)
    shares = vectors[0] ** 2
    return tuple(
        Group(drivers * float(share), orders * float(node) / shape)
        for node, share in zip(nodes, shares, strict=True)
        if share > _NEGLIGIBLE
    )


def held(rate: Array, life_s: float, recycle_s: float, life: Life) -> Array:
    """Mean relations at the end of each step of a day that repeats, if no reservation is ever refused.

    `rate`: reservations a second in each of the STEPS steps. It is the convolution of the rate with the
    chance that a relation is still there so long after its reservation.
    """
    return _convolved(rate, _lasting(life_s, recycle_s, life))


def _convolved(rate: Array, kernel: Array) -> Array:
    product = np.fft.ifft(np.fft.fft(rate) * np.fft.fft(kernel)).real
    return np.maximum(product, 0.0)


@lru_cache(maxsize=32)
def _lasting(life_s: float, recycle_s: float, life: Life) -> Array:
    """Seconds of each step that a relation lasts, laid over a single day."""
    edges, gone = _gone(life_s, recycle_s, life)
    over = np.maximum(edges - recycle_s, 0.0)
    spent = life_s * gone if life is Life.EXPONENTIAL else np.minimum(over, life_s)
    return _folded(np.diff(np.minimum(edges, recycle_s) + spent))


def _gone(life_s: float, recycle_s: float, life: Life) -> tuple[Array, Array]:
    """Moments after a reservation, a step apart, and the chance that its relation has ended by then."""
    last = recycle_s + life_s * (_LONG_LIFE if life is Life.EXPONENTIAL else 1.0)
    edges = np.arange(math.ceil(last / _STEP_S) + 2, dtype=np.float64) * _STEP_S
    over = edges - recycle_s
    if life is Life.EXPONENTIAL:
        gone: Array = -np.expm1(-np.maximum(over, 0.0) / life_s)
        return edges, gone
    return edges, np.asarray(over >= life_s, dtype=np.float64)


def _folded(kernel: Array) -> Array:
    """A kernel of many days laid over a single one."""
    folded = np.zeros(STEPS)
    np.add.at(folded, np.arange(kernel.size) % STEPS, kernel)
    return folded


@lru_cache(maxsize=32)  # cities of one plan have it in common
def _endings(life_s: float, recycle_s: float, life: Life) -> Array:
    """Share of the relations that end so many steps after that of their reservation, whatever the day."""
    if life is Life.FIXED:
        steps, rest = divmod((recycle_s + life_s) / _STEP_S, 1.0)
        kernel = np.zeros(int(steps) + 2)
        kernel[-2:] = 1.0 - rest, rest
        return _folded(kernel)
    _, gone = _gone(life_s, recycle_s, life)
    # Reservations spread over their step, so that half of what ends in a step's length ends in the next one.
    spread = np.diff(gone)
    return _folded((np.append(spread, 0.0) + np.append(0.0, spread)) / 2.0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """A city's reservations. Arrays have a row a group and a column a step.

    `load`: mean relations of a driver during the step. `weight`: share of the day's reservations.
    `rate`: reservations a second of one driver. `drivers`: drivers of each group. `lasting` and
    `ending`: the share of relations that are still there, and that end, so many steps (modulo a day) after
    the step of their reservation.
    """

    load: Array
    weight: Array
    rate: Array
    drivers: Array
    lasting: Array
    ending: Array

    @classmethod
    def of(cls, city: CityDemand, demand: Demand, recycle_s: float) -> "Traffic":
        """The traffic of a city's day under this recycle period."""
        hours = np.asarray(city.orders, dtype=np.float64)
        shape = np.repeat(hours / max(hours.sum(), _NEGLIGIBLE), STEPS // HOURS) / (DAY_S / HOURS)
        drivers = np.array([group.drivers for group in city.groups])
        orders = np.array([group.orders for group in city.groups])
        lasting = _lasting(demand.life_s, recycle_s, demand.life)
        one = _convolved(shape, lasting)
        during = (one + np.roll(one, 1)) / 2.0
        rate = np.outer(orders * demand.call_share, shape)
        weight = rate * drivers[:, None]
        return cls(
            load=np.outer(orders * demand.call_share, during),
            weight=weight / max(float(weight.sum()), _NEGLIGIBLE),
            rate=rate,
            drivers=drivers,
            lasting=lasting / _STEP_S,
            ending=_endings(demand.life_s, recycle_s, demand.life),
        )

    @property
    def is_steady(self) -> bool:
        """Whether Erlang's formula holds.

        It does where the load hardly varies over the day; where relations are so short beside the hours that
        numbers come back as fast as they go; and nearly so where there are so many that a few more or less do
        not matter.
        """
        most = float(self.load.max(initial=0.0))
        back = most * float(self.ending.sum()) / max(float(self.lasting.sum()), 1.0)
        varies = most > _STEADY * float(self.load.min(initial=np.inf))
        return not varies or most > _MANY or back > _QUICK

    @property
    def mean_held(self) -> float:
        """Relations of the average driver, over the whole day."""
        everybody = max(float(self.drivers.sum()), _NEGLIGIBLE)
        return float((self.load.mean(axis=1) * self.drivers).sum()) / everybody

    def alive_at_peak(self, demand: Demand) -> float:
        """Mean number of bindings that live, of all drivers, at the busiest step."""
        hours = (self.rate * self.drivers[:, None]).sum(axis=0)
        return float(held(hours, demand.life_s, 0.0, demand.life).max())

    def busiest(self) -> Iterator[float]:
        """The chance that on a day no driver ever has more than 0, 1, 2 … relations (nobody refused).

        Somebody has more than k when the day begins with more, or when a reservation comes upon k. Such
        moments come in clumps, because who goes from k to k + 1 soon goes back and up again: a clump counts
        once (Aldous, M/M/∞ queue). Clumps of different drivers are independent.
        """
        load = np.maximum(self.load, _NEGLIGIBLE)
        logarithm = np.log(load)
        morning = np.maximum(self.load[:, -1], _NEGLIGIBLE)
        below = np.zeros_like(morning)
        k = 0
        while True:
            chance = np.exp(k * logarithm - load - math.lgamma(k + 1))
            below += np.exp(k * np.log(morning) - morning - math.lgamma(k + 1))
            once = np.maximum(1.0 - load / (k + 1), 0.0)
            rises = (self.rate * chance * once).sum(axis=1) * _STEP_S
            start = -np.log(np.clip(below, 1e-300, 1.0))
            # Where most drivers hold more than k, clumps are not rare: there `start` decides.
            yield float(np.exp(-(self.drivers * (rises + start)).sum()))
            k += 1

    def busiest_mean(self) -> float:
        """The mean over days of the most relations that any driver has at any moment."""
        mean = 0.0
        for chance in self.busiest():
            mean += 1.0 - chance
            if chance > 1.0 - 1e-6:
                return mean
        raise AssertionError("the chances go on for ever")

    def never(self, assurance: float = ASSURANCE) -> int:
        """The fewest numbers with which nobody is refused on this share of all days."""
        return next(k for k, chance in enumerate(self.busiest()) if chance >= assurance)

    def lent(self, target: float) -> int:
        """X numbers that do if each is lent only while its driver has a relation on it.

        At the busiest step, of many drivers who have a relation or have none independently.
        """
        busy = -np.expm1(-self.load)
        mean = (busy * self.drivers[:, None]).sum(axis=0)
        variance = (busy * (1.0 - busy) * self.drivers[:, None]).sum(axis=0)
        most = mean + NormalDist().inv_cdf(1.0 - target) * np.sqrt(variance)
        return math.ceil(min(float(most.max()), float(self.drivers.sum())) - _NEGLIGIBLE)


def blocking(traffic: Traffic, numbers: int) -> float:
    """Share of the reservations that a pool of so many numbers refuses."""
    if traffic.is_steady:
        return next(share for n, share in enumerate(_erlang(traffic)) if n == numbers)
    return _refused([traffic], [range(numbers, numbers + 1)])[0][0]


def needed(traffics: Sequence[Traffic], target: float) -> list[tuple[int, float]]:
    """For each city the fewest numbers whose blocking is at most `target`, and that blocking.

    All of one demand and recycle period: they are worked out together, which takes little longer than one.
    """
    found = [
        next((n, share) for n, share in enumerate(_erlang(traffic)) if share <= target)
        for traffic in traffics
    ]
    # Where the load varies Erlang's formula is a number or two away.
    open_ = [place for place, traffic in enumerate(traffics) if not traffic.is_steady]
    starts = {place: max(found[place][0] - 1, 0) for place in open_}
    while open_:
        tried = [range(starts[place], starts[place] + _TRIES) for place in open_]
        left = []
        for place, numbers, shares in zip(
            open_, tried, _refused([traffics[place] for place in open_], tried), strict=True
        ):
            for n, share in zip(numbers, shares, strict=True):
                if share <= target:
                    found[place] = n, share
                    break
            else:
                starts[place] += _TRIES
                left.append(place)
        open_ = left
    return found


def _erlang(traffic: Traffic) -> Iterator[float]:
    """Blocking with 0, 1, 2 … numbers: Erlang's loss formula in each step for each group, then the mean."""
    load = traffic.load
    refused = np.ones_like(load)
    n = 0
    while True:
        yield float((refused * traffic.weight).sum())
        n += 1
        refused = load * refused / (n + load * refused)


def fine_steps(traffic: Traffic, most: float) -> int:
    """Into how many a step is divided when a city is followed through the day with `most` numbers."""
    there = np.maximum(_convolved(traffic.rate.max(axis=0), traffic.lasting), 1e-12)
    hazard = np.minimum(_convolved(traffic.rate.max(axis=0), traffic.ending) / there, 1.0)
    return loss.fine_steps(float(traffic.rate.max()) * _STEP_S + most * float(hazard.max()))


def _refused(traffics: Sequence[Traffic], numbers: Sequence[range]) -> list[list[float]]:
    """For each city the share of refused reservations with each of its `numbers`."""
    groups = [traffic.drivers.size for traffic in traffics]
    day = loss.Day(
        arrivals=np.concatenate([traffic.rate for traffic in traffics]) * _STEP_S,
        load=np.concatenate([traffic.load for traffic in traffics]),
        lasting=traffics[0].lasting,
        ending=traffics[0].ending,
    )
    offered = np.array(
        [
            [n for n, count in zip(row, groups, strict=True) for _ in range(count)]
            for row in zip(*numbers, strict=True)
        ]
    )
    shares = loss.refused(day, offered)
    ends = np.cumsum(groups)
    return [
        [float(share) for share in (shares[:, end - count : end] * traffic.weight).sum(axis=(1, 2))]
        for traffic, count, end in zip(traffics, groups, ends, strict=True)
    ]


def resting(drivers: float, leaving: float, rest_s: float, target: float) -> int:
    """X of drivers who left that rest at the same time, exceeded with the chance `target` only (Poisson)."""
    return poisson_quantile(drivers * leaving * rest_s / (MONTH_DAYS * DAY_S), target)


def poisson_quantile(mean: float, target: float) -> int:
    """The smallest k that a Poisson variable exceeds with a chance of at most `target`."""
    if mean <= 0.0:
        return 0
    deviation = math.sqrt(mean)
    if mean > _LARGE_MEAN:
        normal = NormalDist().inv_cdf(1.0 - target)
        return math.ceil(mean + normal * deviation + (normal**2 - 1.0) / 6.0)
    first = max(int(mean - 8.0 * deviation), 0)  # less is as good as never: begin there
    logarithm, below, k = math.log(mean), 0.0, first
    while True:
        below += math.exp(k * logarithm - mean - math.lgamma(k + 1))
        if below >= 1.0 - target or k > mean + 40.0 * deviation + 40.0:
            return k
        k += 1


def largest_load(cities: Sequence[CityDemand], demand: Demand, recycle_s: float) -> float:
    """The most relations that a group's driver has in the mean: what the work of planning grows with."""
    loads = (Traffic.of(city, demand, recycle_s).load.max(initial=0.0) for city in cities)
    return max(map(float, loads), default=0.0)
