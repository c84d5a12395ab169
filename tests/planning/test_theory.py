"""The formulas against known values, and against chance itself: long days of made-up orders, counted."""

import bisect
import heapq

import numpy as np
import pytest

from xiaohao.planning.model import DAY_S, TYPICAL_DAY, CityDemand, Demand, Life
from xiaohao.planning.simulation import Order, orders_of
from xiaohao.planning.theory import (
    STEPS,
    Traffic,
    blocking,
    groups_of,
    held,
    needed,
    poisson_quantile,
    resting,
)

FLAT = tuple([1 / 24] * 24)


def demand_of(
    drivers: int,
    orders: float,
    recycle_s: float,
    *,
    day: tuple[float, ...] = TYPICAL_DAY,
    spread: float = 0.0,
    life: Life = Life.FIXED,
    life_s: float = 1800.0,
) -> tuple[Demand, CityDemand]:
    """One city whose drivers reserve a call for each order."""
    total = drivers * orders / sum(day)
    city = CityDemand("10", drivers, tuple(total * hour for hour in day), groups_of(drivers, orders, spread))
    demand = Demand((city,), 1.0, life_s, life, recycle_s, 1e-4, 0.05, 30 * DAY_S, None)
    return demand, city


def count_refused(orders: list[Order], recycle_s: float, numbers: int) -> int:
    """How many orders find that many relations of their driver still there: the plainest of models."""
    taken: dict[int, list[float]] = {}
    refused = 0
    for order in orders:
        mine = taken.setdefault(order.driver, [])
        while mine and mine[0] <= order.at:
            heapq.heappop(mine)
        if len(mine) < numbers:
            heapq.heappush(mine, order.at + order.life_s + recycle_s)
        else:
            refused += 1
    return refused


def busiest_by_day(orders: list[Order], recycle_s: float, days: int) -> list[int]:
    """The most relations that any driver has on each day, if nobody is ever refused."""
    most = [0] * days
    ends: dict[int, list[float]] = {}
    for order in orders:
        mine = ends.setdefault(order.driver, [])
        bisect.insort(mine, order.at + order.life_s + recycle_s)
        del mine[: bisect.bisect_right(mine, order.at)]
        day = int(order.at // DAY_S)
        most[day] = max(most[day], len(mine))
    return most


@pytest.mark.parametrize(
    ("orders", "numbers", "expected"),
    # Erlang's table: 5, 18 and 117 lines refuse one call of a hundred at 1.36, 10.4 and 100 erlang.
    [(1.36, 5, 0.01), (10.4, 18, 0.01), (100.0, 117, 0.01)],
)
def test_erlang_s_table(orders: float, numbers: int, expected: float) -> None:
    demand, city = demand_of(1, orders, DAY_S - 1800)  # a relation a day long: as many erlang as orders
    traffic = Traffic.of(city, demand, demand.recycle_s)
    assert blocking(traffic, numbers) == pytest.approx(expected, rel=0.03)
    assert needed([traffic], expected * 1.03)[0][0] == numbers


def test_the_day_s_load_is_that_of_little_s_law_and_follows_the_rate() -> None:
    demand, city = demand_of(1, 12.0, 6 * 3600)
    traffic = Traffic.of(city, demand, demand.recycle_s)
    assert traffic.load.mean() == pytest.approx(12.0 * (6 * 3600 + 1800) / DAY_S, rel=1e-9)
    # After 9 o'clock in the evening the last six and a half hours were the busiest.
    assert 20 <= int(traffic.load[0].argmax()) * 24 / STEPS <= 23
    whole = held(np.full(STEPS, 0.01), 1800.0, DAY_S, Life.EXPONENTIAL)
    assert whole == pytest.approx(np.full(STEPS, 0.01 * (DAY_S + 1800)), rel=1e-6)


def test_groups_have_the_mean_and_the_spread() -> None:
    groups = groups_of(500, 20.0, 0.4)
    drivers = np.array([group.drivers for group in groups])
    orders = np.array([group.orders for group in groups])
    mean = (drivers * orders).sum() / drivers.sum()
    assert drivers.sum() == pytest.approx(500, rel=1e-6)
    assert mean == pytest.approx(20.0, rel=1e-6)
    assert np.sqrt((drivers * (orders - mean) ** 2).sum() / drivers.sum()) / mean == pytest.approx(
        0.4, rel=1e-3
    )
    assert groups_of(500, 20.0, 0.0)[0].orders == 20.0


@pytest.mark.parametrize(
    ("orders", "recycle_s", "day", "spread", "life", "numbers"),
    [
        (8.0, DAY_S, TYPICAL_DAY, 0.0, Life.FIXED, 9),
        (20.0, 6 * 3600, TYPICAL_DAY, 0.0, Life.FIXED, 12),
        (10.0, DAY_S, FLAT, 0.5, Life.FIXED, 18),
        (30.0, 0, TYPICAL_DAY, 0.0, Life.EXPONENTIAL, 3),
        (40.0, 3600, TYPICAL_DAY, 0.3, Life.EXPONENTIAL, 7),
    ],
)
def test_blocking_is_what_counting_finds(
    orders: float, recycle_s: float, day: tuple[float, ...], spread: float, life: Life, numbers: int
) -> None:
    demand, city = demand_of(100, orders, recycle_s, day=day, spread=spread, life=life)
    traffic = Traffic.of(city, demand, recycle_s)
    expected = blocking(traffic, numbers)
    days = 60
    drawn = orders_of(city, demand, days, seed=7)
    counted = count_refused(drawn, recycle_s, numbers) / len(drawn)
    assert 0.005 < expected < 0.3
    assert counted == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("drivers", "orders", "recycle_s", "spread"),
    [(60, 10.0, DAY_S, 0.0), (200, 20.0, 6 * 3600, 0.3), (30, 40.0, 0, 0.0)],
)
def test_the_busiest_driver_is_as_busy_as_counting_finds(
    drivers: int, orders: float, recycle_s: float, spread: float
) -> None:
    demand, city = demand_of(drivers, orders, recycle_s, spread=spread)
    traffic = Traffic.of(city, demand, recycle_s)
    days = 40
    counted = busiest_by_day(orders_of(city, demand, days, seed=3), recycle_s, days)[2:]
    assert traffic.busiest_mean() == pytest.approx(float(np.mean(counted)), rel=0.05)
    assert sum(most > traffic.never() for most in counted) <= 2


def test_poisson_quantiles() -> None:
    assert poisson_quantile(0.0, 1e-4) == 0
    assert poisson_quantile(1.0, 0.05) == 3  # P(N <= 3) = 0.981, P(N <= 2) = 0.920
    assert poisson_quantile(10_000.0, 0.5) == 10_000
    assert resting(1000, 0.1, 30 * DAY_S, 0.5) == 100
