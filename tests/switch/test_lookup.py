"""The look-up on a PostgreSQL that crashes, hangs and comes back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conftest import migrate
from tests.postgresql import Cluster
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.switch.lookup import PostgresqlLookup

NOW = 1_795_492_800_000_000


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server of the test's own, because it is killed."""
    with Cluster.started() as cluster:
        cluster.create("xiaohao")
        with psycopg.connect(cluster.url("xiaohao"), autocommit=True) as connection:
            connection.execute("ALTER DATABASE xiaohao SET synchronous_commit = on")
        migrate(cluster.url("xiaohao"))
        yield cluster


@pytest.fixture
async def lookup(cluster: Cluster) -> AsyncIterator[PostgresqlLookup]:
    lookup = PostgresqlLookup(make_url(cluster.url("xiaohao")))
    await lookup.open()
    yield lookup
    await lookup.close()


async def fails_soon(lookup: PostgresqlLookup, count: int) -> None:
    began = time.monotonic()
    asked = [lookup.find(b"", "+8610", NOW) for _ in range(count)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    assert time.monotonic() - began < 2


async def test_crash_and_hang(cluster: Cluster, lookup: PostgresqlLookup) -> None:
    assert await asyncio.gather(*(lookup.find(b"", "+8610", NOW) for _ in range(20))) == [None] * 20
    os.kill(cluster.pid, signal.SIGQUIT)
    await asyncio.sleep(0.5)
    await fails_soon(lookup, 5)
    await asyncio.sleep(4)  # long enough for a pool's own tries to come seldom

    cluster.serve()
    # every connection that was kept is dead, and no call must pay for that
    assert await asyncio.gather(*(lookup.find(b"", "+8610", NOW) for _ in range(20))) == [None] * 20
    family = [cluster.pid, *children(cluster.pid)]
    for each in family:
        os.kill(each, signal.SIGSTOP)
    try:
        await fails_soon(lookup, 20)
    finally:
        for each in family:
            os.kill(each, signal.SIGCONT)
    deadline = time.monotonic() + 15
    while True:
        try:
            assert await lookup.find(b"", "+8610", NOW) is None
            break
        except DatabaseUnavailable:
            assert time.monotonic() < deadline


def children(parent: int) -> list[int]:
    listed = f"/proc/{parent}/task/{parent}/children"
    with open(listed) as file:  # noqa: PTH123
        return [int(pid) for pid in file.read().split()]
