"""Many at once, over connections of their own: as many successes as theory says, nobody bound twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable

import pytest
from sqlalchemy import select
from tests.world import Ride, World

from xiaohao.bindings.model import Binding
from xiaohao.database.engine import Database
from xiaohao.database.schema import bindings, legs
from xiaohao.errors import Refusal
from xiaohao.numbers.model import NumberState
from xiaohao.secrecy import Vault

_PROCESSES = 4


@pytest.fixture
async def crowd(world: World, database_url: str, vault: Vault) -> AsyncIterator[list[World]]:
    """Several worlds on one database, each with connections of its own as another process would have."""
    databases = [Database(database_url) for _ in range(_PROCESSES)]
    yield [World(database, vault, world.clock) for database in databases]
    for database in databases:
        await database.close()


def seen_by(ride: Ride, world: World) -> Ride:
    return Ride(world, ride.customer, ride.x_pool, ride.y_pool)


async def all_at_once(attempts: list[Awaitable[Binding]]) -> tuple[list[Binding], Counter[str]]:
    """What was bound, and how often each refusal was heard. Any other error is raised."""
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    bound, refused = [], Counter[str]()
    for outcome in outcomes:
        match outcome:
            case Binding():
                bound.append(outcome)
            case Refusal():
                refused[outcome.code] += 1
            case _:
                raise outcome
    return bound, refused


async def test_passengers_of_one_driver(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=1, ys=5)
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(1, 10 + place) for place in range(8)]
    )
    assert len(bound) == 5
    assert refused == {"number_pool_exhausted": 3}
    assert len({binding.y for binding in bound}) == 5
    assert {binding.x for binding in bound} == {bound[0].x}


async def test_a_driver_who_has_no_x_yet_gets_one_and_not_several(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=8, ys=8)
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(1, 10 + place) for place in range(8)]
    )
    assert (len(bound), refused) == (8, {})
    assert len({binding.x for binding in bound}) == 1


async def test_drivers_of_one_passenger(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=5, ys=1)
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(10 + place, 1) for place in range(8)]
    )
    assert len(bound) == 5
    assert refused == {"number_pool_exhausted": 3}
    assert len({binding.x for binding in bound}) == 5


async def test_one_pair(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=8, ys=8)
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(1, 2) for place in range(8)]
    )
    assert len(bound) == 1
    assert refused == {"pair_taken": 7}


async def test_one_pair_that_reuses(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=8, ys=8)
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(1, 2, reuse=True) for place in range(8)]
    )
    assert (len(bound), refused) == (8, {})
    assert len({binding.id for binding in bound}) == 1


async def test_everybody_with_everybody(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=4, ys=3)
    pairs = [(a, b) for a in range(1, 5) for b in range(1, 5) if a != b]
    bound, refused = await all_at_once(
        [seen_by(ride, crowd[place % _PROCESSES]).reserve(*pair) for place, pair in enumerate(pairs)]
    )
    # Four drivers with an X each, three passengers each on three Y: it just fits.
    assert (len(bound), refused) == (12, {})
    await check(world)


async def test_coming_and_going(world: World, crowd: list[World]) -> None:
    ride = await world.ride(xs=3, ys=2, x_recycle_s=0, y_recycle_s=0)
    rng = random.Random(7)

    async def work(place: int) -> None:
        own = seen_by(ride, crowd[place % _PROCESSES])
        for _ in range(12):
            a, b = rng.sample(range(1, 6), 2)
            try:
                binding = await own.reserve(a, b, expires_in_s=rng.choice([None, 1]))
                await own.world.bindings.look_up(binding.a, binding.y)
                if rng.random() < 0.8:
                    await own.release(binding)
            except Refusal as refusal:
                assert refusal.code in ("pair_taken", "number_pool_exhausted")
            if rng.random() < 0.3:
                world.clock.forward(1)
                await own.world.bindings.sweep()

    await asyncio.gather(*(work(place) for place in range(8)))
    await check(world)
    for binding in await world.bindings.page(ride.customer.id, None, 500):
        await ride.release(binding)
    world.clock.forward(1)
    await world.bindings.sweep()
    free = await world.numbers.page_numbers("", 10, pool_id=ride.x_pool.id)
    assert [number.assigned_to for number in free] == [None] * 3


async def test_an_x_that_is_just_taken_again_is_not_given_back(world: World, crowd: list[World]) -> None:
    ride = await world.ride(x_recycle_s=0)
    first = await ride.reserve(1, 2)
    await ride.release(first)
    async with world.database.shared():
        second = await ride.reserve(1, 3)
        purging = asyncio.create_task(crowd[0].bindings.purge())
        await asyncio.sleep(0.1)
    await purging
    assert second.x == first.x
    number = await world.numbers.get_number(first.x)
    assert (number.state, number.assigned_to) == (NumberState.IN_SERVICE, second.a)


async def check(world: World) -> None:
    """Each live binding has its two legs, each live leg a live binding."""
    async with world.database.read() as connection:
        live = select(bindings.c.id, bindings.c.a_key, bindings.c.b_key, bindings.c.x, bindings.c.y)
        expected = set()
        for row in await connection.execute(live.where(bindings.c.state == "live")):
            expected |= {(row.id, row.a_key, row.y, row.x), (row.id, row.b_key, row.x, row.y)}
        found = await connection.execute(
            select(legs.c.binding_id, legs.c.caller_key, legs.c.dialled, legs.c.display).where(
                legs.c.state == "live"
            )
        )
        assert {tuple(row) for row in found} == expected
