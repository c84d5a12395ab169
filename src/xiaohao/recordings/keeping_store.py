"""All SQL of what ends recordings: holds, deletions with their proof, rules for how long they are kept."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, delete, func, insert, literal_column, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.direct import insert_into
from xiaohao.database.schema import (
    customers,
    pools,
    recording_deletions,
    recording_rules,
    recordings,
)
from xiaohao.recordings.model import RecordingState

_table = recordings.c
_IS_DELETING: Final = _table.state == literal_column("'deleting'")
# spelled out as the partial indexes are
_BY_RULE: Final = text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NOT NULL")
_BY_DEFAULT: Final = text("state IN ('ready', 'failed') AND held_at IS NULL AND delete_at IS NULL")
_OF_DELETION: Final = ("call_id", "customer_id", "path", "bytes", "sha256", "stored_bytes", "stored_sha256")


async def hold(
    connection: AsyncConnection, call_id: str, at: int | None, reason_sealed: bytes | None
) -> None:
    """Put a recording under a legal hold, or (None) take it off."""
    values = {"held_at": at, "hold_reason_sealed": reason_sealed}
    await connection.execute(update(recordings).where(_table.call_id == call_id).values(**values))


async def expired(
    connection: AsyncConnection, now: int, ended_before: int | None, limit: int
) -> list[RowMapping]:
    """Recordings whose time is over, by a rule, or where `ended_before` says so; nobody else takes them."""
    columns = [_table[name] for name in _OF_DELETION]
    wanted: list[tuple[Any, Any, Any]] = [(_BY_RULE, _table.delete_at <= now, _table.delete_at)]
    if ended_before is not None:
        wanted.append((_BY_DEFAULT, _table.ended_at <= ended_before, _table.ended_at))
    found: list[RowMapping] = []
    for condition, over, order in wanted:
        query = select(*columns).where(condition, over).order_by(order).limit(limit - len(found))
        query = query.with_for_update(skip_locked=True)
        found += (await connection.execute(query)).mappings()
    return found


async def row_of(connection: AsyncConnection, call_id: str) -> RowMapping:
    """What the proof of a deletion says of the recording."""
    query = select(*(_table[name] for name in _OF_DELETION)).where(_table.call_id == call_id)
    return (await connection.execute(query)).mappings().one()


async def begin_deletion(
    connection: AsyncConnection, rows: Sequence[RowMapping], values: dict[str, Any]
) -> None:
    """Write the proof down and destroy the keys: from here on nobody can read these recordings."""
    await connection.execute(insert(recording_deletions), [{**row, **values} for row in rows])
    nothing = {"state": RecordingState.DELETING.value, "audio_key_sealed": None}
    call_ids = [row["call_id"] for row in rows]
    await connection.execute(update(recordings).where(_table.call_id.in_(call_ids)).values(**nothing))


async def deleting(connection: AsyncConnection, edge_id: str, limit: int) -> list[tuple[str, str | None]]:
    """Call and path of recordings, made on this machine, whose remains are to be removed."""
    query = select(_table.call_id, _table.path).where(_IS_DELETING, _table.edge_id == edge_id).limit(limit)
    return [(call_id, path) for call_id, path in await connection.execute(query)]


async def put_gone(connection: AsyncConnection, call_ids: Sequence[str], now: int) -> None:
    """Nothing is left of these."""
    proofs = recording_deletions.c
    await connection.execute(
        update(recording_deletions).where(proofs.call_id.in_(call_ids)).values(gone_at=now)
    )
    gone = {"state": RecordingState.DELETED.value, "path": None}
    where = (_table.call_id.in_(call_ids), _IS_DELETING)
    await connection.execute(update(recordings).where(*where).values(**gone))


async def deletion(connection: AsyncConnection, call_id: str, customer_id: str | None) -> RowMapping | None:
    """The proof of a deletion; of that customer only, unless `customer_id` is None."""
    proofs = recording_deletions.c
    query = select(recording_deletions).where(proofs.call_id == call_id)
    if customer_id is not None:
        query = query.where(proofs.customer_id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()


# Rules


async def is_scope(connection: AsyncConnection, scope_id: str) -> bool:
    """Whether there is a customer or a pool of this id."""
    for table in (customers, pools):
        if (await connection.execute(select(table.c.id).where(table.c.id == scope_id))).first():
            return True
    return False


async def put_rule(connection: AsyncConnection, scope_id: str, keep_days: int | None, now: int) -> None:
    """Set a rule, or (None) take it back; what is there already follows bit by bit."""
    values = {"keep_days": keep_days, "changed_at": now, "applied_to": ""}
    statement = insert_into(connection.dialect, recording_rules).values(scope_id=scope_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["scope_id"], set_=values))


async def rules(connection: AsyncConnection, after: str, limit: int) -> list[RowMapping]:
    """The rules in force."""
    table = recording_rules.c
    query = select(recording_rules).where(table.keep_days.is_not(None), table.scope_id > after)
    return list((await connection.execute(query.order_by(table.scope_id).limit(limit))).mappings())


async def changed_rule(connection: AsyncConnection) -> RowMapping | None:
    """A rule that has not reached every recording yet."""
    query = select(recording_rules).where(recording_rules.c.applied_to.is_not(None)).limit(1)
    return (await connection.execute(query.with_for_update(skip_locked=True))).mappings().one_or_none()


async def kept_by(connection: AsyncConnection, scope_id: str, after: str, limit: int) -> list[RowMapping]:
    """Recordings of a customer or pool, in the order of their calls, after one of them."""
    columns = (_table.call_id, _table.customer_id, _table.pool_id, _table.ended_at)
    is_in = or_(_table.customer_id == scope_id, _table.pool_id == scope_id)
    query = select(*columns).where(is_in, _table.call_id > after).order_by(_table.call_id).limit(limit)
    return list((await connection.execute(query)).mappings())


async def put_delete_at(connection: AsyncConnection, moments: dict[int | None, list[str]]) -> None:
    """When recordings are deleted, by that moment."""
    for moment, call_ids in moments.items():
        where = _table.call_id.in_(call_ids)
        await connection.execute(update(recordings).where(where).values(delete_at=moment))


async def applied(connection: AsyncConnection, rule: RowMapping, to: str | None) -> None:
    """The rule has reached this call, or (None) all; one that was taken back is gone then."""
    table = recording_rules.c
    mine = (table.scope_id == rule["scope_id"], table.changed_at == rule["changed_at"])
    if to is None and rule["keep_days"] is None:
        await connection.execute(delete(recording_rules).where(*mine))
    else:
        await connection.execute(update(recording_rules).where(*mine).values(applied_to=to))


async def count_deleting(connection: AsyncConnection, edge_id: str) -> int:
    """Recordings whose remains are still to be removed."""
    query = select(func.count()).where(_IS_DELETING, _table.edge_id == edge_id)
    return int((await connection.execute(query)).scalar_one())
