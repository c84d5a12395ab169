"""What making bindings costs over HTTP: single, in batches, and at half load, on both databases.

Method: one web process as the platform runs it, on this machine, and a client beside it with 64 connections
(`bench.http_load`). By turns, three times each: empty POSTs (`/v1/nothing`: API key, JSON object, no work)
and `POST /v1/bindings`, as fast as the answers come; every binding is of a driver of 15,000 and of a
passenger who is new, with an X of 20,000 and a Y of 5,000. Then batches of 1,000 over three connections.
Then single POSTs at half the rate that was reached, at even distances; a wait for a free connection counts.
Every answer is durable: `synchronous=FULL`, and PostgreSQL as it comes. The servers' CPU is that of the web
process; PostgreSQL's own is not in it.
"""

import itertools
import statistics
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from bench.http_load import Load, all_out, at_rate, post, web
from bench.machine import own_cpu, percentile
from sqlalchemy import insert, text
from tests.postgresql import Cluster
from tests.world import World, person, x_number, y_number

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import numbers
from xiaohao.pools.model import Policy
from xiaohao.secrecy import Vault

_KEY = bytes(range(32))
_PORT = 18_990
_CONNECTIONS = 64
_BATCH = 1000


@dataclass
class Served:
    """A web process with numbers, and requests for it that are all different."""

    pid: int
    key: str
    x_pool: str
    y_pool: str
    orders: "itertools.count[int]"

    def empty(self) -> Iterator[bytes]:
        request = post("/v1/nothing", self.key, b"{}")
        while True:
            yield request

    def single(self) -> Iterator[bytes]:
        while True:
            yield post("/v1/bindings", self.key, msgspec.json.encode(self._order()))

    def batches(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            body = {"bindings": [self._order() for _ in range(_BATCH)]}
            yield post("/v1/bindings:batch", self.key, msgspec.json.encode(body))

    def _order(self) -> dict[str, str | int]:
        order = next(self.orders)
        return {
            "a": person(order % 15_000 + 1),
            "b": person(1_000_000 + order),
            "x_pool": self.x_pool,
            "y_pool": self.y_pool,
            "order_ref": f"order {order}",
            "expires_in_s": 86_400,
        }


async def stocked(world: World, customer_id: str, wanted: list[str]) -> str:
    """A pool with these numbers, put in directly."""
    pool = await world.pools.create("bench", Policy(recycle_s=3600), customer_id)
    row = {
        "kind": "landline",
        "state": "available",
        "pool_id": pool.id,
        "customer_id": customer_id,
        "fixed": False,
        "last_used_at": 0,
        "created_at": 0,
        "updated_at": 0,
    }
    async with world.database.begin() as connection:
        for start in range(0, len(wanted), 1000):
            part = [{**row, "number": number} for number in wanted[start : start + 1000]]
            await connection.execute(insert(numbers), part)
        if not world.database.is_sqlite:  # as autovacuum does within a minute
            await connection.execute(text("ANALYZE numbers"))
    return pool.id


@asynccontextmanager
async def served(url: str, folder: Path) -> AsyncIterator[Served]:
    database = Database(url)
    await database.migrate()
    world = World(database, Vault(_KEY), now_us)  # type: ignore[arg-type]
    customer = await world.customer()
    _, key = await world.tenants.create_key(customer.id, "bench")
    x_pool = await stocked(world, customer.id, [x_number(place) for place in range(1, 20_001)])
    y_pool = await stocked(world, customer.id, [y_number(place) for place in range(1, 5_001)])
    await database.close()
    async with web(folder, url, _KEY, _PORT) as pid:
        yield Served(pid, key, x_pool, y_pool, itertools.count())


async def _measured(subject: Served, name: str, requests: Iterator[bytes], seconds: float) -> Load:
    before = own_cpu(subject.pid)
    load = await all_out(_PORT, requests, _CONNECTIONS, seconds)
    cpu = (own_cpu(subject.pid) - before) / len(load.waits) * 1e6
    print(f"    {name}: {load.rate:.0f}/s, {cpu:.0f} µs of CPU each, {_waits(load)}, {load.statuses}")
    return load


def _waits(load: Load) -> str:
    return (
        f"median {percentile(load.waits, 0.5) * 1e3:.1f} ms, p99 {percentile(load.waits, 0.99) * 1e3:.1f} ms"
    )


async def _report_one(url: str, folder: Path, seconds: float, rounds: int) -> None:
    print(f"  {url.split(':')[0]}")
    async with served(url, folder) as subject:
        await all_out(_PORT, subject.single(), _CONNECTIONS, min(seconds, 2))
        empty, single = [], []
        for _ in range(rounds):
            empty.append((await _measured(subject, "empty POST", subject.empty(), seconds)).rate)
            single.append((await _measured(subject, "binding", subject.single(), seconds)).rate)
        ratios = [one / other for one, other in zip(single, empty, strict=True)]
        print(
            f"    single to empty: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f};"
            " target 0.5)"
        )
        before, count = own_cpu(subject.pid), round(8 * seconds)
        load = await all_out(_PORT, subject.batches(count), 3, 600)
        cpu = (own_cpu(subject.pid) - before) / len(load.waits) / _BATCH * 1e6
        print(
            f"    batches: {load.rate * _BATCH:.0f} bindings/s (target 10,000), {cpu:.0f} µs of CPU each,"
            f" {_waits(load)} a batch, {load.statuses}"
        )
        rate = statistics.median(single) / 2
        load = await at_rate(_PORT, subject.single(), _CONNECTIONS, rate, seconds * 2)
        print(f"    single at half load, {rate:.0f}/s: {_waits(load)}, {load.statuses}")


async def report(folder: Path, seconds: float, rounds: int) -> None:
    """Print everything of both databases."""
    print(f"\nBindings over HTTP, {rounds} turns of {seconds:g} s each")
    await _report_one(f"sqlite:///{folder}/xiaohao.db", folder, seconds, rounds)
    as_it_comes = {"listen_addresses": ""}
    with Cluster.started(as_it_comes) as cluster, tempfile.TemporaryDirectory(dir=folder) as inner:
        cluster.create("bench")
        await _report_one(cluster.url("bench"), Path(inner), seconds, rounds)
