"""What the command line's chores have in common: the database they work on, and errors in plain words."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Any, TypeVar

from xiaohao.clock import parse_rfc3339
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.errors import Refusal
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import SecrecyError, vault_of
from xiaohao.settings import Settings


@contextlib.contextmanager
def plainly(*more: type[Exception]) -> Iterator[None]:
    """Turn what an operator can put right into ChoreFailed; `more`: a command's own errors of that kind."""
    plain: tuple[type[Exception], ...] = (DatabaseUnavailable, SecrecyError, *more)
    try:
        yield
    except Refusal as refusal:
        raise ChoreFailed(refusal.detail) from refusal
    except OSError as error:
        # without "[Errno 2]"
        named = "" if error.filename is None else f"{error.filename}: "
        raise ChoreFailed(f"{named}{error.strerror or error}") from error
    except plain as error:
        raise ChoreFailed(str(error)) from error


def read_span(fields: dict[str, Any]) -> None:
    """Read `since` and `until`, where they were given, as moments (RFC 3339). Raises ChoreFailed."""
    for name in {"since", "until"} & fields.keys():
        try:
            fields[name] = parse_rfc3339(fields[name])
        except ValueError as error:
            raise ChoreFailed(f"--{name}: give a moment as in 2026-11-23T03:04:05Z") from error


_E = TypeVar("_E", bound=StrEnum)


def read_choice(option: str, kind: type[_E], text: str) -> _E:
    """One of the values of an enumeration, given with an option. Raises ChoreFailed, which names them all."""
    try:
        return kind(text)
    except ValueError:
        raise ChoreFailed(f"--{option}: give one of {', '.join(kind)}") from None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database, for whoever has the master key that it was sealed with."""
    database = Database(settings.database.url, vault_of(settings).key_id)
    try:
        yield database
    finally:
        await database.close()
