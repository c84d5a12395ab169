"""One plain driver connection for the hot paths: the switch's journal, the worker's deliveries, reservations.

The statements are still SQLAlchemy Core, compiled once; what is saved is SQLAlchemy's work per execution and
the hop between threads per statement. Rows are written many at a time in one statement, because each
statement gives up Python's global lock and has to win it back from a busy event loop.

Nothing here is asynchronous: use it from a thread of your own, one thread at a time.
"""

import re
import select
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from itertools import chain, count
from typing import Any, Final, Protocol, Self

import psycopg
from sqlalchemy import URL, Column, Dialect, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from xiaohao.database.driver_errors import errors_translated
from xiaohao.database.engine import BUSY_TIMEOUT_MS, POSTGRESQL_CONNECT
from xiaohao.database.fence import Fence

#: Sets of up to so many rows or keys have a statement of their own; bigger ones are cut into powers of two,
#: so that few different texts are ever compiled and prepared.
_OWN_STATEMENT: Final = 8
_ROWS_AT_ONCE: Final = 32
_BY_KEYS: Final = " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
_MARKER: Final = re.compile("%[s%]")

Row = tuple[Any, ...]


class Cursor(Protocol):
    """What both drivers' cursors can do."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement touched."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any:
        """Run one statement."""

    def executemany(self, statement: Any, parameters: Any, /) -> Any:
        """Run one statement for each of several sets of parameters."""

    def fetchall(self) -> list[Any]:
        """All rows of the last statement."""


def dialect_of(name: str) -> Dialect:
    """The dialect of a database (`sqlite`, `postgresql`) with its driver's own way to mark parameters."""
    if name == "sqlite":
        return SQLiteDialect_pysqlite(paramstyle="qmark")
    return PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]


class Direct:
    """A connection that opens itself when it is first used and again after it broke."""

    def __init__(
        self,
        url: URL,
        checkpoint_pages: int = 1000,
        cache_kib: int = 2000,
        fence: Fence | None = None,
        durable: bool = True,
        by_keys: bool = False,
    ) -> None:
        """`checkpoint_pages`: how long SQLite's log may be before this connection copies it into the file.

        `cache_kib`: memory for SQLite's pages. `fence`: that of the `Database` beside which it works. What is
        not `durable` may be lost, in whole transactions, with a machine that stops, and never with a process.
        `by_keys`: every statement finds its rows by keys that it names; PostgreSQL shall never read a whole
        table instead, as it would for as long as it has not counted a table that grew.
        """
        self._by_keys = by_keys
        self._durable = durable
        self._cache_kib = cache_kib
        self._url = url
        self._fence = fence
        self._checkpoint_pages = checkpoint_pages
        self.dialect: Dialect = dialect_of(url.get_backend_name())
        self._connection: Any = None

    @property
    def is_sqlite(self) -> bool:
        """Which of the two databases it is."""
        return self.dialect.name == "sqlite"

    @contextmanager
    def write(self, *, pipelined: bool = True) -> Iterator[Cursor]:
        """A write transaction, durable when it is left. Raises DatabaseUnavailable.

        `pipelined`: on PostgreSQL statements do not wait for each one's answer; COPY needs that they do.
        """
        with errors_translated():
            cursor = self._cursor()
            try:
                with self._pipeline() if pipelined else nullcontext():
                    cursor.execute("BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
                    yield cursor
                    cursor.execute("COMMIT")
            except BaseException as error:
                self._roll_back(cursor, error)
                raise

    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """A cursor for reading; each statement sees the newest committed data. Raises DatabaseUnavailable."""
        with errors_translated():
            try:
                yield self._cursor()
            except psycopg.Error:
                self.close()
                raise

    def close(self) -> None:
        """Give the connection back; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error, psycopg.Error):
                connection.close()

    def _cursor(self) -> Cursor:
        if not self.is_sqlite and self._connection is not None and _was_left(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._open_sqlite() if self.is_sqlite else self._open_postgresql()
            if self._fence is not None:
                try:
                    self._fence.admit(self._connection.cursor())
                except BaseException:
                    self.close()
                    raise
        cursor: Cursor = self._connection.cursor()
        return cursor

    def _pipeline(self) -> AbstractContextManager[Any]:
        # Statements go to PostgreSQL without waiting for each one's answer; leaving raises what went wrong.
        # What follows a statement that went wrong, the COMMIT too, is not carried out.
        pipeline: AbstractContextManager[Any] = (
            nullcontext() if self.is_sqlite else self._connection.pipeline()
        )
        return pipeline

    def _roll_back(self, cursor: Cursor, error: BaseException) -> None:
        # A server that has refused a statement is well; whatever else went wrong is not worth mending.
        if not self.is_sqlite and isinstance(error, psycopg.Error) and error.sqlstate is None:
            self.close()
            return
        try:
            cursor.execute("ROLLBACK")
        except sqlite3.Error:  # BEGIN itself had failed: there is nothing to roll back
            return
        except psycopg.Error:
            self.close()

    def _open_sqlite(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._url.database or "",
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=2048,
        )
        settings = (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if self._durable else 'NORMAL'}",
            f"wal_autocheckpoint = {self._checkpoint_pages}",
            f"cache_size = -{self._cache_kib}",
        )
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")
        return connection

    def _open_postgresql(self) -> psycopg.Connection[Row]:
        plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(
            plain,
            autocommit=True,
            prepare_threshold=2,
            cursor_factory=_NumberingCursor,
            options=f"-c lock_timeout={BUSY_TIMEOUT_MS}"
            + ("" if self._durable else " -c synchronous_commit=off")
            + (_BY_KEYS if self._by_keys else ""),
            **POSTGRESQL_CONNECT,
        )


class _NumberingCursor(psycopg.RawCursor[Row]):
    """Writes `$1` for `%s` once for each text: the driver would do so at every execution of a long one."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Run one statement."""
        return super().execute(query if params is None else _numbered(query), params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        """Run one statement for each of several sets of parameters."""
        super().executemany(_numbered(query), params_seq, **options)


@lru_cache(maxsize=1024)
def _numbered(text: str) -> str:
    places = count(1)
    return _MARKER.sub(lambda found: "%" if found[0] == "%%" else f"${next(places)}", text)


def _was_left(connection: psycopg.Connection[Row]) -> bool:
    """Whether the server has closed a connection that nobody is using: it says nothing else unasked."""
    if connection.closed:
        return True
    unasked = select.poll()
    unasked.register(connection.fileno(), select.POLLIN)
    return bool(unasked.poll(0))


class Statement:
    """A statement compiled once. Parameters go by name into `row`, then by position into the driver."""

    def __init__(self, dialect: Dialect, clause: ClauseElement) -> None:
        compiled = clause.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - every statement of ours compiles to text
        self.text = compiled.string
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._fixed = {
            name: value for name, value in compiled.params.items() if value is not None and name in self.names
        }

    def row(self, **values: Any) -> Row:
        """The parameters in the order of the text. Raises KeyError where one is missing."""
        fixed = self._fixed
        return tuple(values[name] if name in values else fixed[name] for name in self.names)

    def run(self, cursor: Cursor, **values: Any) -> None:
        """Execute it once."""
        cursor.execute(self.text, self.row(**values))


def insert_into(dialect: Dialect, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what to do on a conflict; SQLAlchemy has it per database, in the same words."""
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


class Insert:
    """`INSERT … VALUES (…), (…) …` of the named columns, with what to do where a row is there already."""

    def __init__(
        self,
        dialect: Dialect,
        table: Table,
        columns: Sequence[str],
        on_conflict: Callable[[Any], Any],
        rows_at_once: int = _ROWS_AT_ONCE,
    ) -> None:
        """`on_conflict` gets the dialect's insert and gives back the same with its conflict clause, or with
        RETURNING for `fetch`.
        """
        self._rows_at_once = rows_at_once
        self._dialect = dialect
        self._table = table
        self._columns: list[Column[Any]] = [table.c[name] for name in columns]
        self._on_conflict = on_conflict
        self._statements: dict[int, tuple[str, Row]] = {}
        for size in range(1, _OWN_STATEMENT + 1):
            self._statement(size)  # now, because it would hold calls up for milliseconds later

    def run(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """Insert the rows in their order."""
        for start, size in _parts(len(rows), self._rows_at_once):
            self._execute(cursor, rows[start : start + size])

    def fetch(self, cursor: Cursor, rows: Sequence[Row]) -> list[Row]:
        """Insert the rows; gives back what RETURNING says of them, in any order."""
        returned: list[Row] = []
        for start, size in _parts(len(rows), self._rows_at_once):
            self._execute(cursor, rows[start : start + size])
            returned += cursor.fetchall()
        return returned

    def _execute(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        text, of_the_conflict = self._statement(len(rows))
        cursor.execute(text, [*chain.from_iterable(rows), *of_the_conflict])

    def _statement(self, size: int) -> tuple[str, Row]:
        if size not in self._statements:
            values = [
                {c.name: bindparam(f"{c.name}__{i}", type_=c.type) for c in self._columns}
                for i in range(size)
            ]
            statement = Statement(
                self._dialect, self._on_conflict(insert_into(self._dialect, self._table).values(values))
            )
            order = tuple(f"{c.name}__{i}" for i in range(size) for c in self._columns)
            if statement.names[: len(order)] != order:
                raise ValueError(f"columns of {self._table.name} must be given in the table's own order")
            self._statements[size] = (statement.text, statement.row(**dict.fromkeys(order))[len(order) :])
        return self._statements[size]


class ForKeys:
    """A statement over a set of keys (`… WHERE key IN (…)`) of any number; a key may come up twice in it."""

    def __init__(
        self,
        dialect: Dialect,
        make: Callable[[list[Any]], ClauseElement],
        keys_at_once: int = _ROWS_AT_ONCE,
    ) -> None:
        """`make` gets the parameters that stand for the keys and gives back the statement."""
        self._dialect = dialect
        self._make = make
        self._keys_at_once = keys_at_once
        self._statements: dict[int, Statement] = {}

    def run(self, cursor: Cursor, keys: Sequence[Any], **values: Any) -> None:
        """Execute it for its effect; `values` are its other parameters."""
        for part in _padded(keys, self._keys_at_once):
            self._execute(cursor, part, values)

    def fetch(self, cursor: Cursor, keys: Sequence[Any], **values: Any) -> list[Row]:
        """Execute it for its rows."""
        rows: list[Row] = []
        for part in _padded(keys, self._keys_at_once):
            self._execute(cursor, part, values)
            rows += cursor.fetchall()
        return rows

    def _execute(self, cursor: Cursor, keys: Sequence[Any], values: dict[str, Any]) -> None:
        size = len(keys)
        if size not in self._statements:
            markers: list[Any] = [bindparam(f"key_{i}") for i in range(size)]
            self._statements[size] = Statement(self._dialect, self._make(markers))
        named = {f"key_{i}": key for i, key in enumerate(keys)}
        self._statements[size].run(cursor, **named, **values)


class ForRows:
    """A statement over a set of rows (`WITH given AS (VALUES (…), (…))`) of any number."""

    def __init__(
        self, dialect: Dialect, width: int, make: Callable[[str], str], rows_at_once: int = _ROWS_AT_ONCE
    ) -> None:
        """`make` gets `(?, …), (?, …)`, which stands for rows of `width` values, and gives back the text.

        The rows' values come before every other parameter of the text, which are given by position.
        """
        marker = "?" if dialect.name == "sqlite" else "%s"
        self._row = f"({', '.join([marker] * width)})"
        self._make = make
        self._rows_at_once = rows_at_once
        self._texts: dict[int, str] = {}

    def run(self, cursor: Cursor, rows: Sequence[Row], *others: Any) -> None:
        """Execute it for its effect."""
        for start, size in _parts(len(rows), self._rows_at_once):
            self._execute(cursor, rows[start : start + size], others)

    def fetch(self, cursor: Cursor, rows: Sequence[Row], *others: Any) -> list[Row]:
        """Execute it for its rows."""
        found: list[Row] = []
        for start, size in _parts(len(rows), self._rows_at_once):
            self._execute(cursor, rows[start : start + size], others)
            found += cursor.fetchall()
        return found

    def _execute(self, cursor: Cursor, rows: Sequence[Row], others: Row) -> None:
        size = len(rows)
        if size not in self._texts:
            self._texts[size] = self._make(", ".join([self._row] * size))
        cursor.execute(self._texts[size], [*chain.from_iterable(rows), *others])


def _padded(keys: Sequence[Any], at_once: int) -> Iterator[Sequence[Any]]:
    """Cut a set of keys into parts that have a statement. A key that stands there twice is still one key, so
    that the last part is filled up instead of being cut further.
    """
    for start in range(0, len(keys), at_once):
        part = keys[start : start + at_once]
        size = len(part) if len(part) <= _OWN_STATEMENT else min(at_once, 1 << (len(part) - 1).bit_length())
        yield part if size == len(part) else [*part, *[part[-1]] * (size - len(part))]


def _parts(total: int, at_once: int) -> Iterator[tuple[int, int]]:
    """Cut a set into parts that have a statement: (start, size) of each."""
    start = 0
    while start < total:
        left = total - start
        size = left if left <= _OWN_STATEMENT else min(at_once, 1 << (left.bit_length() - 1))
        yield start, size
        start += size
