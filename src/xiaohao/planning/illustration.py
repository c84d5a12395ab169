"""Three drivers of a plan on one day, as the real allocator serves them: what the picture shows."""

from dataclasses import replace
from typing import Final

from xiaohao.planning.model import DAY_S, CityDemand, Demand, Group, Occupation
from xiaohao.planning.simulation import Order, orders_of, simulate

_DRIVERS: Final = 3
#: more rows and bars than this nobody can read
_MOST_CALLS: Final = 10.0
_LONGEST_REST_S: Final = 1.25 * DAY_S
_SEED: Final = 20


async def illustrate(demand: Demand) -> tuple[list[Occupation], float]:
    """Two days of three drivers like the average one of the first city, on a pool just large enough.

    Gives what each Y was taken for, and the recycle period shown: a shorter one than the plan's where that
    would fill the picture.
    """
    city = demand.cities[0]
    working = sum(group.drivers for group in city.groups)
    orders = sum(group.drivers * group.orders for group in city.groups) / working
    calls = min(orders * demand.call_share, _MOST_CALLS)
    rest_s = min(demand.recycle_s, _LONGEST_REST_S)
    shape = tuple(hour / sum(city.orders) * calls * _DRIVERS for hour in city.orders)
    small = CityDemand(city.city, _DRIVERS, shape, (Group(float(_DRIVERS), calls),))
    shown = replace(demand, cities=(small,), call_share=1.0, recycle_s=rest_s, max_relations=None)
    orders_drawn = orders_of(small, shown, 2, _SEED)
    numbers = max(most_held(orders_drawn, rest_s), 1)
    seen = await simulate(shown, small, numbers, days=1, first_days=1, seed=_SEED)
    return seen.occupations, rest_s


def most_held(orders: list[Order], recycle_s: float) -> int:
    """The most relations, living and resting, that one driver of these orders has at any moment."""
    most = 0
    ends: dict[int, list[float]] = {}
    for order in orders:
        mine = [until for until in ends.get(order.driver, []) if until > order.at]
        mine.append(order.at + order.life_s + recycle_s)
        ends[order.driver] = mine
        most = max(most, len(mine))
    return most
