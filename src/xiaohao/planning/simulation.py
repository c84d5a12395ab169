"""A day on the real allocator: `Bindings` on a database of its own, under a clock that jumps.

Only the drivers and their passengers are made up. Which Y a driver gets, that it rests and when it is free
again is decided by the same code and the same tables as on the platform.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from xiaohao.bindings.model import Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.clock import SECOND
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal
from xiaohao.numbers.model import NumberSpec
from xiaohao.numbers.service import BATCH_MAX, Numbers
from xiaohao.planning.model import DAY_S, HOURS, CityDemand, Demand, Life, Occupation
from xiaohao.pools.model import Policy
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

#: midnight in China, 2026-11-24
_MIDNIGHT: Final = 1_795_449_600
_SWEEP_S: Final = 3600
_HOUR_S: Final = DAY_S // HOURS
#: a database that nobody needs tomorrow may lie in memory
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it


@dataclass
class _Clock:
    now: int = _MIDNIGHT * SECOND

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """One order for which a call is reserved: seconds from the beginning, and how long the binding lives."""

    at: float
    driver: int
    life_s: int


@dataclass(slots=True)
class Seen:
    """What happened from the end of the first days, which only fill the pool, to the end.

    `busiest`: for each of those days the most relations, living and resting, that any driver had. `held`: the
    mean relations that a driver had when a call was reserved. `touched`: different Y in use.
    """

    reservations: int = 0
    refused: int = 0
    busiest: list[int] = field(default_factory=list)
    held: float = 0.0
    touched: int = 0
    occupations: list[Occupation] = field(default_factory=list)

    @property
    def blocking(self) -> float:
        """Share of the reservations that found no number free."""
        return self.refused / max(self.reservations, 1)


def orders_of(city: CityDemand, demand: Demand, days: int, seed: int) -> list[Order]:
    """Orders of all drivers of a city in so many days, in the order of time: a Poisson process a driver."""
    chance = np.random.default_rng(seed)
    hours = np.tile(np.asarray(city.orders, dtype=np.float64), days)
    shares = hours / max(float(hours.sum()), 1e-9) * days
    orders = []
    for driver, rate in enumerate(_rates(city)):
        counts = chance.poisson(rate * demand.call_share * shares)
        starts = np.repeat(np.arange(hours.size), counts)
        moments = (starts + chance.random(starts.size)) * _HOUR_S
        lives = np.full(starts.size, demand.life_s)
        if demand.life is Life.EXPONENTIAL:
            lives = chance.exponential(demand.life_s, starts.size)
        orders += [
            Order(float(at), driver, max(round(float(life)), 1))
            for at, life in zip(moments, lives, strict=True)
        ]
    return sorted(orders)


def _rates(city: CityDemand) -> list[float]:
    """The orders a day of each single driver: groups of a fraction of a driver go to the nearest whole."""
    rates: list[float] = []
    everybody = 0.0
    for group in city.groups:
        everybody += group.drivers
        rates += [group.orders] * (round(everybody) - len(rates))
    return rates


async def simulate(
    demand: Demand,
    city: CityDemand,
    numbers: int,
    *,
    days: int,
    first_days: int,
    seed: int = 1,
) -> Seen:
    """Let the drivers of a city work for some days on a pool of `numbers` Y, with a fixed X each.

    The first `first_days` fill the pool and are not counted: at least the recycle period. One reservation
    takes about two milliseconds.
    """
    orders = orders_of(city, demand, first_days + days, seed)
    async with _house(len(_rates(city)), numbers, int(demand.recycle_s)) as house:
        return await house.run(orders, first_days, days)


@asynccontextmanager
async def _house(drivers: int, numbers: int, recycle_s: int) -> AsyncIterator["_House"]:
    place = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="xiaohao-plan-", dir=place) as folder:
        database = Database(f"sqlite:///{folder}/plan.db")
        try:
            await database.migrate()
            yield await _House.furnished(database, drivers, numbers, recycle_s)
        finally:
            await database.close()


class _House:
    """A small platform: one customer with a pool of Y, and its drivers."""

    def __init__(self, database: Database, recycle_s: int) -> None:
        self._clock = _Clock()
        self._vault = vault = Vault(os.urandom(32))
        self._recycle_s = recycle_s
        self._tenants = Tenants(database, vault, self._clock)
        self._numbers = Numbers(database, vault, self._clock)
        self._bindings = Bindings(database, vault, self._clock)
        self._customer = self._pool = ""
        self._places: dict[str, int] = {}
        self._rests: dict[int, list[float]] = {}

    @classmethod
    async def furnished(cls, database: Database, drivers: int, numbers: int, recycle_s: int) -> "_House":
        house = cls(database, recycle_s)
        pools = Pools(database, house._vault, house._clock)
        house._customer = (await house._tenants.create_customer("planning")).id
        house._pool = (await pools.create("Y", Policy(recycle_s=recycle_s), house._customer)).id
        xs = [NumberSpec(_x(driver), customer_id=house._customer) for driver in range(drivers)]
        ys = [NumberSpec(_y(place), house._pool) for place in range(numbers)]
        specs = xs + ys
        for start in range(0, len(specs), BATCH_MAX):
            await house._numbers.add_numbers(specs[start : start + BATCH_MAX])
        for driver in range(drivers):
            await house._numbers.assign(_x(driver), _person(driver), house._customer)
        return house

    async def run(self, orders: list[Order], first_days: int, days: int) -> Seen:
        seen, begins, swept = Seen(busiest=[0] * days), first_days * DAY_S, 0.0
        held = 0
        for passenger, order in enumerate(orders, start=1_000_000):
            self._clock.now = (_MIDNIGHT * SECOND) + int(order.at * SECOND)
            if order.at - swept > _SWEEP_S:
                await self._bindings.sweep()
                swept = order.at
            before = self._held(order)
            occupation = await self._reserve(order, passenger)
            if occupation is not None:
                self._rests[order.driver].append(occupation.rests_until)
                seen.occupations.append(occupation)
            if order.at < begins:
                continue
            seen.reservations += 1
            seen.refused += occupation is None
            held += before
            day = int((order.at - begins) // DAY_S)
            seen.busiest[day] = max(seen.busiest[day], before + (occupation is not None))
        seen.held = held / max(seen.reservations, 1)
        seen.touched = len({occupation.y for occupation in seen.occupations})
        return seen

    def _held(self, order: Order) -> int:
        rests = self._rests.setdefault(order.driver, [])
        rests[:] = [until for until in rests if until > order.at]
        return len(rests)

    async def _reserve(self, order: Order, passenger: int) -> Occupation | None:
        wish = Reservation(
            a=_person(order.driver),
            b=_person(passenger),
            y_pool=self._pool,
            expires_in_s=order.life_s,
            record=False,
        )
        try:
            binding = await self._bindings.reserve(self._customer, wish)
        except Refusal as refusal:
            if refusal.code != "number_pool_exhausted":
                raise
            return None
        # numbered as they come into use
        place = self._places.setdefault(str(binding.y), len(self._places))
        ends = order.at + order.life_s
        return Occupation(order.driver, passenger, place, order.at, ends, ends + self._recycle_s)


def _person(place: int) -> str:
    return f"+86138{place:08}"


def _x(place: int) -> str:
    return f"+861051{place:06}"


def _y(place: int) -> str:
    return f"+861062{place:06}"
