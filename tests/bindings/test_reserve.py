"""Which numbers a binding gets, and what is said where it gets none."""

import pytest
from tests.world import NOON, World, person, verified, x_number, y_number

from xiaohao.bindings.model import BindingState, Mode, Reservation
from xiaohao.clock import SECOND, rfc3339
from xiaohao.errors import Refusal
from xiaohao.numbers.model import NumberState


async def test_a_binding_is_what_was_asked_for(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(
        1, 2, expires_in_s=90, record=False, max_duration_s=60, order_ref="order 1", user_data='{"k": 1}'
    )
    assert (binding.a, binding.b, binding.x, binding.y) == (person(1), person(2), x_number(1), y_number(1))
    assert (binding.mode, binding.state) == (Mode.AXYB, BindingState.LIVE)
    assert (binding.created_at, binding.expires_at) == (NOON, NOON + 90 * SECOND)
    assert (binding.record, binding.max_duration_s) == (False, 60)
    assert (binding.order_ref, binding.user_data) == ("order 1", '{"k": 1}')
    assert await world.bindings.get(ride.customer.id, binding.id) == binding


async def test_numbers_may_be_spelled_in_any_way(world: World) -> None:
    ride = await world.ride()
    reservation = Reservation(
        "013800000001", "86 138 0000 0002", x="0086" + x_number(2)[3:], y="010-6000 0003"
    )
    binding = await world.bindings.reserve(ride.customer.id, reservation)
    assert (binding.a, binding.b, binding.x, binding.y) == (person(1), person(2), x_number(2), y_number(3))


async def test_a_driver_keeps_x_and_gets_a_y_for_each_passenger(world: World) -> None:
    ride = await world.ride(xs=3, ys=3)
    bindings = [await ride.reserve(1, passenger) for passenger in (2, 3, 4)]
    assert {binding.x for binding in bindings} == {x_number(1)}
    assert {binding.y for binding in bindings} == {y_number(1), y_number(2), y_number(3)}


async def test_one_y_serves_many_drivers_and_one_x_only_one(world: World) -> None:
    ride = await world.ride(xs=3, ys=1)
    bindings = [await ride.reserve(driver, 9) for driver in (1, 2, 3)]
    assert {binding.y for binding in bindings} == {y_number(1)}
    assert {binding.x for binding in bindings} == {x_number(1), x_number(2), x_number(3)}


async def test_the_least_recently_used_number_comes_next(world: World) -> None:
    ride = await world.ride(xs=9, ys=3)
    chosen = []
    for driver in range(1, 7):
        world.clock.forward(1)
        chosen.append((await ride.reserve(driver, 90)).y)
    assert chosen == [y_number(place) for place in (1, 2, 3, 1, 2, 3)]


async def test_a_fixed_x_goes_before_the_pool(world: World) -> None:
    ride = await world.ride()
    await world.numbers.assign(x_number(3), person(1), ride.customer.id)
    assert (await ride.reserve(1, 2)).x == x_number(3)
    assert (await ride.reserve(1, 3, x_pool=None)).x == x_number(3)
    assert (await ride.reserve(4, 2)).x == x_number(1)


async def test_a_driver_may_hold_several_x(world: World) -> None:
    ride = await world.ride()
    assert (await ride.reserve(1, 2, x=x_number(2))).x == x_number(2)
    assert (await ride.reserve(1, 3, x=x_number(3))).x == x_number(3)
    with pytest.raises(Refusal) as refused:
        await ride.reserve(4, 5, x=x_number(3))
    assert (refused.value.code, refused.value.extra["field"]) == ("number_taken", "x")


async def test_a_lent_x_comes_back_when_nothing_leads_to_its_driver(world: World) -> None:
    ride = await world.ride(x_recycle_s=60)
    first, second = await ride.reserve(1, 2), await ride.reserve(1, 3)
    await ride.release(first)
    world.clock.forward(61)
    await world.bindings.sweep()
    assert (await world.numbers.get_number(x_number(1))).state is NumberState.IN_SERVICE
    await ride.release(second)
    world.clock.forward(61)
    await world.bindings.sweep()
    assert (await world.numbers.get_number(x_number(1))).state is NumberState.AVAILABLE


async def test_the_pair_is_taken(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 2)
    assert (refused.value.code, refused.value.status) == ("pair_taken", 409)
    assert refused.value.extra == {"binding_id": binding.id, "x": binding.x, "y": binding.y}
    assert person(1) not in str(refused.value)


async def test_the_other_way_round_is_another_pair(world: World) -> None:
    ride = await world.ride()
    there, back = await ride.reserve(1, 2), await ride.reserve(2, 1)
    assert there.x != back.x


async def test_reuse_gives_the_same_binding_for_the_same_request(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, order_ref="one")
    assert await ride.reserve(1, 2, order_ref="one", reuse=True) == binding
    assert await ride.reserve(1, 2, order_ref="one", reuse=True, x=binding.x, y=binding.y) == binding
    for other in (
        {"order_ref": "two"},
        {"order_ref": "one", "y": y_number(3)},
        {"order_ref": "one", "record": False},
    ):
        with pytest.raises(Refusal) as refused:
            await ride.reserve(1, 2, reuse=True, **other)
        assert refused.value.code == "pair_taken"


async def test_an_expired_pair_is_free_without_the_worker(world: World) -> None:
    ride = await world.ride()
    first = await ride.reserve(1, 2, expires_in_s=10)
    world.clock.forward(10)
    second = await ride.reserve(1, 2)
    assert second.id != first.id
    ended = await world.bindings.get(ride.customer.id, first.id)
    assert (ended.state, ended.ended_at) == (BindingState.EXPIRED, first.expires_at)


async def test_the_same_pair_meets_its_numbers_again(world: World) -> None:
    ride = await world.ride(ys=3)
    first = await ride.reserve(1, 2)
    await ride.release(first)
    world.clock.forward(1)
    again = await ride.reserve(1, 2)
    assert (again.x, again.y) == (first.x, first.y)
    assert (await world.bindings.look_up(person(1), first.y)).binding_id == again.id


async def test_the_pool_asked_for_goes_before_the_number_of_last_time(world: World) -> None:
    ride = await world.ride()
    first = await ride.reserve(1, 2)
    await ride.release(first)
    other = await world.pool(ride.customer, 60, [y_number(77)])
    assert (await ride.reserve(1, 2, y_pool=other.id)).y == y_number(77)
    match = await world.bindings.look_up(person(1), first.y)
    assert match.outcome == "binding_expired"


async def test_a_key_in_quarantine_is_not_given_to_another_pair(world: World) -> None:
    ride = await world.ride(ys=2, y_recycle_s=600)
    await ride.release(await ride.reserve(1, 2))
    await ride.reserve(1, 3)
    world.clock.forward(599)
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 4)
    extra = refused.value.extra
    assert (extra["total"], extra["usable"], extra["in_use_by_a"], extra["in_quarantine"]) == (2, 2, 1, 1)
    assert extra["earliest_quarantine_end"] == rfc3339(NOON + 600 * SECOND)
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 4, y=y_number(1))
    assert (refused.value.code, refused.value.extra["field"]) == ("number_taken", "y")
    world.clock.forward(1)
    assert (await ride.reserve(1, 4)).y == y_number(1)


async def test_an_exhausted_x_pool_says_how_it_stands(world: World) -> None:
    ride = await world.ride(xs=2, x_recycle_s=60)
    await ride.reserve(1, 2)
    await ride.release(await ride.reserve(3, 2))
    with pytest.raises(Refusal) as refused:
        await ride.reserve(4, 5)
    assert (refused.value.code, refused.value.status) == ("number_pool_exhausted", 409)
    assert refused.value.extra == {
        "field": "x_pool",
        "pool_id": ride.x_pool.id,
        "total": 2,
        "usable": 2,
        "assigned": 2,
        "not_verified": 0,
        "at_relation_limit": 0,
        "in_use_by_a": 0,
        "in_use_by_b": 0,
        "in_quarantine": 1,
        "earliest_quarantine_end": rfc3339(NOON + 60 * SECOND),
    }
    world.clock.forward(60)
    assert (await ride.reserve(4, 5)).x == x_number(2)


async def test_a_pool_of_suspended_numbers_is_empty(world: World) -> None:
    ride = await world.ride(ys=2)
    await world.numbers.suspend(y_number(1))
    await world.numbers.retire(y_number(2))
    with pytest.raises(Refusal, match="no number that can be used") as refused:
        await ride.reserve(1, 2)
    assert (refused.value.extra["total"], refused.value.extra["usable"]) == (2, 0)


@pytest.mark.parametrize("change", ["suspend", "retire"])
async def test_a_number_out_of_service_is_not_bound(world: World, change: str) -> None:
    ride = await world.ride()
    await getattr(world.numbers, change)(x_number(1))
    await getattr(world.numbers, change)(y_number(1))
    binding = await ride.reserve(1, 2)
    assert (binding.x, binding.y) == (x_number(2), y_number(2))
    for name, number in (("x", x_number(1)), ("y", y_number(1))):
        with pytest.raises(Refusal) as refused:
            await ride.reserve(3, 4, **{name: number})
        assert (refused.value.code, refused.value.extra["field"]) == ("number_not_in_service", name)


async def test_a_suspended_fixed_x_is_passed_over(world: World) -> None:
    ride = await world.ride()
    await world.numbers.assign(x_number(3), person(1), ride.customer.id)
    await world.numbers.suspend(x_number(3))
    assert (await ride.reserve(1, 2)).x == x_number(1)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Reservation(person(1), person(1)), "b"),
        (Reservation("anonymous", person(2)), "a"),
        (Reservation(person(1), "12"), "b"),
        (Reservation(person(1), person(2), x="12"), "x"),
        (Reservation(person(1), person(2), y="12"), "y"),
        (Reservation(person(1), person(2), x=x_number(1), y=x_number(1)), "y"),
        (Reservation(x_number(1), person(2), x=x_number(2), y=y_number(1)), "a"),
        (Reservation(person(1), y_number(1), x=x_number(2), y=y_number(1)), "b"),
        (Reservation(person(1), person(2)), "x_pool"),
        (Reservation(person(1), person(2), x=x_number(1)), "y_pool"),
        (Reservation(person(1), person(2), expires_in_s=0), "expires_in_s"),
        (Reservation(person(1), person(2), expires_in_s=400_000_000), "expires_in_s"),
        (Reservation(person(1), person(2), max_duration_s=0), "max_duration_s"),
        (Reservation(person(1), person(2), order_ref="x" * 201), "order_ref"),
        (Reservation(person(1), person(2), user_data="\0"), "user_data"),
    ],
)
async def test_what_cannot_be_bound(world: World, wanted: Reservation, field: str) -> None:
    ride = await world.ride()
    with pytest.raises(Refusal) as refused:
        await world.bindings.reserve(ride.customer.id, wanted)
    assert (refused.value.code, refused.value.status) == ("validation_failed", 422)
    assert [fault["field"] for fault in refused.value.extra["errors"]] == [field]
    assert person(1) not in str(refused.value)


async def test_an_x_is_nobody_s_y(world: World) -> None:
    ride = await world.ride()
    await ride.reserve(1, 2)
    for driver in (1, 3):
        with pytest.raises(Refusal) as refused:
            await ride.reserve(driver, 4, y=x_number(1))
        assert (refused.value.code, refused.value.extra["field"]) == ("number_taken", "y")


async def test_one_pool_for_x_and_y(world: World) -> None:
    ride = await world.ride(xs=3)
    binding = await ride.reserve(1, 2, y_pool=ride.x_pool.id)
    assert (binding.x, binding.y) == (x_number(1), x_number(2))
    other = await ride.reserve(2, 1, y_pool=ride.x_pool.id)
    assert other.x == x_number(3)
    assert other.y == x_number(2)


async def test_the_y_that_was_named_is_not_taken_as_x(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, y=x_number(1))
    assert (binding.x, binding.y) == (x_number(2), x_number(1))


async def test_the_y_of_last_time_may_have_become_the_x(world: World) -> None:
    ride = await world.ride()
    one_pool = {"x_pool": ride.x_pool.id, "y_pool": ride.x_pool.id}
    await ride.release(await ride.reserve(1, 2, **{**one_pool, "y": x_number(1)}))
    for place in (2, 3):
        await world.numbers.suspend(x_number(place))
    await world.bindings.sweep()
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 2, **one_pool)
    assert refused.value.code == "number_pool_exhausted"


async def test_customers_are_strictly_apart(world: World) -> None:
    mine, yours = await world.ride(), await world.customer("yours")
    binding = await mine.reserve(1, 2)
    stock = [y_number(50)]
    await world.numbers.add_numbers([verified(number) for number in stock])
    for wanted, code in (
        (Reservation(person(1), person(2), x_pool=mine.x_pool.id, y=y_number(1)), "pool_not_found"),
        (Reservation(person(1), person(2), x=x_number(2), y_pool="pool_no"), "pool_not_found"),
        (Reservation(person(1), person(2), x=x_number(2), y=y_number(2)), "number_not_found"),
        (Reservation(person(1), person(2), x=stock[0], y=y_number(2)), "number_not_found"),
        (Reservation(person(1), person(2), x=x_number(999), y=y_number(2)), "number_not_found"),
    ):
        with pytest.raises(Refusal) as refused:
            await world.bindings.reserve(yours.id, wanted)
        assert (refused.value.code, refused.value.status) == (code, 404)
    for ask in (world.bindings.get(yours.id, binding.id), world.bindings.release(yours.id, binding.id)):
        with pytest.raises(Refusal) as refused:
            await ask
        assert refused.value.code == "not_found"
    assert await world.bindings.page(yours.id, None, 10) == []
    assert (await world.bindings.get(mine.customer.id, binding.id)).state is BindingState.LIVE


async def test_a_shared_pool_serves_several_customers(world: World) -> None:
    mine, yours = await world.ride(), await world.customer("yours")
    shared_x = await world.pool(None, 60, [x_number(place) for place in (50, 51)])
    shared_y = await world.pool(None, 60, [y_number(place) for place in (50, 51)])
    first = await mine.reserve(1, 2, x_pool=shared_x.id, y_pool=shared_y.id)
    wanted = Reservation(person(1), person(2), x_pool=shared_x.id, y_pool=shared_y.id)
    second = await world.bindings.reserve(yours.id, wanted)
    assert first.x != second.x
    assert first.y != second.y
    assert (await world.bindings.look_up(person(1), first.y)).customer_id == mine.customer.id
    assert (await world.bindings.look_up(person(1), second.y)).customer_id == yours.id
    with pytest.raises(Refusal) as refused:
        await world.bindings.reserve(
            yours.id, Reservation(person(1), person(3), x=first.x, y_pool=shared_y.id)
        )
    assert refused.value.code == "number_not_found"


async def test_a_suspended_customer_binds_nobody(world: World) -> None:
    ride = await world.ride()
    await world.tenants.suspend(ride.customer.id)
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 2)
    assert (refused.value.code, refused.value.status) == ("customer_suspended", 403)
    with pytest.raises(Refusal, match="no such customer"):
        await world.bindings.reserve("cus_no", Reservation(person(1), person(2)))


async def test_several_reservations_stand_or_fall_together(world: World) -> None:
    ride = await world.ride()
    with pytest.raises(Refusal):
        async with world.database.shared():
            await ride.reserve(1, 2)
            with pytest.raises(Refusal):
                await ride.reserve(1, 2)
            await ride.reserve(1, 3)
            await ride.reserve(1, 1)
    assert await world.bindings.page(ride.customer.id, None, 10) == []
    async with world.database.shared():
        await ride.reserve(1, 2)
        with pytest.raises(Refusal):
            await ride.reserve(1, 2)
        await ride.reserve(1, 3)
    assert len(await world.bindings.page(ride.customer.id, None, 10)) == 2
