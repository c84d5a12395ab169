"""Several processes that bind the same people to the same few numbers."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from sqlalchemy import and_, func, select, text
from tests.bindings.test_crowds import check
from tests.bindings.writers import Task, work
from tests.world import Ride, World

from xiaohao.database.schema import bindings, legs, numbers

MASTER_KEY = bytes(range(32))
DRIVERS, PASSENGERS, YS = range(1, 5), range(11, 18), 3


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """As many as are asked for at once; made from one that has loaded everything already."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.bindings.writers"])
    with ProcessPoolExecutor(16, mp_context=context) as executor:
        yield executor


def all_at_once(
    processes: ProcessPoolExecutor, world: World, url: str, ride: Ride, comes_and_goes: bool
) -> Counter[str]:
    """16 writers on PostgreSQL and 4 on SQLite; what all of them heard."""
    tasks = [
        Task(
            url,
            MASTER_KEY,
            ride.customer.id,
            ride.x_pool.id,
            ride.y_pool.id,
            DRIVERS,
            PASSENGERS,
            comes_and_goes,
            seed,
        )
        for seed in range(4 if world.database.is_sqlite else 16)
    ]
    return sum(processes.map(work, tasks), Counter[str]())


async def check_counts(world: World) -> None:
    """What stands in the inventory is what the legs say."""
    async with world.database.read() as connection:
        live = select(legs.c.dialled, func.count().label("n")).where(legs.c.state == "live")
        counted = {row.dialled: row.n for row in await connection.execute(live.group_by(legs.c.dialled))}
        kept = select(numbers.c.number, numbers.c.relations)
        assert {n: count for n, count in await connection.execute(kept) if count} == counted
        people = func.count(func.distinct(bindings.c.a_key))
        shared = select(bindings.c.x).where(bindings.c.state == "live").group_by(bindings.c.x)
        assert (await connection.execute(shared.having(people > 1))).all() == []
        foreign = select(legs.c.dialled).join(
            numbers,
            and_(numbers.c.number == legs.c.dialled, numbers.c.customer_id != legs.c.customer_id),
        )
        assert (await connection.execute(foreign)).all() == []


async def test_as_many_as_there_is_room_for(
    world: World, database_url: str, processes: ProcessPoolExecutor
) -> None:
    ride = await world.ride(xs=len(DRIVERS), ys=YS)
    heard = all_at_once(processes, world, database_url, ride, comes_and_goes=False)
    # Each driver has an X, and meets as many passengers as there are Y.
    assert heard["bound"] == len(DRIVERS) * YS
    assert set(heard) == {"bound", "pair_taken", "number_pool_exhausted"}
    writers = 4 if world.database.is_sqlite else 16
    assert sum(heard.values()) == writers * len(DRIVERS) * len(PASSENGERS)
    await check(world)
    await check_counts(world)


async def deadlocks(world: World) -> int:
    """How many times PostgreSQL had to take one writer's work back in favour of another's, a second late."""
    if world.database.is_sqlite:
        return 0
    async with world.database.read() as connection:
        known = await connection.execute(
            text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
        return int(known.scalar_one())


async def test_coming_and_going(world: World, database_url: str, processes: ProcessPoolExecutor) -> None:
    ride = await world.ride(xs=len(DRIVERS), ys=YS, x_recycle_s=0, y_recycle_s=0)
    before = await deadlocks(world)
    heard = all_at_once(processes, world, database_url, ride, comes_and_goes=True)
    assert set(heard) <= {"bound", "pair_taken", "number_pool_exhausted"}
    assert heard["bound"] >= len(DRIVERS) * YS
    await check(world)
    await check_counts(world)
    assert await deadlocks(world) == before
