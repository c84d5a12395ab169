"""What choosing numbers costs, and how few numbers do: in this process, without HTTP.

Cost: a driver with an X and so many live relations is bound to a new passenger, and released again before
the next (recycle time 0), 300 times; printed is the wall time of `reserve` from call to commit, one at a
time. The pool of Y has 100 or 100,000 numbers; the driver has 1 or 500 relations (then of a pool of 1,000).

Pool use: a day is replayed under a clock of its own, minute by minute: orders come by the hour as trips do
(more at 8 and 18 o'clock), each with a driver at random of those at work, and live for 5 to 45 minutes; keys
rest for 10. 1,000,000 orders and 40,000 drivers at scale 10; scale 1 is a tenth of both. First the day is
only counted: the largest number of passengers that one driver has at once, live and resting, is the least
pool there can be. Then it is bound for real on a pool that is 5 % larger, in whole numbers, and printed is
how many numbers were touched and how many orders were refused. Last, the bytes of the file for each binding
that was made, with everything that belongs to it, ended ones, history and free pages included.
"""

import heapq
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.bindings import stocked
from bench.machine import percentile
from sqlalchemy import func, select
from tests.postgresql import Cluster
from tests.world import Clock, World, person, x_number, y_number

from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Reservation
from xiaohao.clock import SECOND
from xiaohao.database.engine import Database
from xiaohao.database.schema import numbers, pools
from xiaohao.secrecy import Vault

_ROUNDS = 300
_REST_S = 600
#: orders of each hour, of 100
_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 9, 6, 4, 4, 5, 4, 4, 4, 5, 7, 9, 7, 5, 4, 3, 2)


async def _cost(url: str) -> None:
    database = Database(url)
    await database.migrate()
    world = World(database, Vault(bytes(32)))
    print(f"  {url.split(':')[0]}")
    cases = ((100, 1), (100_000, 1), (1000, 1), (1000, 500))
    for case, (size, relations) in enumerate(cases):
        customer = await world.customer()
        x_pool = await stocked(world, customer.id, [x_number(case)])
        ys = [f"+8675{case + 1}{place:08}" for place in range(size)]
        y_pool = await stocked(world, customer.id, ys)
        async with database.begin() as connection:
            await connection.execute(pools.update().values(recycle_s=0))

        def wanted(passenger: int, x: str = x_pool, y: str = y_pool) -> Reservation:
            return Reservation(person(1), person(1000 + passenger), x_pool=x, y_pool=y)

        await world.bindings.reserve_all(customer.id, [wanted(place) for place in range(relations)])
        times = []
        for place in range(_ROUNDS):
            world.clock.forward(1)
            began = time.perf_counter()
            binding = await world.bindings.reserve(customer.id, wanted(10_000 + place))
            times.append((time.perf_counter() - began) * 1e3)
            await world.bindings.release(customer.id, binding.id)
        print(
            f"    pool of {size}, {relations} relations: median {statistics.median(times):.2f} ms,"
            f" p99 {percentile(times, 0.99):.2f} ms"
        )
    await database.close()


@dataclass(frozen=True, slots=True)
class _Order:
    at: int
    driver: int
    passenger: int
    life_s: int


def _day(orders: int, drivers: int) -> list[_Order]:
    rng = random.Random(1)
    found = []
    for hour, share in enumerate(_HOURS):
        at_work = max(1, drivers * (share + 3) // 12)
        for _ in range(orders * share // sum(_HOURS)):
            at = hour * 3600 + rng.randrange(3600)
            found.append(_Order(at, rng.randrange(at_work), rng.randrange(orders), rng.randrange(300, 2700)))
    return sorted(found, key=lambda order: order.at)


def _largest(day: list[_Order]) -> int:
    """Counterparties of one driver at once, live and resting, minute by minute as they are bound."""
    now: dict[int, int] = {}
    ends: list[tuple[int, int]] = []
    most = 0
    for order in day:
        minute = order.at // 60 * 60
        while ends and ends[0][0] <= minute:
            now[heapq.heappop(ends)[1]] -= 1
        now[order.driver] = now.get(order.driver, 0) + 1
        most = max(most, now[order.driver])
        heapq.heappush(ends, (minute + order.life_s + _REST_S, order.driver))
    return most


async def _pool_use(folder: Path, scale: float) -> None:
    orders, drivers = round(100_000 * scale), round(4_000 * scale)
    day = _day(orders, drivers)
    largest = _largest(day)
    size = int(largest * 1.05)
    path = folder / "day.db"
    database = Database(f"sqlite:///{path}")
    await database.migrate()
    clock = Clock()
    world = World(database, Vault(bytes(32)), clock)
    customer = await world.customer()
    x_pool = await stocked(world, customer.id, [x_number(place) for place in range(drivers)])
    y_pool = await stocked(world, customer.id, [y_number(place) for place in range(size)])
    async with database.begin() as connection:
        await connection.execute(pools.update().values(recycle_s=_REST_S))
    midnight, began, refused, bound, place = clock.now, time.perf_counter(), 0, 0, 0
    for minute in range(24 * 60):
        clock.now = midnight + minute * 60 * SECOND
        part = []
        while place < len(day) and day[place].at < (minute + 1) * 60:
            order = day[place]
            part.append(
                Reservation(
                    person(order.driver),
                    person(1_000_000 + order.passenger),
                    x_pool=x_pool,
                    y_pool=y_pool,
                    expires_in_s=order.life_s,
                )
            )
            place += 1
        outcomes = await world.bindings.reserve_all(customer.id, part) if part else []
        bound += sum(isinstance(outcome, Reserved) for outcome in outcomes)
        refused += sum(getattr(outcome, "code", "") == "number_pool_exhausted" for outcome in outcomes)
        await world.bindings.sweep()
    took = time.perf_counter() - began
    async with database.read() as connection:
        touched = select(func.count()).where(numbers.c.pool_id == y_pool, numbers.c.last_used_at > 0)
        count = (await connection.execute(touched)).scalar_one()
    await database.close()
    print(
        f"  {orders} orders, {drivers} drivers: at most {largest} counterparties at once; {count} Y touched"
        f" ({count / largest:.2f} ×, target 1.05), {refused} refused, {bound} bound;"
        f" {orders / took:.0f} orders/s with their ends"
    )
    print(f"  {path.stat().st_size / bound:.0f} bytes of the file for each binding of the day")


async def report(folder: Path, scale: float) -> None:
    """Print costs of both databases, and the day."""
    print("\nChoosing numbers: one reservation at a time")
    await _cost(f"sqlite:///{folder}/cost.db")
    with Cluster.started() as cluster, tempfile.TemporaryDirectory(dir=folder):
        cluster.create("cost")
        await _cost(cluster.url("cost"))
    print("\nA day of orders, SQLite")
    await _pool_use(folder, scale)
