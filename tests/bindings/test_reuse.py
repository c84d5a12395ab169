"""The same request again gives back the live binding, also where B is not known; AXB the other way round."""

from typing import Any

import pytest
from tests.bindings.test_modes import bind, call, refusal, reserve
from tests.world import Ride, World, person, x_number

from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Direction, Mode, Reservation
from xiaohao.errors import Refusal

WITHOUT_B = (
    {"mode": Mode.AX, "a": person(1)},
    {"mode": Mode.AXE, "a": person(1)},
    {"mode": Mode.AXE, "a": person(1), "extension": "5"},
    {"mode": Mode.X},
    {"mode": Mode.AXYB, "a": person(1), "y_on_demand": True, "y_life_s": 60},
)


def on_demand(ride: Ride, **more: Any) -> dict[str, Any]:
    return {"a": person(1), "y_on_demand": True, "y_pool": ride.y_pool.id, **more}


def asked(ride: Ride, wanted: dict[str, Any], **more: Any) -> Reservation:
    pool = None if "x" in more else ride.x_pool.id
    y_pool = ride.y_pool.id if "y_on_demand" in wanted else None
    return Reservation(**{"x_pool": pool, "y_pool": y_pool, "reuse": True, **wanted, **more})


@pytest.mark.parametrize("wanted", WITHOUT_B)
async def test_without_a_b(world: World, wanted: dict[str, Any]) -> None:
    ride = await world.ride(xs=4)
    bindings, customer = world.bindings, ride.customer.id
    first, again = await bindings.reserve_all(customer, [asked(ride, wanted), asked(ride, wanted)])
    assert isinstance(first, Reserved) and isinstance(again, Reserved)
    assert (first.fresh, again.fresh, again.binding) == (True, False, first.binding)
    later = await bindings.reserved(customer, asked(ride, wanted))
    assert (later.fresh, later.binding) == (False, first.binding)
    named = await bindings.reserved(customer, asked(ride, wanted, x=first.binding.x))
    assert (named.fresh, named.binding) == (False, first.binding)
    assert (await bindings.explain(customer, asked(ride, wanted))).existing == first.binding
    # other content, or no wish for an old one: another binding
    for other in ({"order_ref": "two"}, {"reuse": False, "extension": None}):
        fresh = await bindings.reserved(customer, asked(ride, wanted, **other))
        assert fresh.fresh and fresh.binding.id != first.binding.id
    await ride.release(first.binding)
    after = await bindings.reserve_all(customer, [asked(ride, wanted, x=first.binding.x)])
    assert not isinstance(after[0], Reserved) or after[0].binding.id != first.binding.id


async def test_another_customers_is_never_given_back(world: World) -> None:
    ride, other = await world.ride(), await world.customer("other")
    shared = await world.pool(None, 60, [x_number(50), x_number(51)])
    wanted = Reservation(mode=Mode.X, x_pool=shared.id, reuse=True)
    mine = await world.bindings.reserved(ride.customer.id, wanted)
    theirs = await world.bindings.reserved(other.id, wanted)
    assert theirs.fresh and theirs.binding.x != mine.binding.x


async def test_axb_the_other_way_round_is_the_same_pair(world: World) -> None:
    ride = await world.ride()
    first = await bind(ride, Mode.AXB, b=person(2))
    for reuse in (False, True):
        with pytest.raises(Refusal) as refused:
            await bind(ride, Mode.AXB, 2, b=person(1), reuse=reuse)
        assert (refused.value.code, refused.value.extra["binding_id"]) == ("pair_taken", first.id)
    other = await bind(ride, Mode.AXB, 2, b=person(3))
    with pytest.raises(Refusal) as refused:
        await world.bindings.change(ride.customer.id, other.id, {"b": person(1)})
    assert refused.value.code == "pair_taken"
    # in mode axyb each has their own X: the two relations are different ones
    for binding in (await ride.reserve(2, 1), first):
        await ride.release(binding)
    again = await bind(ride, Mode.AXB, 2, b=person(1), direction=Direction.A_TO_B)
    # nobody else's late call can meet it: the two keep the X that they know
    assert (again.a, again.x) == (person(2), first.x)


async def test_a_taken_extension_is_named(world: World) -> None:
    ride = await world.ride()
    first = await bind(ride, Mode.AXE, extension="5")
    second = await bind(ride, Mode.AXE, 2, x=first.x, x_pool=None)
    with pytest.raises(Refusal) as refused:
        await bind(ride, Mode.AXE, 3, x=first.x, x_pool=None, extension="5")
    with pytest.raises(Refusal) as not_changed:
        await world.bindings.change(ride.customer.id, second.id, {"extension": "5"})
    for error in (refused.value, not_changed.value):
        assert (error.code, error.extra["field"]) == ("number_taken", "extension")
        assert "This extension" in error.detail


async def test_an_x_that_strangers_dial_serves_a_pair_too(world: World) -> None:
    ride = await world.ride()
    parent = await reserve(ride, on_demand(ride, x_pool=ride.x_pool.id))
    pair = await ride.reserve(1, 2, x_pool=None)
    assert (pair.x, pair.parent_id) == (parent.x, None)
    assert await call(world, person(2), pair.x) == ("connect", person(1), pair.y)
    assert await call(world, person(1), str(pair.y)) == ("connect", person(2), pair.x)
    assert (await call(world, person(3), pair.x))[0] == "no_y_free"
    with pytest.raises(Refusal) as refused:
        await reserve(ride, on_demand(ride))
    assert "whoever dials it reaches A already" in refused.value.detail
    assert await refusal(ride, Mode.AX, 9, x_pool=None) == "validation_failed"
