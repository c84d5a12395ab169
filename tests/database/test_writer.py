"""Writing many requests in one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url
from tests.postgresql import Cluster

from xiaohao.database.direct import Cursor
from xiaohao.database.writer import Writer

WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass
class Taking:
    """A job that waits for a lock."""

    lock: int
    weight: int = 1


def take(cursor: Cursor, jobs: Sequence[Taking], attempt: int) -> list[int]:
    for job in jobs:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (job.lock,))
        cursor.fetchall()
    return [job.lock for job in jobs]


async def test_who_is_held_up_by_others_does_not_hold_up_everybody(postgresql: Cluster) -> None:
    url = postgresql.url("postgres")
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1)")
        writer = Writer(make_url(url), take, group_weight=10)
        async with asyncio.timeout(20):
            held_up = asyncio.create_task(writer.do(Taking(1)))
            while not other.execute(WAITING).fetchall():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            assert await writer.do(Taking(2)) == 2
            others = range(3, 30)
            assert await asyncio.gather(*(writer.do(Taking(lock)) for lock in others)) == [*others]
            assert not held_up.done()
            other.rollback()
            assert await held_up == 1
        await writer.close()
