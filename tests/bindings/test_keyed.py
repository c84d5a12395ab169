"""Requests with a transaction of their own, as those with an Idempotency-Key have, beside one another."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from tests.world import Ride, World, person, x_number, y_number

from xiaohao.bindings import service
from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal

PATIENCE_S = 60
_WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_LOCK = "SELECT number FROM numbers WHERE number = :number FOR NO KEY UPDATE"


async def somebody_waits(world: World) -> None:
    waiting = 0
    async with asyncio.timeout(PATIENCE_S), world.database.read() as connection:
        while not waiting:
            waiting = (await connection.execute(text(_WAITS))).scalar_one()


async def keyed(
    ride: Ride, bindings: Bindings, database: Database, pairs: Sequence[tuple[int, int]]
) -> list[object]:
    wanted = [
        Reservation(person(a), person(b), x_pool=ride.x_pool.id, y_pool=ride.y_pool.id) for a, b in pairs
    ]
    async with database.shared():
        return [*await bindings.reserve_all(ride.customer.id, wanted)]


async def test_who_finds_no_number_has_none_locked_while_it_sweeps(world: World) -> None:
    """PostgreSQL notices only after a second that each waits for the other, and all others with them."""
    if world.database.is_sqlite:
        return
    ride = await world.ride(ys=1)
    mine = await ride.reserve(1, 2)
    await ride.reserve(3, 4, y_pool=None, y=y_number(1), expires_in_s=10)
    world.clock.forward(10)
    async with world.database.begin() as connection:
        await connection.execute(text(_LOCK), {"number": y_number(1)})
        request = asyncio.create_task(keyed(ride, world.bindings, world.database, [(1, 5)]))
        await somebody_waits(world)
        await connection.execute(text(f"{_LOCK} NOWAIT"), {"number": mine.x})
    (refused,) = await request
    assert isinstance(refused, Refusal) and refused.code == "number_pool_exhausted"


async def test_of_a_batch_that_is_tried_again_everything_is_there_once(world: World) -> None:
    ride = await world.ride(ys=1, x_recycle_s=0, y_recycle_s=0)
    await ride.reserve(1, 2, expires_in_s=10)
    world.clock.forward(10)
    outcomes = await keyed(ride, world.bindings, world.database, [(5, 6), (1, 3), (1, 4)])
    assert [type(outcome) for outcome in outcomes] == [Reserved, Reserved, Refusal]
    page = await world.bindings.page(ride.customer.id, None, 9)
    assert [(one.a, one.b) for one in page if one.ended_at is None] == [
        (person(1), person(3)),
        (person(5), person(6)),
    ]


async def test_batches_of_the_same_people_wait_for_each_other_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, each would have what the next part of the other one wants."""
    monkeypatch.setattr(service, "_GROUP", 5)
    monkeypatch.setattr(service, "_POSTGRESQL_GROUP", 5)
    ride = await world.ride(xs=0, ys=0)
    xs = await world.pool(ride.customer, 0, [x_number(place) for place in range(1, 41)])
    ys = await world.pool(ride.customer, 0, [y_number(place) for place in range(1, 21)])
    ride = Ride(world, ride.customer, xs, ys)
    other = Database(world.database.url.render_as_string(hide_password=False))
    drivers = range(1, 21)
    async with asyncio.timeout(PATIENCE_S):
        batches = await asyncio.gather(
            *(
                asyncio.create_task(
                    keyed(ride, Bindings(database, world.vault, world.clock), database, pairs)
                )
                for database, pairs in (
                    (world.database, [(driver, 100 + driver) for driver in drivers]),
                    (other, [(driver, 200 + driver) for driver in reversed(drivers)]),
                )
            )
        )
    await other.close()
    assert [type(outcome) for batch in batches for outcome in batch] == [Reserved] * 2 * len(drivers)
