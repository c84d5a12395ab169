"""What a pool's policy says about which number is given out."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.world import NOON, Ride, World, person, x_number, y_number

from xiaohao.bindings.model import Mode, Reservation
from xiaohao.clock import SECOND
from xiaohao.database.schema import numbers, pools
from xiaohao.errors import Refusal
from xiaohao.pools.model import Choice, CityRule

#: landlines of Beijing, Shijiazhuang (the capital of Hebei), Tangshan and Baoding
BEIJING = [y_number(place) for place in (71, 72)]
SHIJIAZHUANG = [f"+863118500000{place}" for place in (1, 2)]
TANGSHAN = [f"+863152200000{place}" for place in (1, 2)]
BAODING = ["+863125900001"]


async def ride_with(world: World, ys: Sequence[str], **policy: Any) -> Ride:
    """A customer with a pool of X, and a pool of these Y with this policy."""
    ride = await world.ride(xs=9, ys=0)
    pool = await world.pool(ride.customer, 600, list(ys))
    if policy:
        await change(world, pool.id, **policy)
    return Ride(world, ride.customer, ride.x_pool, pool)


async def change(world: World, pool_id: str, **columns: Any) -> None:
    async with world.database.begin() as connection:
        await connection.execute(update(pools).where(pools.c.id == pool_id).values(**columns))


async def set_number(world: World, number: str, **columns: Any) -> None:
    async with world.database.begin() as connection:
        await connection.execute(update(numbers).where(numbers.c.number == number).values(**columns))


async def relations(world: World) -> dict[str, int]:
    async with world.database.read() as connection:
        rows = await connection.execute(select(numbers.c.number, numbers.c.relations))
        return {number: count for number, count in rows if count}


async def refusal(ride: Ride, a: int, b: int, **wanted: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await ride.reserve(a, b, **wanted)
    return refused.value


async def test_only_the_city_that_is_wished_for(world: World) -> None:
    ride = await ride_with(world, [*BEIJING, *TANGSHAN])
    assert (await ride.reserve(1, 2)).y == BEIJING[0]
    bound = [await ride.reserve(1, passenger, y_city="315") for passenger in (3, 4)]
    assert [binding.y for binding in bound] == TANGSHAN
    assert (await refusal(ride, 1, 5, y_city="315")).code == "number_pool_exhausted"
    assert (await refusal(ride, 1, 5, y_city="999")).code == "number_pool_exhausted"
    assert (await ride.reserve(1, 5)).y == BEIJING[1]


async def test_the_fallback_cities_in_their_order(world: World) -> None:
    ride = await ride_with(
        world,
        [*BEIJING, *SHIJIAZHUANG, *TANGSHAN],
        city_rule=CityRule.NEAREST,
        fallback_cities='["315", "10"]',
    )
    chosen = [(await ride.reserve(1, passenger, y_city="312")).y for passenger in range(2, 6)]
    assert chosen == [*TANGSHAN, *BEIJING]
    assert (await refusal(ride, 1, 7, y_city="312")).code == "number_pool_exhausted"


async def test_the_capital_of_the_province_where_no_fallback_is_named(world: World) -> None:
    ride = await ride_with(world, [*BEIJING, *SHIJIAZHUANG, TANGSHAN[0]], city_rule=CityRule.NEAREST)
    chosen = [(await ride.reserve(1, passenger, y_city="315")).y for passenger in range(2, 5)]
    assert chosen == [TANGSHAN[0], *SHIJIAZHUANG]
    assert (await refusal(ride, 1, 5, y_city="315")).extra["cities"] == ["315", "311"]
    assert (await ride.reserve(1, 5, y_city="10")).y == BEIJING[0]


async def test_an_x_of_another_city_for_a_driver_who_has_one_already(world: World) -> None:
    ride = await world.ride(xs=0, ys=9)
    pool = await world.pool(ride.customer, 60, [*BEIJING, *TANGSHAN])
    wanted = {"x_pool": pool.id}
    assert (await ride.reserve(1, 2, **wanted)).x == BEIJING[0]
    assert (await ride.reserve(1, 3, **wanted, x_city="315")).x == TANGSHAN[0]
    assert (await ride.reserve(1, 4, **wanted, x_city="315")).x == TANGSHAN[0]
    assert (await ride.reserve(1, 5, **wanted, x_city="10")).x == BEIJING[0]


async def test_a_city_and_a_number_exclude_each_other(world: World) -> None:
    ride = await world.ride()
    for name, number in (("x", x_number(1)), ("y", y_number(1))):
        refused = await refusal(ride, 1, 2, **{name: number, f"{name}_city": "10"})
        assert [fault["field"] for fault in refused.extra["errors"]] == [f"{name}_city"]
    refused = await refusal(ride, 1, 2, mode=Mode.AXB, y_pool=None, y_city="10")
    assert [fault["field"] for fault in refused.extra["errors"]] == ["y_city"]


async def test_the_kind_and_the_cities_of_the_pool(world: World) -> None:
    # The policy became so after the numbers had come in.
    ride = await ride_with(world, [x_number(50), *BEIJING, *TANGSHAN], kind="landline", cities='["315"]')
    bound = [await ride.reserve(1, passenger) for passenger in (2, 3)]
    assert [binding.y for binding in bound] == TANGSHAN
    assert (await refusal(ride, 1, 4)).code == "number_pool_exhausted"


async def test_a_sticky_pool_after_the_quarantine(world: World) -> None:
    ride = await ride_with(world, BEIJING + TANGSHAN, choice=Choice.STICKY)
    pool = await world.pool(ride.customer, 600, SHIJIAZHUANG)
    other = Ride(world, ride.customer, ride.x_pool, pool)
    first, elsewhere = await ride.reserve(1, 2), await other.reserve(3, 4)
    await ride.release(first)
    await other.release(elsewhere)
    world.clock.forward(601)
    await world.bindings.sweep()
    assert (await ride.reserve(1, 2)).y == first.y
    assert (await other.reserve(3, 4)).y != elsewhere.y


async def test_a_sticky_pool_whose_number_is_taken(world: World) -> None:
    ride = await ride_with(world, BEIJING, choice=Choice.STICKY)
    first = await ride.reserve(1, 2)
    await ride.release(first)
    world.clock.forward(601)
    await world.bindings.sweep()
    others = [await ride.reserve(1, passenger) for passenger in (3, 4)]
    assert {binding.y for binding in others} == set(BEIJING)
    await ride.release(others[0])
    world.clock.forward(601)
    assert (await ride.reserve(1, 2)).y == others[0].y


async def test_a_sticky_pool_of_x(world: World) -> None:
    ride = await world.ride(xs=3, x_recycle_s=60)
    await change(world, ride.x_pool.id, choice=Choice.STICKY)
    await ride.reserve(1, 9)
    first = await ride.reserve(2, 9)
    await ride.release(first)
    world.clock.forward(61)
    await world.bindings.sweep()
    assert (await ride.reserve(2, 9)).x == first.x == x_number(2)


async def test_how_many_relations_a_number_carries(world: World) -> None:
    ride = await ride_with(world, BEIJING, max_relations=2)
    bound = [await ride.reserve(driver, 20 + driver) for driver in range(1, 5)]
    assert await relations(world) == {
        **{binding.x: 1 for binding in bound},
        **dict.fromkeys(BEIJING, 2),
    }
    assert (await refusal(ride, 5, 25)).code == "number_pool_exhausted"
    named = await refusal(ride, 5, 25, y=BEIJING[0])
    assert (named.code, named.extra) == ("relation_limit", {"field": "y", "max_relations": 2})
    # A pair of a live binding that rests still lies on the number, but is no relation any more.
    await ride.release(bound[0])
    assert (await ride.reserve(5, 25)).y == bound[0].y


async def test_a_driver_whose_x_is_full_gets_another(world: World) -> None:
    ride = await world.ride(xs=3, ys=9)
    await change(world, ride.x_pool.id, max_relations=2)
    chosen = [(await ride.reserve(1, passenger)).x for passenger in range(2, 7)]
    assert chosen == [x_number(place) for place in (1, 1, 2, 2, 3)]


async def test_relations_are_right_after_everything(world: World) -> None:
    ride = await world.ride(xs=3, ys=3, x_recycle_s=0, y_recycle_s=0)
    first = await ride.reserve(1, 2)
    both = await ride.reserve(3, 4, mode=Mode.AXB, y_pool=None)
    expiring = await ride.reserve(1, 5, expires_in_s=10)
    assert await relations(world) == {first.x: 2, first.y: 1, expiring.y: 1, both.x: 2}
    world.clock.forward(10)
    await world.bindings.expire_due()
    await ride.release(both)
    await ride.release(both)
    assert await relations(world) == {first.x: 1, first.y: 1}
    await world.bindings.change(ride.customer.id, first.id, {"b": person(7)})
    assert await relations(world) == {first.x: 1, first.y: 1}
    await ride.release(first)
    await world.bindings.sweep()
    assert await relations(world) == {}


async def test_a_mobile_number_whose_real_name_is_not_proven(world: World) -> None:
    ride = await world.ride()
    until = NOON + 60 * SECOND
    await set_number(world, x_number(1), verification="pending")
    await set_number(world, x_number(2), verification="verified", verified_until=until)
    await set_number(world, x_number(3), verification="rejected")
    assert (await ride.reserve(1, 2)).x == x_number(2)
    refused = await refusal(ride, 3, 4, x=x_number(1))
    assert (refused.code, refused.extra["field"]) == ("number_not_verified", "x")
    world.clock.forward(60)
    assert (await refusal(ride, 1, 5)).code == "number_pool_exhausted"


async def test_a_number_that_cannot_be_shown(world: World) -> None:
    ride = await world.ride(ys=3)
    await set_number(world, y_number(1), displayable=False)
    await set_number(world, y_number(2), displayable=False, displayed_as=y_number(3))
    assert (await ride.reserve(1, 2)).y == y_number(2)
    refused = await refusal(ride, 3, 4, y=y_number(1))
    assert (refused.code, refused.extra["field"]) == ("number_not_displayable", "y")
    # Nor one in whose place a number is shown that is not in service.
    await world.numbers.suspend(y_number(3))
    refused = await refusal(ride, 3, 4, y=y_number(2))
    assert (refused.code, refused.extra["field"]) == ("number_not_displayable", "y")
    assert (await refusal(ride, 5, 6)).code == "number_not_displayable"
    assert (await ride.reserve(1, 2, reuse=True)).y == y_number(2)
    await world.numbers.resume(y_number(3))
    for change in (world.numbers.retire, world.numbers.take_to_stock):
        with pytest.raises(Refusal) as held:
            await change(y_number(3))
        assert held.value.code == "number_shown"
    # The customer is asked what to show where it routes the calls itself.
    wanted = Reservation(mode=Mode.X, x=y_number(1))
    routed = await world.bindings.reserve(ride.customer.id, wanted)
    assert routed.x == y_number(1)
