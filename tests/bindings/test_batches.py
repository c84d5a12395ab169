"""Many bindings in one group."""

import gc
from dataclasses import replace
from itertools import count

import pytest
from tests.bindings.test_crowds import check
from tests.world import World, person

from xiaohao.bindings import clerk
from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Reservation
from xiaohao.errors import Refusal
from xiaohao.ids import ordered_id


async def test_what_a_group_knew_is_gone_with_it(world: World) -> None:
    """And is not left to the search for garbage, which stops everybody for as long as it takes."""
    ride = await world.ride()
    gc.collect()
    gc.disable()
    try:
        await ride.reserve(1, 2)
        assert [one for one in gc.get_objects() if isinstance(one, NumberFacts)] == []
    finally:
        gc.enable()


async def test_a_long_batch_is_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is written: what a row took is taken for those behind it, and all or nothing is there."""
    ride = await world.ride(xs=40, ys=40)
    wanted = [
        Reservation(person(a), person(100 + b), x_pool=ride.x_pool.id, y_pool=ride.y_pool.id)
        for a in range(40)
        for b in range(15)
    ]
    again = replace(wanted[0], reuse=True)
    calls = count()

    def colliding(prefix: str) -> str:
        """As if another process had been quicker with one of the last."""
        return f"{prefix}_1" if next(calls) in (400, 590) else ordered_id(prefix)

    monkeypatch.setattr(clerk, "ordered_id", colliding)
    outcomes = await world.bindings.reserve_all(ride.customer.id, [*wanted, wanted[1], again])
    bound = [outcome.binding for outcome in outcomes if isinstance(outcome, Reserved) and outcome.fresh]
    assert [(one.a, one.b) for one in bound] == [(one.a, one.b) for one in wanted]
    *_, refused, given = outcomes
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.extra["binding_id"]) == ("pair_taken", bound[1].id)
    assert isinstance(given, Reserved)
    assert given.binding == bound[0]
    assert len({(one.a, one.y) for one in bound}) == len({one.seq for one in bound}) == len(wanted)
    page = await world.bindings.page(ride.customer.id, None, 1000)
    assert {one.id for one in page} == {one.id for one in bound}
    await check(world)
