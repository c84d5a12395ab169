"""The journal's writer: it never waits, never loses, keeps the order, and bears a database that is away."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import msgspec
import psycopg
import pytest
from sqlalchemy import func, select

from tests.calls_store.lives import NOON, Rows, life, locked
from tests.postgresql import Cluster
from xiaohao.calls import journal as journal_module
from xiaohao.calls.journal import CallBegan, CallJournal, JournalWriter
from xiaohao.calls.model import State
from xiaohao.database import direct
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs, events
from xiaohao.secrecy import Vault


@pytest.fixture
def journal(database: Database, vault: Vault) -> CallJournal:
    return CallJournal(database, vault)


@pytest.fixture
async def writer(journal: CallJournal) -> AsyncIterator[JournalWriter]:
    writer = JournalWriter(journal)
    yield writer
    await writer.close()


async def count(database: Database, *tables: object) -> list[int]:
    async with database.read() as connection:
        return [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()  # type: ignore[call-overload]
            for table in tables
        ]


async def test_a_change_is_kept_as_it_was_when_it_was_put(
    writer: JournalWriter, journal: CallJournal
) -> None:
    call = life()[0].call
    writer.put(CallBegan(call))
    call.state, call.dialled = State.ANSWERED, "+861062009999"
    await writer.drain()
    (kept,) = await journal.live()
    assert (kept.state, kept.dialled) == (State.RECEIVED, "+861062000001")


async def test_everything_put_is_written_in_order(writer: JournalWriter, database: Database) -> None:
    lives = [life(received_at=NOON + n) for n in range(60)]
    for stage in zip(*lives, strict=True):
        for change in stage:
            writer.put(change)
        await asyncio.sleep(0.002)
    await writer.drain()
    assert (writer.depth, writer.written, writer.rejected) == (0, 240, 0)
    assert await count(database, cdrs, events) == [60, 300]
    for changes in lives[::20]:
        found = await Rows.of(database, changes[0].call.id)
        assert found.kinds == ["call.received", "call.ringing", "call.answered", "call.ended", "cdr.created"]


async def test_a_locked_database_loses_nothing(
    journal: CallJournal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "BUSY_TIMEOUT_MS", 100)
    writer = JournalWriter(journal)
    lives = [life() for _ in range(5)]
    with locked(database):
        for changes in lives[:3]:
            for change in changes:
                writer.put(change)
        started = time.monotonic()
        await asyncio.sleep(3.0)
        put_took = time.monotonic()
        for changes in lives[3:]:
            for change in changes:
                writer.put(change)
        assert time.monotonic() - put_took < 0.5 < put_took - started
        assert (writer.depth, writer.written) == (20, 0)
    await asyncio.wait_for(writer.drain(), 10)
    assert await count(database, cdrs, events) == [5, 25]
    assert await writer.close() == 0


async def test_a_server_that_was_away_gets_everything(postgresql: Cluster, vault: Vault) -> None:
    postgresql.create("goes_away", template="template_xiaohao")
    database = Database(postgresql.url("goes_away"))
    writer = JournalWriter(CallJournal(database, vault))
    writer.put(life()[0])
    await writer.drain()
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as server:
        server.execute("ALTER DATABASE goes_away ALLOW_CONNECTIONS false")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'goes_away'")
        for change in life():
            writer.put(change)
        await asyncio.sleep(0.5)
        assert writer.depth == 4
        server.execute("ALTER DATABASE goes_away ALLOW_CONNECTIONS true")
    await asyncio.wait_for(writer.drain(), 10)
    assert await count(database, cdrs, events) == [1, 6]
    await writer.close()
    await database.close()
    postgresql.drop("goes_away")


async def test_what_cannot_be_written_does_not_stop_the_rest(
    writer: JournalWriter, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, good = life(), life()
    broken = msgspec.structs.replace(bad[0].call, user_data="\ud800 +8613866660001")
    writer.put(good[0])
    writer.put(CallBegan(broken))
    for change in good[1:]:
        writer.put(change)
    await writer.drain()
    assert (writer.rejected, await count(database, cdrs, events)) == (1, [1, 5])
    assert "13866660001" not in "".join(capfd.readouterr())


async def test_the_worker_is_woken_after_the_commit(journal: CallJournal, database: Database) -> None:
    seen: list[int] = []
    woken = threading.Event()

    def look() -> None:
        if database.is_sqlite:
            with sqlite3.connect(database.url.database or "") as other:
                seen.append(other.execute("SELECT count(*) FROM events").fetchone()[0])
        else:
            with psycopg.connect(database.url.render_as_string(hide_password=False)) as other_server:
                found = other_server.execute("SELECT count(*) FROM events").fetchone()
                seen.append(found[0] if found else -1)
        woken.set()

    writer = JournalWriter(journal, after_commit=look)
    writer.put(life()[0])
    assert await asyncio.to_thread(woken.wait, 10)
    assert seen == [1]
    await writer.close()


async def test_a_hook_that_fails_does_not_stop_the_writing(journal: CallJournal, database: Database) -> None:
    def fail() -> None:
        raise RuntimeError("no worker")

    writer = JournalWriter(journal, after_commit=fail)
    for change in life():
        writer.put(change)
        await writer.drain()
    assert await count(database, cdrs, events) == [1, 5]
    assert await writer.close() == 0


async def test_closing_says_what_is_left(
    journal: CallJournal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "BUSY_TIMEOUT_MS", 100)
    writer = JournalWriter(journal)
    with locked(database):
        for change in life():
            writer.put(change)
        assert await writer.close(patience_s=0.5) == 4


async def test_the_thread_outlives_whatever_goes_wrong_in_it(
    writer: JournalWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the system refused to let it sleep: before, nothing more was written until a restart."""
    failures = iter([OSError(22, "Invalid argument"), MemoryError()])

    def refuses(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        if error := next(failures, None):
            raise error
        sleep(seconds)

    monkeypatch.setattr(journal_module, "time", SimpleNamespace(sleep=refuses, monotonic=time.monotonic))
    for n in range(5):
        for change in life(received_at=NOON + n):
            writer.put(change)
        await asyncio.wait_for(writer.drain(), 5)
    assert next(failures, None) is None
    assert await count(database, cdrs, events) == [5, 25]
    assert writer.depth == 0
