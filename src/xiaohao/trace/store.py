"""All SQL of paths and SIP messages."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Dialect, RowMapping, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls.model import Call
from xiaohao.database.direct import Insert, Row
from xiaohao.database.schema import events
from xiaohao.database.trace_tables import call_paths, event_failures, sip_messages
from xiaohao.notifications.model import Outcome
from xiaohao.secrecy import Vault
from xiaohao.trace.model import Path
from xiaohao.trace.packing import pack_path

#: rows that one statement takes away, so that nobody waits for it long
_AT_ONCE: Final = 2000
#: of so many tries of an event it is kept how they failed
_TRIES: Final = 12


def path_insert(dialect: Dialect) -> Insert:
    """What writes paths; one that is there already stays."""
    return Insert(
        dialect,
        call_paths,
        ("call_id", "facts_sealed"),
        lambda into: into.on_conflict_do_nothing(index_elements=["call_id"]),
    )


def path_row(call: Call, media: bytes, vault: Vault) -> Row:
    """The row of a call that has ended; `media` is rtpengine's last word about it."""
    announcements = list(getattr(call, "announcements", ()))
    return (call.id, pack_path(Path(call.path, call.tries, media, announcements), vault))


def messages_insert(dialect: Dialect) -> Insert:
    """What writes SIP messages; those of a moment that are there already stay."""
    return Insert(
        dialect,
        sip_messages,
        ("call_id", "at", "count", "cut", "messages_sealed"),
        lambda into: into.on_conflict_do_nothing(index_elements=["call_id", "at"]),
    )


def failed_tries_insert(dialect: Dialect) -> Insert:
    """What writes when tries to deliver events failed, and why."""
    names = ("event_seq", "at", "error")
    return Insert(dialect, event_failures, names, lambda into: into.on_conflict_do_nothing())


def failed_tries(outcomes: Iterable[Outcome]) -> list[Row]:
    """The rows of tries that failed: of each event's first ones, after which the pauses grow no more."""
    return [(o.event.seq, o.at, o.error) for o in outcomes if o.error and o.event.tries < _TRIES]


async def find_path(connection: AsyncConnection, call_id: str) -> bytes | None:
    """The sealed path of a call."""
    query = select(call_paths.c.facts_sealed).where(call_paths.c.call_id == call_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def messages_of(connection: AsyncConnection, call_ids: Sequence[str]) -> list[RowMapping]:
    """The rows of SIP messages of these calls, in order."""
    query = select(sip_messages).where(sip_messages.c.call_id.in_(call_ids))
    query = query.order_by(sip_messages.c.call_id, sip_messages.c.at)
    return list((await connection.execute(query)).mappings())


async def count_messages(connection: AsyncConnection, call_id: str) -> tuple[int, int]:
    """How many SIP messages of a call are kept, and how many more there were."""
    query = select(
        func.coalesce(func.sum(sip_messages.c.count), 0), func.coalesce(func.sum(sip_messages.c.cut), 0)
    ).where(sip_messages.c.call_id == call_id)
    count, cut = (await connection.execute(query)).one()
    return int(count), int(cut)


async def events_of(connection: AsyncConnection, call_id: str) -> list[RowMapping]:
    """The events that tell of a call, without what they say."""
    columns = ("seq", "id", "kind", "state", "created_at", "due_at", "tries", "last_error", "delivered_at")
    query = select(*(events.c[name] for name in columns)).where(events.c.call_id == call_id)
    return list((await connection.execute(query.order_by(events.c.sequence))).mappings())


async def failures_of(connection: AsyncConnection, event_seqs: Sequence[int]) -> list[RowMapping]:
    """The tries to deliver these events that failed, the oldest first."""
    query = select(event_failures).where(event_failures.c.event_seq.in_(event_seqs))
    return list((await connection.execute(query.order_by(event_failures.c.at))).mappings())


async def forget(connection: AsyncConnection, before: str) -> int:
    """Take away some of what belongs to calls whose ids come before this one; gives the number of rows.

    0 says that nothing is left.
    """
    taken = 0
    for table in (call_paths, sip_messages):
        oldest = select(table.c.call_id).where(table.c.call_id < before).order_by(table.c.call_id)
        last = select(func.max(oldest.limit(_AT_ONCE).subquery().c.call_id)).scalar_subquery()
        done = await connection.execute(delete(table).where(table.c.call_id <= last))
        taken += done.rowcount
    return taken


async def forget_failures(connection: AsyncConnection) -> None:
    """Take the failed tries of events away that are no longer there."""
    oldest = select(func.min(events.c.seq)).scalar_subquery()
    await connection.execute(delete(event_failures).where(event_failures.c.event_seq < oldest))
