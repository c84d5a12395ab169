"""The real allocator under made-up orders: it refuses and needs just what theory says."""

from dataclasses import replace

import pytest
from tests.planning.test_theory import FLAT, busiest_by_day, count_refused, demand_of

from xiaohao.planning.model import DAY_S, TYPICAL_DAY
from xiaohao.planning.simulation import orders_of, simulate
from xiaohao.planning.theory import Traffic, blocking


@pytest.mark.parametrize(
    ("drivers", "orders", "recycle_s", "day", "numbers", "days"),
    # By chance alone such few orders differ from the mean by 1.5 % (standard deviation over many seeds).
    [(12, 8.0, DAY_S, FLAT, 5, 6), (8, 30.0, 12 * 3600, TYPICAL_DAY, 6, 2)],
)
async def test_the_allocator_refuses_as_often_as_theory_says(
    drivers: int, orders: float, recycle_s: int, day: tuple[float, ...], numbers: int, days: int
) -> None:
    demand, city = demand_of(drivers, orders, recycle_s, day=day)
    seen = await simulate(demand, city, numbers, days=days, first_days=1, seed=11)
    # Chance sent so many orders, which may be a few more or less than the mean: theory is told how many.
    drawn = orders_of(city, demand, days + 1, seed=11)
    busier = len(drawn) / (drivers * orders * (days + 1))
    groups = tuple(replace(group, orders=group.orders * busier) for group in city.groups)
    traffic = Traffic.of(replace(city, groups=groups), demand, recycle_s)
    assert seen.blocking == pytest.approx(blocking(traffic, numbers), rel=0.05)
    # and not a single one more or less than the plainest of models counts
    whole = seen.refused + sum(1 for o in drawn if o.at < DAY_S) - _granted_before(seen, DAY_S)
    assert whole == count_refused(drawn, recycle_s, numbers)
    assert seen.touched == numbers


def _granted_before(seen: object, moment: float) -> int:
    return sum(1 for occupation in seen.occupations if occupation.since < moment)  # type: ignore[attr-defined]


async def test_the_allocator_needs_as_many_numbers_as_the_busiest_driver_has_relations() -> None:
    recycle_s = 6 * 3600
    demand, city = demand_of(5, 20.0, recycle_s, spread=0.3)
    needed = max(busiest_by_day(orders_of(city, demand, 3, seed=5), recycle_s, 3))
    enough = await simulate(demand, city, needed, days=3, first_days=0, seed=5)
    assert enough.refused == 0
    assert max(enough.busiest) == enough.touched == needed
    short = await simulate(demand, city, needed - 1, days=3, first_days=0, seed=5)
    assert short.refused > 0
    assert Traffic.of(city, demand, recycle_s).busiest_mean() == pytest.approx(needed, rel=0.2)
