"""Keeps two master keys from being at work in one database: whoever comes in shows which key it has.

Every connection that writes secrets passes `admit`. It leaves a shared lock behind, which goes with the
connection or the process, however that ends; `alone` takes the same lock for itself. On PostgreSQL it is an
advisory lock of the session, on SQLite a lock (flock) on a file beside the database.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import URL, make_url

from xiaohao.database.errors import DatabaseInUse, DatabaseUnavailable, MasterKeyChanging, WrongMasterKey

#: names in the table `marks`: the id of the key that everything is sealed with, and of the one to come
MASTER_KEY: Final = "master_key"
NEXT_MASTER_KEY: Final = "next_master_key"

#: any number will do, as long as every process of the platform takes the same one
_LOCK: Final = 0x5841_4F48_4B45
#: the server takes a moment to notice that a process has gone
_LEAVING_MS: Final = 1000
_HAS_MARKS: Final = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'marks'",
    "postgresql": "SELECT 1 WHERE to_regclass('marks') IS NOT NULL",
}
_MARKS: Final = f"SELECT name, value FROM marks WHERE name IN ('{MASTER_KEY}', '{NEXT_MASTER_KEY}')"  # noqa: S608


def key_marks(url: str) -> dict[str, int]:
    """The ids of the keys that a database is sealed with; none of a database that is not there yet.

    Raises DatabaseUnavailable where it does not say.
    """
    where = make_url(url)
    try:
        if where.get_backend_name() == "sqlite":
            path = Path(where.database or "").absolute()
            if not path.exists():
                return {}
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5.0)) as file:
                return _marks_of(file.cursor(), "sqlite")
        plain = where.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True, connect_timeout=5) as connection:
            return _marks_of(connection.cursor(), "postgresql")
    except (sqlite3.Error, psycopg.Error) as error:
        raise DatabaseUnavailable(f"the database is away ({type(error).__name__})") from None


class Cursor(Protocol):
    """What the cursors of all drivers can do."""

    def execute(self, statement: Any, /) -> Any:
        """Run one statement."""

    def fetchall(self) -> Any:
        """All rows of the last statement."""


def _marks_of(cursor: Cursor, backend: str) -> dict[str, int]:
    cursor.execute(_HAS_MARKS[backend])
    if not cursor.fetchall():
        return {}
    cursor.execute(_MARKS)
    return dict(cursor.fetchall())


class Fence:
    """One for each `Database`. `key_id` None: no secrets are touched, everybody may come in."""

    def __init__(self, url: URL, key_id: int | None) -> None:
        self._url = url
        self._backend = url.get_backend_name()
        self.key_id = key_id
        self._shared: int | None = None
        self._one_at_a_time = threading.Lock()  # connections are opened by several threads

    def admit(self, cursor: Cursor) -> None:
        """Let a new connection in. Raises MasterKeyChanging, WrongMasterKey: close it then."""
        if self.key_id is None:
            return
        self._share(cursor)
        self.judge(_marks_of(cursor, self._backend))

    def judge(self, marks: Mapping[str, int]) -> None:
        """Whether the database lets our key in. Raises MasterKeyChanging, WrongMasterKey."""
        if self.key_id is None:
            return
        if NEXT_MASTER_KEY in marks:
            raise MasterKeyChanging(
                "the master key is being replaced: bring `xiaohao key rotate` to its end first"
            )
        if marks.get(MASTER_KEY, self.key_id) != self.key_id:
            raise WrongMasterKey(
                f"the database was sealed with the master key {marks[MASTER_KEY]:08x}, "
                f"this one is {self.key_id:08x}"
            )

    def release(self) -> None:
        """Give back what the process holds."""
        shared, self._shared = self._shared, None
        if shared is not None:
            os.close(shared)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out. Raises DatabaseInUse where somebody is in, DatabaseUnavailable."""
        if self._backend == "sqlite":
            with self._alone_on_sqlite():
                yield
        else:
            with self._alone_on_postgresql():
                yield

    def _share(self, cursor: Cursor) -> None:
        if self._backend == "sqlite":
            with self._one_at_a_time:
                if self._shared is None:
                    self._shared = self._lock_file(fcntl.LOCK_SH)
            granted = self._shared is not None
        else:
            cursor.execute(f"SELECT pg_try_advisory_lock_shared({_LOCK})")
            granted = cursor.fetchall()[0][0]
        if not granted:
            raise MasterKeyChanging("the master key is just being replaced")

    def _lock_file(self, operation: int) -> int | None:
        descriptor = os.open(f"{self._url.database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @contextmanager
    def _alone_on_sqlite(self) -> Iterator[None]:
        descriptor = self._lock_file(fcntl.LOCK_EX)
        if descriptor is None:
            raise _in_use()
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _alone_on_postgresql(self) -> Iterator[None]:
        plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            connection = psycopg.connect(plain, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(f"the database is away ({type(error).__name__})") from None
        try:
            try:
                connection.execute(f"SET lock_timeout = {_LEAVING_MS}")
                connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
            except psycopg.errors.LockNotAvailable:
                raise _in_use() from None
            yield
        finally:
            with suppress(psycopg.Error):
                connection.close()


def _in_use() -> DatabaseInUse:
    return DatabaseInUse(
        "the platform works on this database (a switch, web or worker, here or elsewhere): stop it first"
    )
