"""Changes, gifts and releases of all modes at once, over connections of their own."""

import asyncio
import random
from collections import Counter
from typing import Any

from sqlalchemy import func, select
from tests.bindings.test_crowds import crowd
from tests.world import Ride, World, person

from xiaohao.bindings.model import Binding, BindingState, Mode, Reservation
from xiaohao.database.schema import bindings, legs, numbers
from xiaohao.errors import Refusal

__all__ = ["crowd"]


async def bind(world: World, ride: Ride, mode: Mode, a: int, b: int | None = None, **more: Any) -> Binding:
    return await world.bindings.reserve(
        ride.customer.id,
        Reservation(person(a), None if b is None else person(b), x_pool=ride.x_pool.id, mode=mode, **more),
    )


async def test_strangers_call_one_x_at_once(world: World, crowd: list[World]) -> None:
    """Each gets a Y of their own, whoever calls twice the same one, and nobody gets what there is not."""
    ride = await world.ride(ys=6)
    parent = await bind(world, ride, Mode.AXYB, 1, y_on_demand=True, y_pool=ride.y_pool.id)
    callers = [person(10 + place // 2) for place in range(16)]
    random.Random(5).shuffle(callers)
    given = await asyncio.gather(
        *(
            crowd[place % len(crowd)].bindings.give_y(parent.id, caller)
            for place, caller in enumerate(callers)
        )
    )
    with_y = {caller for caller, x in zip(callers, given, strict=True) if x is not None}
    assert len(with_y) == 6
    assert {x for x in given if x is not None} == {parent.x}
    children = await world.bindings.page(ride.customer.id, None, 50, parent_id=parent.id)
    assert {child.b for child in children} == with_y
    assert len({child.y for child in children}) == len(children) == 6


async def test_extensions_at_once(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=1)
    first = await bind(world, ride, Mode.AXE, 1)
    made = await asyncio.gather(
        *(bind(crowd[place % len(crowd)], ride, Mode.AXE, 10 + place) for place in range(12)),
        *(bind(crowd[place % len(crowd)], ride, Mode.AXE, 30, extension="7") for place in range(4)),
        return_exceptions=True,
    )
    bound = [outcome for outcome in made if isinstance(outcome, Binding)]
    refused = [outcome for outcome in made if not isinstance(outcome, Binding)]
    assert [getattr(outcome, "code", outcome) for outcome in refused] == ["number_pool_exhausted"] * 3
    assert len({binding.extension for binding in [first, *bound]}) == 14


async def test_everything_at_once(world: World, crowd: list[World]) -> None:
    """Nobody waits for ever, no key is there twice, and what is counted is what there is."""
    ride = await world.ride(xs=6, ys=6)
    dice = random.Random(7)
    live: list[Binding] = []
    heard: Counter[str] = Counter()

    async def one(world: World) -> None:
        kind, a, b = dice.randrange(9), dice.randrange(1, 6), dice.randrange(6, 10)
        try:
            if kind == 0:
                live.append(await seen_by(world, ride).reserve(a, b))
            elif kind == 1:
                live.append(await bind(world, ride, Mode.AXB, a, b))
            elif kind == 2:
                live.append(await bind(world, ride, Mode.AX, a))
            elif kind == 3:
                live.append(await bind(world, ride, Mode.AXYB, a, y_on_demand=True, y_pool=ride.y_pool.id))
            elif kind == 4 and live:
                binding = dice.choice(live)
                await world.bindings.change(ride.customer.id, binding.id, {"a": person(a)})
            elif kind in (7, 8) and live:
                binding = dice.choice(live)
                which = "x" if kind == 7 or binding.y is None else "y"
                wanted: Any = {f"instead_of_{which}": getattr(binding, which)}
                await world.bindings.change(ride.customer.id, binding.id, wanted)
            elif kind == 5 and live:
                await world.bindings.release(ride.customer.id, dice.choice(live).id)
            elif live:
                await world.bindings.give_y(dice.choice(live).id, person(b))
        except Refusal as refusal:
            heard[refusal.code] += 1

    async def some(world: World) -> None:
        for _ in range(15):
            await one(world)

    await asyncio.wait_for(asyncio.gather(*(some(each) for each in crowd), some(crowd[0])), 60)
    assert heard.keys() <= {
        *("pair_taken", "number_pool_exhausted", "number_taken", "binding_ended", "validation_failed"),
        "x_shared",
    }, heard
    await all_is_counted(world)


async def all_is_counted(world: World) -> None:
    async with world.database.read() as connection:
        of_bindings = select(legs.c.binding_id).where(legs.c.state == "live")
        with_legs = set((await connection.execute(of_bindings)).scalars())
        live = select(bindings.c.id).where(bindings.c.state == BindingState.LIVE)
        assert set((await connection.execute(live)).scalars()) == with_legs
        counted = select(legs.c.dialled, func.count()).where(legs.c.state == "live").group_by(legs.c.dialled)
        there_are = {row[0]: row[1] for row in await connection.execute(counted)}
        noted = select(numbers.c.number, numbers.c.relations).where(numbers.c.relations != 0)
        assert {row[0]: row[1] for row in await connection.execute(noted)} == there_are


def seen_by(world: World, ride: Ride) -> Ride:
    return Ride(world, ride.customer, ride.x_pool, ride.y_pool)
