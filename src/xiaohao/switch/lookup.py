"""What is read for each call, and what is looked at many times a second, on connections of their own.

The hot path's one query: who is to be connected when this caller dials this number?
"""

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, LiteralString, Protocol

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import URL

from xiaohao.bindings.lookup_store import HOT_LOOKUP_PSYCOPG, HOT_LOOKUP_SQL, parameters
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.routing.store import SHOWN_PSYCOPG, SHOWN_SQL

_PATIENCE_S = 1.0
#: of SQLite's file, in bytes; no more than 2 GiB are mapped whatever is asked for
_MAPPED = 1 << 31
#: stands among the marks: whether a command waits (calls/store.py)
COMMANDS: Final = "*commands"
_NEWS: LiteralString = (
    "SELECT name, value FROM marks"
    " UNION ALL SELECT '*commands', CASE WHEN EXISTS (SELECT 1 FROM call_commands) THEN 1 ELSE 0 END"
)


class Lookup(Protocol):
    """Answers with the row for `bindings.recognition.judge`."""

    async def open(self) -> None:
        """Connect as far as that can be done now."""

    async def find(self, caller_key: bytes, dialled: str, now: int) -> Sequence[Any] | None:
        """The row, or None where the number is nobody's. Raises DatabaseUnavailable."""

    async def shown(self, display: str, callee: str) -> Sequence[Any] | None:
        """The row for `routing.judging.way_of`. Raises DatabaseUnavailable."""

    async def news(self) -> dict[str, int]:
        """All marks (database/marks.py), and COMMANDS: 1 where one waits. Raises DatabaseUnavailable."""

    async def close(self) -> None:
        """Give connections back."""


class _Questions(ABC):
    """What all look-ups ask; how an answer is had is the database's."""

    #: texts of the questions, as the driver wants their parameters
    _find: LiteralString
    _shown: LiteralString

    async def find(self, caller_key: bytes, dialled: str, now: int) -> Sequence[Any] | None:
        """See Lookup.find."""
        return await self._first(self._find, parameters(caller_key, dialled, now))

    async def shown(self, display: str, callee: str) -> Sequence[Any] | None:
        """See Lookup.shown."""
        return await self._first(self._shown, {"display": display, "callee": callee})

    async def news(self) -> dict[str, int]:
        """See Lookup.news."""
        return {row[0]: row[1] for row in await self._rows(_NEWS, {})}

    async def _first(self, statement: LiteralString, wanted: dict[str, Any]) -> Sequence[Any] | None:
        return next(iter(await self._rows(statement, wanted)), None)

    @abstractmethod
    async def _rows(self, statement: LiteralString, wanted: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """Raises DatabaseUnavailable."""


class SqliteLookup(_Questions):
    """A read on this thread: it takes some 20 µs, which is less than handing it to another thread costs."""

    _find, _shown = HOT_LOOKUP_SQL, SHOWN_SQL

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Nothing to do: the file is opened at the first look-up."""

    async def _rows(self, statement: LiteralString, wanted: dict[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=0.05)
                # What the system holds in its memory is looked at there and not copied page by page.
                self._connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
            rows: Sequence[Sequence[Any]] = self._connection.execute(statement, wanted).fetchall()
        except sqlite3.Error as error:
            await self.close()
            # `from None`: the original may quote the statement's parameters
            raise DatabaseUnavailable(f"the look-up failed ({type(error).__name__})") from None
        return rows

    async def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PostgresqlLookup(_Questions):
    """A few connections that keep the query prepared."""

    _find, _shown = HOT_LOOKUP_PSYCOPG, SHOWN_PSYCOPG

    def __init__(self, url: URL) -> None:
        conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool = AsyncConnectionPool(
            conninfo, min_size=2, max_size=8, open=False, timeout=_PATIENCE_S,
            # after that the next call tries at once; the pool's own tries come ever later
            reconnect_timeout=1.0,
            kwargs={"autocommit": True, "prepare_threshold": 1, "connect_timeout": 2},
        )  # fmt: skip
        self._abandoned: set[asyncio.Task[Sequence[Sequence[Any]]]] = set()

    async def open(self) -> None:
        """Start connecting in the background."""
        await self._pool.open(wait=False)

    async def _rows(self, statement: LiteralString, wanted: dict[str, Any]) -> Sequence[Sequence[Any]]:
        # A query that is cancelled is waited for by the driver for many seconds: leave it behind instead.
        question = asyncio.ensure_future(self._ask(statement, wanted))
        try:
            await asyncio.wait({question}, timeout=_PATIENCE_S)
        finally:
            if not question.done():
                self._abandoned.add(question)
                question.add_done_callback(self._forget)
                question.cancel()
        if question.done():
            return question.result()
        raise DatabaseUnavailable("the look-up got no answer in time")

    async def _ask(self, statement: LiteralString, wanted: dict[str, Any]) -> Sequence[Sequence[Any]]:
        tries = 1 + self._pool.max_size
        while True:
            tries -= 1
            try:
                async with self._pool.connection() as connection:
                    return await (await connection.execute(statement, wanted)).fetchall()
            except psycopg.OperationalError as error:
                # a server that was restarted has left us dead connections: take the next one
                if not tries or isinstance(error, PoolTimeout):
                    raise DatabaseUnavailable(f"the look-up failed ({type(error).__name__})") from None
            except psycopg.Error as error:
                raise DatabaseUnavailable(f"the look-up failed ({type(error).__name__})") from None

    def _forget(self, question: asyncio.Task[Sequence[Sequence[Any]]]) -> None:
        self._abandoned.discard(question)
        if not question.cancelled():
            question.exception()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


def lookup_for(url: URL) -> Lookup:
    """The look-up for this database."""
    if url.get_backend_name() == "sqlite":
        return SqliteLookup(url.database or "")
    return PostgresqlLookup(url)
