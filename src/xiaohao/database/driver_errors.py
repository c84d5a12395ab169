"""The drivers' errors, told apart: those that pass, and those of the data."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from xiaohao.database.errors import DatabaseUnavailable, TransactionLost

#: SQLSTATE class of a transaction that the server took back in favour of another one
_ROLLED_BACK: Final = "40"
#: SQLSTATE (PostgreSQL, appendix A)
_DISK_FULL: Final = "53100"


@contextmanager
def errors_translated() -> Iterator[None]:
    """Turn the drivers' errors that say "later" into DatabaseUnavailable, or TransactionLost."""
    try:
        yield
    except (sqlite3.Error, psycopg.Error) as error:
        if _is_about_the_data(error):
            raise
        # `from None`: the original may quote the statement's parameters.
        if _state(error).startswith(_ROLLED_BACK):
            raise TransactionLost("another transaction went first") from None
        raise DatabaseUnavailable(in_words(error)) from None


def in_words(error: BaseException | None) -> str:
    """What is wrong, for the log, without a word of the driver's. What only an operator can end is named."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or _state(error) == _DISK_FULL:
        return "the disk of the database is full"
    return f"the database is locked or away ({type(error).__name__})"


def _state(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _is_about_the_data(error: sqlite3.Error | psycopg.Error) -> bool:
    """Whether these rows can never be written, whatever becomes of the database.

    Everything else passes: a table that is missing, a file that is none, a right that was not given. An
    operator puts that right, and until then nothing may be thrown away.
    """
    if isinstance(error, sqlite3.Error):
        return isinstance(
            error,
            sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError | sqlite3.ProgrammingError,
        )
    never_sent = isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None
    return never_sent or isinstance(error, psycopg.DataError | psycopg.IntegrityError)
