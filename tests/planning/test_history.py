"""A demand read from the platform's own bindings."""

import pytest
from tests.planning.test_theory import demand_of
from tests.world import World

from xiaohao.clock import SECOND
from xiaohao.errors import Refusal
from xiaohao.planning.history import Busiest, Held, busiest, request_from
from xiaohao.planning.model import DAY_S, TYPICAL_DAY, Life
from xiaohao.planning.service import Planner
from xiaohao.planning.simulation import orders_of


def test_made_up_days_are_found_again() -> None:
    demand, city = demand_of(300, 12.0, DAY_S, spread=0.4)
    midnight = 1_795_449_600
    held = [
        Held(
            order.driver.to_bytes(16),
            int((midnight + order.at) * SECOND),
            int((midnight + order.at + order.life_s) * SECOND),
            "10",
        )
        for order in orders_of(city, demand, 5, seed=2)
    ]
    request = request_from(held, DAY_S, 1.0, None)
    (found,) = request.cities
    assert found.city == "10"
    assert found.drivers == 300
    assert found.orders is not None
    assert sum(found.orders) == pytest.approx(3600, rel=0.05)
    assert found.orders[8] / sum(found.orders) == pytest.approx(TYPICAL_DAY[8] / sum(TYPICAL_DAY), rel=0.25)
    assert found.orders_per_driver == pytest.approx(12.0, rel=0.05)
    assert request.spread == pytest.approx(0.4, abs=0.06)
    assert (request.binding_life_s, request.binding_life) == (pytest.approx(1800.0), Life.FIXED)
    half = request_from(held, DAY_S, 0.5, None)
    assert half.cities[0].drivers == 600


def test_the_busiest_person_under_other_periods() -> None:
    held = [
        Held(b"a", 0, 10 * SECOND, None),
        Held(b"a", 10 * SECOND, 20 * SECOND, None),
        Held(b"a", 15 * SECOND, None, None),
        Held(b"b", 0, 100 * SECOND, None),
    ]
    found = {one.recycle_s: one.held for one in busiest(held, 5.0, 30 * SECOND)}
    assert found[0] == 2
    assert found[5.0] == 2
    assert found[3600] == 3
    assert Busiest(5.0, 2) in busiest(held, 5.0, 30 * SECOND)


async def test_the_history_of_a_pool(world: World) -> None:
    ride = await world.ride(xs=3, ys=6)
    for passenger in range(4):
        binding = await ride.reserve(1, 100 + passenger)
        world.clock.forward(60)
        await ride.release(binding)
    await ride.reserve(2, 200)
    planner = Planner(world.database, world.vault, world.clock)
    history = await planner.history(ride.y_pool.id, ride.customer.id, 7)
    assert (history.bindings, history.share) == (5, 1.0)
    (city,) = history.request.cities
    assert (city.city, city.drivers) == ("10", 2)
    assert city.orders is not None
    assert sum(city.orders) == 5
    assert history.request.recycle_s == 600
    assert {one.held for one in history.busiest if one.recycle_s >= 600} == {4}
    xs = await planner.history(ride.x_pool.id, None, 7)
    assert (xs.bindings, xs.request.cities[0].drivers) == (5, 2)
    another = await world.customer("Another")
    for pool_id, customer_id, code in (
        (ride.y_pool.id, another.id, "not_found"),
        ((await world.pool(None, 60, [])).id, None, "pool_without_history"),
    ):
        with pytest.raises(Refusal) as refused:
            await planner.history(pool_id, customer_id, 7)
        assert refused.value.code == code
