"""The way to the database: one writer and a few readers on SQLite, a pool of connections on PostgreSQL.

What is written inside `begin` is on the disk when `begin` is left. Rooms write SQLAlchemy Core and never ask
which database it is.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, event, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from xiaohao.database.driver_errors import in_words
from xiaohao.database.errors import (
    DatabaseUnavailable,
    MasterKeyChanging,
    TransactionLost,
    WrongMasterKey,
)
from xiaohao.database.fence import MASTER_KEY, NEXT_MASTER_KEY, Fence
from xiaohao.database.schema import marks

__all__ = ["BUSY_TIMEOUT_MS", "CHECKPOINT_PAGES", "Database", "DatabaseUnavailable", "TransactionLost"]

BUSY_TIMEOUT_MS: Final = 5000
_SQLITE_READERS: Final = 4
_POSTGRESQL_CONNECTIONS: Final = 10
#: so long may SQLite's log be before a connection copies it into the file; the worker's outbox is earlier
CHECKPOINT_PAGES: Final = 8000
_MIGRATION_PATIENCE_S: Final = 60.0
#: any number will do, as long as every process of the platform takes the same one
_MIGRATION_LOCK: Final = 0x5841_4F48_414F

# A peer that vanished without a word is noticed within seconds and not after the kernel's quarter of an hour.
POSTGRESQL_CONNECT: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_SQLITE_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
    }
)
# SQLSTATE classes and codes (PostgreSQL, appendix A) that say "later": connection 08, rollback by the server
# 40, resources 53, operator intervention 57, system 58, lock not available 55P03, read only 25006.
_ROLLED_BACK: Final = "40"
_POSTGRESQL_PASSING: Final = ("08", _ROLLED_BACK, "53", "57", "58", "55P03", "25006")


_CLAIM: Final = text("INSERT INTO marks (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
_KEY_MARKS: Final = select(marks).where(marks.c.name.in_((MASTER_KEY, NEXT_MASTER_KEY)))

_Shared = tuple["Database", "asyncio.Task[Any] | None", AsyncConnection]
_shared: ContextVar[_Shared | None] = ContextVar("shared", default=None)


class Database:
    """One per process. `url` is `sqlite:///path` or `postgresql://user@host/name`.

    `key_id` is that of the vault whose secrets are written (`secrecy.Vault.key_id`): a database that is
    sealed with another key then lets no connection in.
    """

    def __init__(self, url: str, key_id: int | None = None) -> None:
        self.url = make_url(url)
        self.fence = Fence(self.url, key_id)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._closers: list[Callable[[], Awaitable[None]]] = []
        if self.is_sqlite:
            self._writer = _sqlite_engine(self.url, connections=1)
            self._reader = _sqlite_engine(self.url, connections=_SQLITE_READERS)
            event.listen(self._writer.sync_engine, "connect", _prepare_sqlite_writer)
            event.listen(self._writer.sync_engine, "begin", _begin_immediate)
            event.listen(self._reader.sync_engine, "connect", _prepare_sqlite_reader)
            for one in (self._writer, self._reader):
                event.listen(one.sync_engine, "do_connect", self._make_privately)
                event.listen(one.sync_engine, "connect", self._admit)
        else:
            self._writer = create_async_engine(
                self.url.set(drivername="postgresql+psycopg"),
                pool_size=_POSTGRESQL_CONNECTIONS,
                max_overflow=0,
                pool_timeout=BUSY_TIMEOUT_MS / 1000,
                pool_pre_ping=True,
                connect_args=POSTGRESQL_CONNECT,
                hide_parameters=True,
            )
            event.listen(self._writer.sync_engine, "connect", _prepare_postgresql)
            event.listen(self._writer.sync_engine, "connect", self._admit)
            # The same pool of connections; single statements need no transaction around them.
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction: committed durably on the way out, rolled back when an error leaves it.

        Raises DatabaseUnavailable. On SQLite it holds the database's only write lock: keep it short.
        """
        with _translated():
            if (outer := self._shared_by_this_task()) is not None:
                async with outer.begin_nested():
                    yield outer
            else:
                async with self._writer.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; each statement sees what is committed. Raises DatabaseUnavailable."""
        if (outer := self._shared_by_this_task()) is not None:
            yield outer
            return
        with _translated():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction that every `begin` and `read` of the same task inside it takes part in.

        What several use cases write so comes to stand together or not at all. An error that leaves an inner
        `begin` takes back that part only; one that leaves `shared` takes back everything.
        """
        async with self.begin() as connection:
            token = _shared.set((self, asyncio.current_task(), connection))
            try:
                yield connection
            finally:
                _shared.reset(token)

    def taken_part_in(self) -> bool:
        """Whether this task is inside `shared`."""
        return self._shared_by_this_task() is not None

    def at_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed first when the database is closed."""
        self._closers.append(close)

    def _shared_by_this_task(self) -> AsyncConnection | None:
        # A task started inside inherits the variable, but two tasks must not talk over one connection.
        owner, task, connection = _shared.get() or (None, None, None)
        return connection if owner is self and task is asyncio.current_task() else None

    async def migrate(self) -> None:
        """Bring the schema up to date; several processes may do so at once, one of them does the work.

        Raises DatabaseUnavailable after a minute without getting hold of the database, WrongMasterKey and
        MasterKeyChanging at once.
        """
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        deadline = asyncio.get_running_loop().time() + _MIGRATION_PATIENCE_S
        while True:
            try:
                return await self._migrate()
            except (WrongMasterKey, MasterKeyChanging):
                raise  # whoever starts is to be told, not to wait
            except DatabaseUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def _migrate(self) -> None:
        async with self.begin() as connection:
            if not self.is_sqlite:
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.run_sync(_upgrade)

    async def is_up_to_date(self) -> bool:
        """Whether the schema is the one of this version. Raises DatabaseUnavailable."""
        async with self.read() as connection:
            return await connection.run_sync(_is_up_to_date)

    async def agree(self) -> None:
        """Make our master key the database's if it has none yet; whoever starts does so first.

        Raises WrongMasterKey, MasterKeyChanging, DatabaseUnavailable.
        """
        if self.fence.key_id is None:
            return
        async with self.begin() as connection:
            await connection.execute(_CLAIM, {"name": MASTER_KEY, "value": self.fence.key_id})
            said = {row.name: row.value for row in await connection.execute(_KEY_MARKS)}
        self.fence.judge(said)

    def _make_privately(self, *_: Any) -> None:
        """The file for nobody else to read; what SQLite puts beside it has the same rights."""
        # A file that is there is not opened: closing it would take SQLite's locks away from this process.
        with suppress(OSError):  # SQLite says itself what is wrong with the place
            os.close(os.open(self.url.database or "", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def _admit(self, connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            self.fence.admit(cursor)
        except BaseException:
            connection.close()
            raise
        cursor.close()
        connection.commit()

    async def ping(self) -> None:
        """Raises DatabaseUnavailable unless the database answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Give back every connection."""
        while self._closers:
            await self._closers.pop()()
        await self._writer.dispose()
        await self._reader.dispose()
        self.fence.release()


def _sqlite_engine(url: URL, connections: int) -> AsyncEngine:
    return create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
        hide_parameters=True,
    )


def _prepare_sqlite_writer(connection: Any, _record: Any) -> None:
    _take_over_transactions(connection)
    checkpoint = f"wal_autocheckpoint = {CHECKPOINT_PAGES}"
    _pragmas(connection, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", checkpoint)


def _prepare_sqlite_reader(connection: Any, _record: Any) -> None:
    _take_over_transactions(connection)
    _pragmas(connection, "query_only = ON")


def _take_over_transactions(connection: Any) -> None:
    # The driver would open transactions by guessing from the statement, and never an IMMEDIATE one.
    connection.isolation_level = None


def _pragmas(connection: Any, *settings: str) -> None:
    cursor = connection.cursor()
    for setting in settings:
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that begins as a reader and then writes can be refused at once whatever the busy timeout
    # (SQLITE_BUSY_SNAPSHOT); one that begins as a writer waits for its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    cursor.close()
    connection.commit()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn every engine error that means "later" into DatabaseUnavailable."""
    try:
        yield
    except PoolTimeout:
        raise DatabaseUnavailable("every database connection is busy") from None
    except DBAPIError as error:
        if not _is_passing(error):
            raise
        # `from None`: the original quotes the statement's text, which nobody needs in order to try again.
        if (getattr(error.orig, "sqlstate", None) or "").startswith(_ROLLED_BACK):
            raise TransactionLost("another transaction went first") from None
        raise DatabaseUnavailable(in_words(error.orig)) from None


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return getattr(original, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PASSING
    state = getattr(original, "sqlstate", None)
    if state is None:  # never reached the server
        return type(original).__name__ in ("OperationalError", "ConnectionTimeout")
    return bool(state.startswith(_POSTGRESQL_PASSING))


def _upgrade(connection: Connection) -> None:
    config = _migrations()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _is_up_to_date(connection: Connection) -> bool:
    here = MigrationContext.configure(connection).get_current_heads()
    return set(here) == set(ScriptDirectory.from_config(_migrations()).get_heads())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
