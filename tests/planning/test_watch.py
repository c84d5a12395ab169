"""How a pool stands, when it will be exhausted, and who is told."""

import json

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import select
from tests.world import NOON, Ride, World

from xiaohao.clock import SECOND
from xiaohao.database.schema import events, pool_samples
from xiaohao.planning.model import DAY_S, Standing
from xiaohao.planning.service import Planner
from xiaohao.planning.trend import days_left
from xiaohao.planning.watch import PoolWatch

HOUR = 3600 * SECOND
DAY = 24 * HOUR


def hourly(peaks: list[int], now: int = NOON) -> list[tuple[int, int]]:
    """Samples of whole days up to now, oldest day first: a peak in one hour and little in the others."""
    days = len(peaks)
    return [
        (now - (days - day) * DAY + hour * HOUR, peak if hour == 18 else peak // 3)
        for day, peak in enumerate(peaks)
        for hour in range(1, 25)
    ]


def test_a_steady_growth_is_followed_to_its_end() -> None:
    assert days_left(hourly([10, 12, 14, 16]), 5, 30, NOON) == pytest.approx(7.0)
    assert days_left(hourly([16, 14, 12]), 5, 30, NOON) is None
    assert days_left(hourly([12, 12, 12]), 5, 30, NOON) is None


def test_a_morning_is_no_growth() -> None:
    assert days_left([(NOON - n * HOUR, 20 - n) for n in range(20)], 20, 30, NOON) is None
    assert days_left([], 3, 30, NOON) is None


def test_what_has_run_out_has_no_day_left() -> None:
    assert days_left([], 30, 30, NOON) == 0.0
    assert days_left(hourly([10, 20, 29]), 29, 30, NOON) == pytest.approx(0.05, abs=0.1)


async def standing_of(ride: Ride, pool_id: str) -> Standing:
    planner = Planner(ride.world.database, ride.world.vault, ride.world.clock)
    return (await planner.usage(pool_id, ride.customer.id)).standing


async def test_how_a_pool_stands(world: World) -> None:
    ride = await world.ride(xs=4, ys=5, x_recycle_s=60, y_recycle_s=600)
    first = await ride.reserve(1, 101)
    await ride.reserve(1, 102)
    await ride.reserve(2, 103, y=first.y)
    await ride.reserve(1, 104, expires_in_s=30)
    world.clock.forward(31)  # over, and nobody has swept
    assert await standing_of(ride, ride.y_pool.id) == Standing(
        total=5, usable=5, assigned=0, used=2, resting=1, free=2, peak=3
    )
    assert await standing_of(ride, ride.x_pool.id) == Standing(
        total=4, usable=4, assigned=2, used=2, resting=0, free=2, peak=0
    )
    await world.bindings.sweep()
    await world.numbers.suspend(str(first.y))
    world.clock.forward(601)
    assert await standing_of(ride, ride.y_pool.id) == Standing(
        total=5, usable=4, assigned=0, used=2, resting=0, free=3, peak=2
    )


async def test_the_watch_samples_hourly_and_tells_the_customer_once_a_day(world: World) -> None:
    ride = await world.ride(xs=6, ys=4)
    shared = await world.pool(None, 60, [])
    registry = CollectorRegistry()
    watch = PoolWatch(world.database, world.vault, 14.0, registry, world.clock)
    another = PoolWatch(world.database, world.vault, 14.0, CollectorRegistry(), world.clock)
    for day in range(4):
        for hour in range(24):
            if hour == 9 and day < 3:
                await ride.reserve(1, 100 + day)  # one more each day and none released
            found = await watch.look()
            assert await watch.look() == {}
            await another.look()
            assert set(found) == {ride.x_pool.id, ride.y_pool.id, shared.id}
            world.clock.forward(3600)
    usage = found[ride.y_pool.id]
    assert (usage.standing.peak, usage.standing.usable) == (3, 4)
    assert usage.days_left is not None
    assert usage.days_left == pytest.approx(1.0, abs=0.75)
    text = generate_latest(registry).decode()
    assert f'xiaohao_pool_days_left{{pool="{ride.x_pool.id}"}} +Inf' in text
    assert f'xiaohao_pool_numbers{{pool="{ride.y_pool.id}",state="free"}} 1.0' in text
    async with world.database.read() as connection:
        sampled = (await connection.execute(select(pool_samples))).all()
        told = (await connection.execute(select(events))).all()
    assert len(sampled) == 4 * 24 * 3
    assert {event.customer_id for event in told} == {ride.customer.id}
    days = [event.occurred_at // DAY for event in told]
    assert 2 <= len(told) <= 4
    assert len({(event.occurred_at + 8 * HOUR) // DAY for event in told}) == len(told), days
    document = json.loads(world.vault.open(told[-1].body_sealed))
    assert document["type"] == "pool.running_out"
    assert document["data"]["pool_id"] == ride.y_pool.id
    assert document["data"]["days_left"] <= 14.0


async def test_old_samples_go(world: World) -> None:
    await world.ride()
    watch = PoolWatch(world.database, world.vault, 14.0, CollectorRegistry(), world.clock)
    await watch.look()
    world.clock.forward(60 * DAY_S)
    await watch.look()
    async with world.database.read() as connection:
        moments = {row.at for row in (await connection.execute(select(pool_samples))).all()}
    assert moments == {world.clock.now // HOUR * HOUR}
