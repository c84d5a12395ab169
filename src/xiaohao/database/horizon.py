"""Up to which row a reader who follows a table may read without ever missing one.

Rows get their `seq` when they are written, and are seen when their transaction commits. SQLite has one writer
at a time, so the order is the same. On PostgreSQL a transaction with smaller numbers may commit after one
with greater numbers: who had read the greater ones already would never go back. So whoever writes such rows
first announces, for as long as the transaction lasts, the number after which its rows will come; a reader
stops before the least number announced. The announcement is a shared advisory lock: it holds up nobody, and
vanishes with the transaction however that ends.
"""

from typing import Final

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import cdrs, events

#: the first 16 bits of the lock's 64: the table; the other 48 are the number
_CLASSES: Final = {events.name: 0x5845, cdrs.name: 0x5843}
#: greater than every `seq`
_NO_LIMIT: Final = (1 << 62) - 1

_LAST: Final = "(SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {table}_seq_seq)"
_ANNOUNCED: Final = """
SELECT min((((classid::bigint << 32) | objid::bigint) & ((1::bigint << 48) - 1)))
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = {marker}
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def announcement(*tables: Table) -> str:
    """What a transaction on PostgreSQL says before it writes its first row of these tables."""
    locks = (
        f"pg_advisory_xact_lock_shared(({_CLASSES[table.name]}::bigint << 48)"
        f" | {_LAST.format(table=table.name)})"
        for table in tables
    )
    return f"SELECT {', '.join(locks)}"


async def announce(connection: AsyncConnection, table: Table) -> None:
    """The same over SQLAlchemy; nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(announcement(table)))


async def horizon(connection: AsyncConnection, table: Table) -> int:
    """The greatest `seq` up to which everything is there that will ever be.

    Each of the two questions, and then the reading of the rows, needs a sight of the database of its own, in
    this order: `connection` must be none of a REPEATABLE READ transaction.
    """
    if connection.dialect.name != "postgresql":
        return _NO_LIMIT
    last = (await connection.execute(text(f"SELECT {_LAST.format(table=table.name)}"))).scalar_one()
    announced = (
        await connection.execute(text(_ANNOUNCED.format(marker=_CLASSES[table.name])))
    ).scalar_one_or_none()
    return int(last if announced is None else min(last, announced))
