"""All SQL of what policies count: hits (calls that were let through) and seats (calls in progress).

Whoever counts holds a lock on each subject until the end of the transaction, so that what was counted stays
true until it is written: on SQLite there is one writer anyway, on PostgreSQL they are advisory locks.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Dialect, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import SECOND
from xiaohao.database.direct import Cursor, ForKeys, ForRows, Insert, Row
from xiaohao.database.policy_tables import policy_hits, policy_seats
from xiaohao.database.schema import calls

#: a seat without a call in the database is that of a call which was let through a moment ago
FRESH_US: Final = 15 * SECOND

_LOCK: Final = "SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k"
_HITS: Final = """
WITH wanted(place, subject, since) AS (VALUES {rows})
SELECT place, (SELECT count(*) FROM policy_hits
    WHERE policy_hits.subject = wanted.subject AND policy_hits.at > wanted.since)
FROM wanted
"""
_SEATS: Final = """
WITH wanted(place, subject, fresh, own) AS (VALUES {rows})
SELECT place, (SELECT count(*) FROM policy_seats
    WHERE policy_seats.subject = wanted.subject AND policy_seats.call_id <> wanted.own
        AND (policy_seats.at > wanted.fresh
        OR EXISTS (SELECT 1 FROM calls WHERE calls.id = policy_seats.call_id)))
FROM wanted
"""


class CountingStatements:
    """What is asked and written over a plain connection, compiled for one of the two databases."""

    def __init__(self, dialect: Dialect) -> None:
        self._is_sqlite = dialect.name == "sqlite"
        self._hits = ForRows(dialect, 3, lambda rows: _HITS.format(rows=rows))
        self._seats = ForRows(dialect, 4, lambda rows: _SEATS.format(rows=rows))
        self._put_hits = Insert(
            dialect, policy_hits, ("subject", "at", "call_id"), lambda into: into.on_conflict_do_nothing()
        )
        self._put_seats = Insert(
            dialect,
            policy_seats,
            ("subject", "call_id", "place", "at"),
            lambda into: into.on_conflict_do_nothing(),
        )
        self._free = ForKeys(dialect, lambda ids: delete(policy_seats).where(policy_seats.c.call_id.in_(ids)))

    def lock(self, cursor: Cursor, subjects: Iterable[bytes]) -> None:
        """Let nobody else count these until the end of the transaction; everybody locks in one order."""
        if not self._is_sqlite:
            keys = sorted({int.from_bytes(subject[:8], signed=True) for subject in subjects})
            cursor.execute(_LOCK, (keys,))

    def count_hits(self, cursor: Cursor, wanted: Sequence[tuple[bytes, int]]) -> list[int]:
        """How many calls of each (subject, since) there were after `since`."""
        return _in_order(self._hits.fetch(cursor, [(place, *row) for place, row in enumerate(wanted)]))

    def count_seats(self, cursor: Cursor, wanted: Sequence[tuple[bytes, int, str]]) -> list[int]:
        """How many calls in progress each (subject, moment after which a call may not be written yet, a call
        that does not count) has.
        """
        return _in_order(self._seats.fetch(cursor, [(place, *row) for place, row in enumerate(wanted)]))

    def put(self, cursor: Cursor, hits: Sequence[Row], seats: Sequence[Row]) -> None:
        """Write (subject, at, call id) and (subject, call id, place, at)."""
        self._put_hits.run(cursor, hits)
        self._put_seats.run(cursor, seats)

    def free(self, cursor: Cursor, call_ids: Sequence[str]) -> None:
        """These calls are over."""
        self._free.run(cursor, call_ids)


def _in_order(rows: list[Row]) -> list[int]:
    counts: dict[int, int] = dict(rows)
    return [counts[place] for place in range(len(counts))]


async def hits_since(connection: AsyncConnection, subject: bytes, since: int) -> int:
    """How many calls of a subject were let through after `since`."""
    where = (policy_hits.c.subject == subject, policy_hits.c.at > since)
    return int((await connection.execute(select(func.count()).where(*where))).scalar_one())


async def seats_now(connection: AsyncConnection, subject: bytes, now: int) -> int:
    """How many calls of a subject are in progress."""
    alive = policy_seats.c.call_id.in_(select(calls.c.id))
    where = (policy_seats.c.subject == subject, alive | (policy_seats.c.at > now - FRESH_US))
    return int((await connection.execute(select(func.count()).where(*where))).scalar_one())


_OLD_HITS: Final = text(
    "DELETE FROM policy_hits WHERE (subject, at, call_id) IN"
    " (SELECT subject, at, call_id FROM policy_hits WHERE at < :before ORDER BY at LIMIT :limit)"
)


async def forget_hits(connection: AsyncConnection, before: int, limit: int) -> int:
    """Remove at most `limit` hits from before this moment; says how many."""
    return (await connection.execute(_OLD_HITS, {"before": before, "limit": limit})).rowcount


async def forget_seats(connection: AsyncConnection, before: int) -> int:
    """Remove seats from before this moment whose calls are over; says how many."""
    over = policy_seats.c.call_id.not_in(select(calls.c.id))
    return (await connection.execute(delete(policy_seats).where(policy_seats.c.at < before, over))).rowcount
