"""All SQL of digests."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, case, collate, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.direct import insert_into
from xiaohao.database.horizon import horizon
from xiaohao.database.schema import cdrs, digests, marks
from xiaohao.digests.model import HOUR

#: up to which CDR hours have been marked as changed
_MARK: Final = "digests"
#: few digests have more, and each further piece reads the hour again
_ROWS_AT_ONCE: Final = 20_000


async def mark(connection: AsyncConnection) -> int:
    """The seq of the last CDR that was looked at."""
    query = select(marks.c.value).where(marks.c.name == _MARK)
    return (await connection.execute(query)).scalar_one_or_none() or 0


async def move_mark(connection: AsyncConnection, old: int, new: int) -> bool:
    """Move the mark on; False where another worker has."""
    first = insert_into(connection.dialect, marks).values(name=_MARK, value=0)
    await connection.execute(first.on_conflict_do_nothing(index_elements=["name"]))
    moved = update(marks).where(marks.c.name == _MARK, marks.c.value == old).values(value=new)
    return (await connection.execute(moved)).rowcount == 1


async def new_cdrs(connection: AsyncConnection, after: int, limit: int) -> list[RowMapping]:
    """CDRs written after the one with seq `after`, none of which will be joined by an earlier one."""
    until = await horizon(connection, cdrs)
    query = select(cdrs.c.seq, cdrs.c.customer_id, cdrs.c.ended_at)
    query = query.where(cdrs.c.seq > after, cdrs.c.seq <= until).order_by(cdrs.c.seq).limit(limit)
    return list((await connection.execute(query)).mappings())


async def touch(connection: AsyncConnection, changed: dict[str, Any]) -> None:
    """A customer's hour has new CDRs, between `first_seq` and `last_seq`: its digest is due at `due_at`."""
    into = insert_into(connection.dialect, digests).values(**changed, revision=0)
    new, old = into.excluded, digests.c
    values = {
        "first_seq": case((new.first_seq < old.first_seq, new.first_seq), else_=old.first_seq),
        "last_seq": case((new.last_seq > old.last_seq, new.last_seq), else_=old.last_seq),
        "due_at": new.due_at,
    }
    await connection.execute(into.on_conflict_do_update(index_elements=["customer_id", "hour"], set_=values))


async def due(connection: AsyncConnection, now: int, limit: int) -> list[RowMapping]:
    """Digests to be made."""
    query = select(digests).where(digests.c.due_at <= now).order_by(digests.c.due_at).limit(limit)
    return list((await connection.execute(query)).mappings())


async def cdrs_of(connection: AsyncConnection, digest: RowMapping) -> AsyncIterator[Any]:
    """The CDRs of a digest in the order of their call ids: call_id, answered_at, ended_at."""
    name: ColumnElement[str] = cdrs.c.call_id
    if connection.dialect.name == "postgresql":
        name = collate(name, "C")  # byte by byte, as SQLite does, whatever the database's language is
    last = ""
    while True:
        query = select(cdrs.c.call_id, cdrs.c.answered_at, cdrs.c.ended_at).where(
            cdrs.c.customer_id == digest["customer_id"],
            cdrs.c.seq.between(digest["first_seq"], digest["last_seq"]),
            cdrs.c.ended_at >= digest["hour"],
            cdrs.c.ended_at < digest["hour"] + HOUR,
            name > last,
        )
        rows = (await connection.execute(query.order_by(name).limit(_ROWS_AT_ONCE))).all()
        for row in rows:
            yield row
        if len(rows) < _ROWS_AT_ONCE:
            return
        last = rows[-1].call_id


async def finish(connection: AsyncConnection, seen: RowMapping, values: dict[str, Any]) -> bool:
    """Write a digest down; False where its hour has changed since it was read."""
    unchanged = (digests.c[name] == seen[name] for name in ("customer_id", "hour", "due_at", "last_seq"))
    query = update(digests).where(*unchanged, digests.c.revision == seen["revision"])
    return (await connection.execute(query.values(**values, due_at=None))).rowcount == 1


async def page(
    connection: AsyncConnection,
    after: tuple[int, str],
    limit: int,
    *,
    customer_id: str | None,
    since: int | None,
    until: int | None,
) -> list[RowMapping]:
    """Digests made, by hour and customer, those behind the (hour, customer) `after`."""
    query = select(digests).where(
        digests.c.revision > 0, tuple_(digests.c.hour, digests.c.customer_id) > tuple_(*after)
    )
    if customer_id is not None:
        query = query.where(digests.c.customer_id == customer_id)
    if since is not None:
        query = query.where(digests.c.hour >= since)
    if until is not None:
        query = query.where(digests.c.hour < until)
    query = query.order_by(digests.c.hour, digests.c.customer_id).limit(limit)
    return list((await connection.execute(query)).mappings())
