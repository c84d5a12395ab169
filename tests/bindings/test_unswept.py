"""What is over and was not swept yet stands in nobody's way."""

from collections.abc import Awaitable, Callable

import pytest
from tests.bindings.test_policies import change
from tests.world import Ride, World, person, x_number, y_number

from xiaohao.bindings.model import Binding, Changes, Mode, Reservation
from xiaohao.bindings.service import Bindings

Case = Callable[[Ride], Awaitable[None]]
SHORT = 10


async def changed(ride: Ride, binding: Binding, changes: Changes) -> Binding:
    return await ride.world.bindings.change(ride.customer.id, binding.id, changes)


async def another_x_where_the_old_one_served_others(ride: Ride) -> None:
    kept = await ride.reserve(1, 2)
    await ride.reserve(1, 3, expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await changed(ride, kept, {"x": x_number(3)})).x == x_number(3)


async def another_a_where_the_x_served_others(ride: Ride) -> None:
    kept = await ride.reserve(1, 2)
    await ride.reserve(1, 3, expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await changed(ride, kept, {"a": person(4)})).a == person(4)


async def an_x_that_was_another_person_s(ride: Ride) -> None:
    await ride.reserve(1, 2, x=x_number(1), expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await ride.reserve(3, 4, x=x_number(1))).x == x_number(1)


async def a_y_that_a_dialled(ride: Ride) -> None:
    await ride.reserve(1, 2, y=y_number(1), expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await ride.reserve(1, 3, y=y_number(1))).y == y_number(1)


async def an_x_that_anyone_dials(ride: Ride) -> None:
    await ride.reserve(1, 2, x=x_number(1), y_pool=None, mode=Mode.AXB, expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    wanted = Reservation(person(3), x=x_number(1), mode=Mode.AX)
    assert (await ride.world.bindings.reserve(ride.customer.id, wanted)).x == x_number(1)


async def a_number_without_room(ride: Ride) -> None:
    await change(ride.world, ride.y_pool.id, max_relations=1)
    await ride.reserve(1, 2, y=y_number(1), expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await ride.reserve(3, 4, y=y_number(1))).y == y_number(1)


async def a_shared_x_that_was_another_customer_s(ride: Ride) -> None:
    shared = await ride.world.pool(None, 0, [x_number(50)])
    await ride.reserve(1, 2, x_pool=shared.id, expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    other = await ride.world.customer("other")
    ys = await ride.world.pool(other, 0, [y_number(50)])
    wanted = Reservation(person(3), person(4), x=x_number(50), y_pool=ys.id)
    assert (await ride.world.bindings.reserve(other.id, wanted)).x == x_number(50)


async def as_many_x_as_one_person_may_have(ride: Ride) -> None:
    ride.world.bindings = Bindings(ride.world.database, ride.world.vault, ride.world.clock, most_x=1)
    await ride.reserve(1, 2, x=x_number(1), expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert (await ride.reserve(1, 3, x=x_number(2))).x == x_number(2)


async def the_only_y_for_somebody_who_calls(ride: Ride) -> None:
    one = await ride.world.pool(ride.customer, 0, [y_number(50)])
    wanted = Reservation(person(1), x_pool=ride.x_pool.id, y_on_demand=True, y_pool=one.id)
    parent = await ride.world.bindings.reserve(ride.customer.id, wanted)
    await ride.reserve(1, 2, y_pool=one.id, expires_in_s=SHORT)
    ride.world.clock.forward(SHORT)
    assert await ride.world.bindings.give_y(parent.id, person(3)) == parent.x


CASES: list[Case] = [
    another_x_where_the_old_one_served_others,
    another_a_where_the_x_served_others,
    an_x_that_was_another_person_s,
    a_y_that_a_dialled,
    an_x_that_anyone_dials,
    a_number_without_room,
    a_shared_x_that_was_another_customer_s,
    as_many_x_as_one_person_may_have,
    the_only_y_for_somebody_who_calls,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_what_was_not_swept_yet_is_not_in_the_way(case: Case, world: World) -> None:
    await case(await world.ride(x_recycle_s=0, y_recycle_s=0))
