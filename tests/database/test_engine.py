"""Transactions: durable, isolated, and honest when the database is locked or away."""

import asyncio
import os
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.postgresql import Cluster

from xiaohao.database import engine
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database, DatabaseUnavailable, TransactionLost

ADD = text("INSERT INTO marks (name, value) VALUES (:name, 1)")
COUNT = text("SELECT count(*) FROM marks")
NUMBER = "+8613800000001"
LONG_ROW = f"INSERT INTO marks (name, value) VALUES ('{20_000 * 'x'}', 1)"


async def add(connection: AsyncConnection, name: str) -> None:
    await connection.execute(ADD, {"name": name})


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(COUNT)).scalar_one())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases that are opened from here on wait a moment only."""
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 200)


async def test_what_is_written_is_seen_by_others(database: Database, database_url: str) -> None:
    async with database.begin() as connection:
        await add(connection, "a")
    other = Database(database_url)
    assert await count(other) == 1
    await other.close()


async def test_an_error_takes_everything_back(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.begin() as connection:
            await add(connection, "a")
            raise RuntimeError
    assert await count(database) == 0


async def test_a_constraint_is_the_caller_s_business(database: Database) -> None:
    async with database.begin() as connection:
        await add(connection, "a")
    with pytest.raises(IntegrityError):
        async with database.begin() as connection:
            await add(connection, "a")


async def test_errors_do_not_quote_parameters(database: Database) -> None:
    with pytest.raises(DBAPIError) as raised:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO nowhere VALUES (:number)"), {"number": NUMBER})
    assert NUMBER not in str(raised.value)


async def test_writers_wait_for_each_other(database: Database) -> None:
    async def increment() -> None:
        async with database.begin() as connection:
            query = text("SELECT value FROM marks WHERE name = 'n' FOR UPDATE")
            if database.is_sqlite:
                query = text("SELECT value FROM marks WHERE name = 'n'")
            value = (await connection.execute(query)).scalar_one()
            await asyncio.sleep(0)
            await connection.execute(text("UPDATE marks SET value = :value"), {"value": value + 1})

    async with database.begin() as connection:
        await add(connection, "n")
    await asyncio.gather(*(increment() for _ in range(20)))
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT value FROM marks"))).scalar_one() == 21


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    async with database.begin() as connection:
        await add(connection, "a")
        assert await asyncio.wait_for(count(database), 2) == 0
    assert await count(database) == 1


async def test_a_cancelled_writer_leaves_no_lock(database: Database) -> None:
    entered = asyncio.Event()

    async def write_forever() -> None:
        async with database.begin() as connection:
            await add(connection, "a")
            entered.set()
            await asyncio.sleep(3600)

    async def wait_for_turn() -> None:
        async with database.begin() as connection:
            await add(connection, "a")

    writer = asyncio.create_task(write_forever())
    await entered.wait()
    waiting = asyncio.create_task(wait_for_turn())
    await asyncio.sleep(0.05)
    for task in (waiting, writer):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait_for(wait_for_turn(), 3)
    assert await count(database) == 1


async def test_several_use_cases_share_one_transaction(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.shared():
            async with database.begin() as connection:
                await add(connection, "a")
            assert await count(database) == 1
            raise RuntimeError
    assert await count(database) == 0


async def test_a_part_of_a_shared_transaction_fails_alone(database: Database) -> None:
    async with database.shared():
        async with database.begin() as connection:
            await add(connection, "a")
        with pytest.raises(IntegrityError):
            async with database.begin() as connection:
                await add(connection, "b")
                await add(connection, "a")
        async with database.begin() as connection:
            await add(connection, "c")
    assert await count(database) == 2


async def test_a_shared_transaction_is_one_task_s_own(database: Database) -> None:
    async with database.shared() as connection:
        await add(connection, "a")
        assert await asyncio.create_task(count(database)) == 0
    assert await count(database) == 1


async def test_a_locked_database_is_unavailable(
    database: Database, database_url: str, impatient: None
) -> None:
    other = Database(database_url)
    async with database.begin() as connection:
        await add(connection, "a")
        with pytest.raises(DatabaseUnavailable):
            async with other.begin() as waiting:
                await add(waiting, "a")
    async with other.begin() as connection:
        await add(connection, "b")
    await other.close()


@pytest.mark.usefixtures("impatient")
async def test_no_connection_left_means_unavailable(database_url: str) -> None:
    database = Database(database_url)
    async with asyncio.TaskGroup() as group:
        enough = asyncio.Event()

        async def hold() -> None:
            try:
                async with database.begin():
                    await enough.wait()
            except DatabaseUnavailable:
                enough.set()

        for _ in range(11):
            group.create_task(hold())
    assert enough.is_set()
    await database.close()


async def test_a_database_that_is_away_comes_back(postgresql: Cluster) -> None:
    postgresql.create("coming_and_going", template="template_xiaohao")
    database = Database(postgresql.url("coming_and_going"))
    await database.ping()
    postgresql.drop("coming_and_going")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    with pytest.raises(DatabaseUnavailable):
        async with database.begin() as connection:
            await add(connection, "a")
    postgresql.create("coming_and_going", template="template_xiaohao")
    await database.ping()
    assert await count(database) == 0
    await database.close()
    postgresql.drop("coming_and_going")


async def test_a_connection_cut_in_a_transaction_is_unavailable(postgresql: Cluster) -> None:
    with postgresql.lent("template_xiaohao") as name:
        database = Database(postgresql.url(name))
        with pytest.raises(DatabaseUnavailable):
            async with database.begin() as connection:
                await add(connection, "a")
                pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                async with database.read() as other:
                    await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
                await asyncio.sleep(0.05)
                await add(connection, "b")
        assert await count(database) == 0
        await database.close()


async def test_a_deadlock_is_lost_by_one_of_two(postgresql: Cluster) -> None:
    with postgresql.lent("template_xiaohao") as name:
        database = Database(postgresql.url(name))
        async with database.begin() as connection:
            await add(connection, "a")
            await add(connection, "b")
        both_hold = asyncio.Barrier(2)

        async def lock(first: str, second: str) -> None:
            async with database.begin() as connection:
                for place, name in enumerate((first, second)):
                    if place == 1:
                        await both_hold.wait()
                    await connection.execute(text("UPDATE marks SET value = 2 WHERE name = :n"), {"n": name})

        outcomes = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)
        assert sorted(type(outcome) for outcome in outcomes if outcome) == [TransactionLost]
        await database.close()


async def test_sqlite_survives_a_power_cut(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/xiaohao.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    async with database.begin() as connection:
        for name, value in wanted.items():
            assert (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() == value
    async with database.read() as connection:
        with pytest.raises(DBAPIError):
            await connection.execute(text("CREATE TABLE t (n)"))
    await database.close()


async def test_sqlite_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/gone/xiaohao.db")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await database.migrate()
    await database.ping()
    await database.close()


async def test_a_full_disk_is_said_to_be_one(tmp_path: Path) -> None:
    """Nothing but an operator ends it, who must not look for a lock."""
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    await database.migrate()
    plain = Direct(database.url)
    with pytest.raises(DatabaseUnavailable, match="the disk of the database is full"):
        async with database.begin() as connection:
            await connection.execute(text("PRAGMA max_page_count = 1"))  # as many as there are
            await connection.execute(text(LONG_ROW))
    with (
        pytest.raises(DatabaseUnavailable, match="the disk of the database is full"),
        plain.write() as cursor,
    ):
        cursor.execute("PRAGMA max_page_count = 1")
        cursor.execute(LONG_ROW)
    plain.close()
    await database.close()


@pytest.mark.usefixtures("impatient")
async def test_sqlite_locked_by_a_stranger(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/xiaohao.db")
    await database.migrate()
    stranger = sqlite3.connect(tmp_path / "xiaohao.db", isolation_level=None)
    stranger.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable):
        async with database.begin():
            pass
    stranger.close()
    async with database.begin() as connection:
        await add(connection, "a")
    await database.close()


async def test_a_plain_connection_that_the_server_closed_meanwhile_is_opened_again(
    postgresql: Cluster,
) -> None:
    with postgresql.lent("template_xiaohao") as name:
        direct = Direct(make_url(postgresql.url(name)))
        insert = "INSERT INTO marks (name, value) VALUES (%s, 1)"
        with direct.write() as cursor:
            cursor.execute(insert, ("a",))
        with psycopg.connect(postgresql.url("postgres"), autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
        await asyncio.sleep(0.1)
        with direct.write() as cursor:
            cursor.execute(insert, ("b",))
        with direct.read() as cursor:
            cursor.execute("SELECT name FROM marks WHERE name IN ('a', 'b') ORDER BY name")
            assert [row[0] for row in cursor.fetchall()] == ["a", "b"]
        direct.close()


async def test_sqlite_s_files_are_for_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{tmp_path}/data/x.db", 1)
        await database.migrate()
        await database.agree()
        await database.ping()
        files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
        await database.close()
    finally:
        os.umask(before)
    assert files.keys() >= {"x.db", "x.db-wal", "x.db-shm", "x.db.lock"}
    assert set(files.values()) == {0o600}
