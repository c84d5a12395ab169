"""From a demand to a plan."""

import math
from collections.abc import Sequence
from typing import Final

from xiaohao.errors import validation_failed
from xiaohao.planning.model import RECYCLE_CHOICES, Choice, CityDemand, CityPlan, Demand, Plan
from xiaohao.planning.theory import Traffic, largest_load, needed, poisson_quantile, resting

#: relations of one person beyond which a plan is no plan: no customer pays for so many numbers
LARGEST_LOAD: Final = 2000.0


def compute(demand: Demand) -> Plan:
    """The numbers that a demand needs. Pure arithmetic, some milliseconds a city.

    Raises Refusal: `validation_failed`, where a driver would hold more than LARGEST_LOAD relations.
    """
    if largest_load(demand.cities, demand, demand.recycle_s) > LARGEST_LOAD:
        detail = "with so many orders a driver and so long a recycle period, no pool is large enough"
        raise validation_failed("recycle_s", detail)
    traffics = [Traffic.of(city, demand, demand.recycle_s) for city in demand.cities]
    found = needed(traffics, demand.blocking)
    cities = tuple(
        _city(city, demand, traffic, y, blocked)
        for city, traffic, (y, blocked) in zip(demand.cities, traffics, found, strict=True)
    )
    y = sum(city.y for city in cities)
    return Plan(
        demand=demand,
        cities=cities,
        choices=tuple(_choices(demand, y)),
        drivers=sum(city.drivers for city in cities),
        x=sum(city.x for city in cities),
        x_lent=sum(city.x_lent for city in cities),
        y=y,
        y_shared=max((city.y for city in cities), default=0),
        y_never=sum(city.y_never for city in cities),
    )


def _city(city: CityDemand, demand: Demand, traffic: Traffic, y: int, blocked: float) -> CityPlan:
    by_relations = _by_relations(traffic, demand)
    orders = sum(city.orders)
    ageing = resting(city.drivers, demand.leaving, demand.x_rest_s, demand.blocking)
    return CityPlan(
        city=city.city,
        drivers=city.drivers,
        working=float(traffic.drivers.sum()),
        orders=orders,
        reservations=orders * demand.call_share,
        x_resting=ageing,
        x=city.drivers + ageing,
        x_lent=traffic.lent(demand.blocking),
        y=max(y, by_relations),
        y_blocking=blocked,
        y_never=max(traffic.never(), by_relations),
        y_by_relations=by_relations,
        refused_a_day=orders * demand.call_share * blocked,
        mean_held=traffic.mean_held,
        busiest_held=traffic.busiest_mean(),
    )


def _by_relations(traffic: Traffic, demand: Demand) -> int:
    if demand.max_relations is None:
        return 0
    alive = poisson_quantile(traffic.alive_at_peak(demand), demand.blocking)
    return math.ceil(alive / demand.max_relations)


def _choices(demand: Demand, own: int) -> Sequence[Choice]:
    choices = []
    for recycle_s in sorted({*RECYCLE_CHOICES, demand.recycle_s}):
        if largest_load(demand.cities, demand, recycle_s) > LARGEST_LOAD:
            continue
        traffics = [Traffic.of(city, demand, recycle_s) for city in demand.cities]
        found = [
            max(y, _by_relations(traffic, demand))
            for traffic, (y, _) in zip(traffics, needed(traffics, demand.blocking), strict=True)
        ]
        choices.append(Choice(recycle_s, sum(found), max(found, default=0), own - sum(found)))
    return choices
