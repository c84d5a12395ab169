"""What a plan says, and which demands are refused."""

from typing import Any

import pytest

from xiaohao.errors import Refusal
from xiaohao.planning.computing import compute
from xiaohao.planning.model import DAY_S, Demand, Plan
from xiaohao.planning.theory import Traffic, needed
from xiaohao.planning.wire import PlanRequest


def demanded(city: dict[str, Any] | None = None, **wanted: Any) -> Demand:
    usual = {"city": "北京", "drivers": 1000, "orders_a_day": 10_000}
    return PlanRequest.model_validate({"cities": [usual | (city or {})], **wanted}).demand()


def planned(city: dict[str, Any] | None = None, **wanted: Any) -> Plan:
    return compute(demanded(city, **wanted))


def passengers(city: dict[str, Any] | None = None, **wanted: Any) -> int:
    """The numbers for passengers only, without the comparison with other recycle periods."""
    demand = demanded(city, **wanted)
    ((y, _),) = needed([Traffic.of(demand.cities[0], demand, demand.recycle_s)], demand.blocking)
    return y


def test_drivers_need_one_number_each_and_those_that_rest() -> None:
    plan = planned(drivers_leaving_monthly=0.1, x_recycle_s=15 * DAY_S)
    (city,) = plan.cities
    # 50 rest on average; 1e-4 of the time more than so many
    assert 75 <= city.x_resting <= 82
    assert plan.x == city.x == 1000 + city.x_resting
    assert planned(drivers_leaving_monthly=0.0).x == 1000


def test_passengers_numbers_grow_with_all_that_makes_them_needed() -> None:
    usual = passengers()
    assert passengers(call_probability=0.5) < usual
    assert passengers(recycle_s=3600.0) < usual
    assert passengers(blocking=1e-6) > usual
    assert passengers(spread=0.6) > usual
    assert passengers(peak_factor=1.5) > usual
    assert passengers({"orders_per_driver": 20.0}) > usual
    # Ten times the drivers with ten times the orders need no more: a number serves every driver.
    assert passengers({"drivers": 10_000, "orders_a_day": 100_000}) == usual


def test_a_plan_refuses_as_little_as_was_asked_for() -> None:
    for blocking in (0.05, 1e-3, 1e-5):
        (city,) = planned(blocking=blocking).cities
        assert blocking / 5 < city.y_blocking <= blocking
        assert city.refused_a_day == pytest.approx(10_000 * city.y_blocking)


def test_other_recycle_periods_stand_beside_the_plan_s_own() -> None:
    plan = planned(recycle_s=5 * 3600.0)
    choices = {choice.recycle_s: choice for choice in plan.choices}
    assert choices[5 * 3600.0].y == plan.y
    assert choices[5 * 3600.0].y_saved == 0
    numbers = [choice.y for choice in plan.choices]
    assert numbers == sorted(numbers)
    assert choices[0].y_saved == plan.y - choices[0].y > 0


def test_numbers_that_carry_few_relations() -> None:
    free, bound = planned(), planned(max_relations=2)
    # 10,000 orders a day of an hour each: about 700 at once at the peak
    assert free.cities[0].y_by_relations == 0
    assert 300 < bound.cities[0].y_by_relations == bound.y < 480


def test_cities_may_share_their_numbers() -> None:
    document = {"cities": [{"city": city, "drivers": 1000, "orders_a_day": 10_000} for city in "ABC"]}
    plan = compute(PlanRequest.model_validate(document).demand())
    assert plan.y == 3 * plan.y_shared
    assert plan.drivers == 3000


@pytest.mark.parametrize(
    ("city", "field"),
    [
        ({"orders_a_day": None}, "cities.0.orders"),
        ({"orders": [1.0] * 24}, "cities.0.orders"),
        ({"orders_a_day": 0.0}, "cities.0.orders"),
        ({"groups": [{"drivers": 10.0, "orders": 5.0}]}, "cities.0.groups"),
        ({"drivers": 1, "orders_a_day": 10_000.0}, "recycle_s"),
    ],
)
def test_demands_that_make_no_sense(city: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        planned(city)
    assert refused.value.extra["errors"][0]["field"] == field
