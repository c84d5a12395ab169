"""A database that is locked, away or hanging, a customer who does not answer: nothing is lost or halved."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from xiaohao.runtime.processes import alive
from xiaohao.simulator.customer import failing, fast, hanging

from .conftest import Pair, Theatre
from .crowd import (
    Conversation,
    Crowd,
    Houses,
    Ledger,
    check_new_calls_work,
    gather,
    hang_up_all,
    kill,
    ledger,
    moment,
    until,
    until_ready,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def houses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Houses]:
    async with Houses.in_folder(tmp_path_factory.mktemp("houses")) as houses:
        yield houses


@asynccontextmanager
async def locked(path: str) -> AsyncIterator[None]:
    """Another program holds SQLite's write lock."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def ask(house: Theatre, path: str, body: dict[str, Any] | None = None) -> tuple[int, str, str | None]:
    """Status, media type and Retry-After of the API's answer to the customer."""
    headers = {"Authorization": f"Bearer {house.customer.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        method = session.post if body else session.get
        async with method(house.stage.url + path, json=body) as response:
            await response.read()
            return response.status, response.content_type, response.headers.get("Retry-After")


async def refused_reservation(house: Theatre, number: int) -> None:
    """A reservation is refused with a problem that says when to come again."""
    body = {
        "a": f"+8613700{number:06}",
        "b": "+8613700999999",
        "x_pool": house.x_pool,
        "y_pool": house.y_pool,
    }
    status, kind, retry_after = await ask(house, "/v1/bindings", body)
    assert (status, kind) == (503, "application/problem+json")
    assert retry_after is not None


async def bindings_of(house: Theatre) -> int:
    return len((await house.customer.request("GET", "/v1/bindings?limit=500"))["items"])


async def test_sqlite_locked(houses: Houses) -> None:
    """Eight seconds without a write: reservations are refused, calls come, talk and go, all is told after."""
    house = await houses.on("sqlite")
    crowd = await gather(house, ringing=2, starting=2)
    new = [await house.pair() for _ in range(3)]
    before = await bindings_of(house)
    path = house.stage.settings.database.url.removeprefix("sqlite:///")
    async with locked(path):
        end = asyncio.get_running_loop().time() + 8
        refused = [asyncio.create_task(refused_reservation(house, n)) for n in range(3)]
        calls = [Conversation(pair, await pair.driver.call(pair.y)) for pair in new]
        await asyncio.gather(*(one.call.wait_answered() for one in calls))
        assert await crowd.all_heard()
        leaves = [*crowd.talking[:3], *crowd.ringing, calls[0]]
        await hang_up_all(leaves)
        left_at = time.time()
        await asyncio.gather(*refused)
        await asyncio.sleep(end - asyncio.get_running_loop().time())
    assert await bindings_of(house) == before
    await hang_up_all([*crowd.everyone, *calls])
    told = await ledger(house, [*crowd.everyone, *calls])
    told.check_events()
    for one in leaves:
        assert abs(moment(told.one(one)["ended_at"]) - left_at) < 1
    await check_new_calls_work(house)


# PostgreSQL


def family_of(parent: int) -> list[int]:
    """A process and its children."""
    found = [parent]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


@contextmanager
def standing_still(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def live_through(house: Theatre, crowd: Crowd, pairs: list[Pair]) -> tuple[list[Conversation], float]:
    """While the database is away: talk, hang up some, be refused.

    Gives the calls that were refused, and when the others were hung up.
    """
    reservation = asyncio.create_task(refused_reservation(house, 0))
    refused = [Conversation(pair, await pair.driver.call(pair.y)) for pair in pairs]
    assert await crowd.all_heard()
    await asyncio.gather(*(one.call.wait_ended(timeout=30) for one in refused))
    assert {one.call.final_code for one in refused} == {503}
    await hang_up_all([*crowd.talking[:3], *crowd.ringing])
    left_at = time.time()
    await reservation
    return refused, left_at


async def check_told(house: Theatre, crowd: Crowd, refused: list[Conversation], left_at: float) -> Ledger:
    leaves = [*crowd.talking[:3], *crowd.ringing]
    await hang_up_all(crowd.everyone)
    told = await ledger(house, [*crowd.everyone, *refused])
    told.check_events()
    assert all(abs(moment(told.one(one)["ended_at"]) - left_at) < 1 for one in leaves)
    return told


async def test_postgresql_stopped(houses: Houses) -> None:
    """The server crashes and is started again: calls talk on, new ones are refused and told later."""
    house = await houses.on("postgresql")
    crowd = await gather(house, ringing=2, starting=2)
    pairs = [await house.pair() for _ in range(3)]
    pid = houses.cluster.pid
    os.kill(pid, signal.SIGQUIT)
    await until(lambda: not alive(pid), "the server's end")
    refused, left_at = await live_through(house, crowd, pairs)
    houses.cluster.serve()
    told = await check_told(house, crowd, refused, left_at)
    assert told.reasons(refused) == {("platform_error", "platform")}
    await check_new_calls_work(house)


async def test_postgresql_hangs(houses: Houses) -> None:
    """The server stands still and keeps its connections: the same, and nobody waits for it for ever."""
    house = await houses.on("postgresql")
    crowd = await gather(house, ringing=2, starting=2)
    pairs = [await house.pair() for _ in range(3)]
    with standing_still(family_of(houses.cluster.pid)):
        refused, left_at = await live_through(house, crowd, pairs)
    told = await check_told(house, crowd, refused, left_at)
    assert told.reasons(refused) == {("platform_error", "platform")}
    await check_new_calls_work(house)


# The customer


async def test_customer_away(houses: Houses) -> None:
    """Nobody listens, then somebody who fails, then one who hangs; at last everything arrives, in order."""
    house = await houses.on("sqlite")
    crowd = await gather(house, ringing=2, starting=2)
    await house.endpoint.stop()
    await hang_up_all(crowd.talking[:2])
    await asyncio.sleep(0.5)
    house.endpoint.manner = failing()
    await house.endpoint.start()
    await hang_up_all(crowd.talking[2:4])
    await asyncio.sleep(0.5)
    killed = kill(house.stage, "worker")
    house.endpoint.manner = hanging()
    await hang_up_all(crowd.everyone)
    await until_ready(house.stage, killed)
    house.endpoint.manner = fast()
    told = await ledger(house, crowd.everyone)
    told.check_events()
