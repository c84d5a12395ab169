"""All SQL of the table `recordings` (its rows are inserted by the journal of calls, pending)."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import DAY
from xiaohao.database.schema import calls, cdrs, numbers, recording_rules, recordings
from xiaohao.recordings.model import (
    FOR_EVER,
    AudioFile,
    Backlog,
    Failure,
    PendingRecording,
    Recording,
    RecordingState,
    Sound,
    Stored,
    Voice,
)
from xiaohao.secrecy import Vault

_table = recordings.c
#: spelled out, because the planner only uses the partial index where it can read the condition
_IS_PENDING: Final = _table.state == literal_column("'pending'")
_IS_FAILED: Final = _table.state == literal_column("'failed'")


async def due(connection: AsyncConnection, edge_id: str, now: int, limit: int) -> list[PendingRecording]:
    """Rows of an edge that wait to be converted, those that were due first in front."""
    query = (
        select(
            _table.call_id,
            _table.customer_id,
            _table.received_at,
            _table.ended_at,
            _table.tries,
            _table.due_at,
            _table.announcements,
            _table.failure,
        )
        .where(_table.edge_id == edge_id, _IS_PENDING, _table.due_at <= now)
        .order_by(_table.due_at)
        .limit(limit)
    )
    return [PendingRecording(*row) for row in await connection.execute(query)]


async def unchanged(connection: AsyncConnection, rows: Sequence[PendingRecording]) -> list[PendingRecording]:
    """Those of the rows that still wait as they did when they were read."""
    query = select(_table.call_id, _table.due_at).where(
        _table.call_id.in_([row.call_id for row in rows]), _IS_PENDING
    )
    found = {tuple(row) for row in await connection.execute(query)}
    return [row for row in rows if (row.call_id, row.due_at) in found]


async def put_off(connection: AsyncConnection, row: PendingRecording, error: str, due_at: int) -> bool:
    """A try failed; the next one is at `due_at`. False where the row has changed since."""
    return await _settle(connection, row, tries=row.tries + 1, error=error, due_at=due_at)


async def put_failed(
    connection: AsyncConnection, row: PendingRecording, error: str, failure: Failure
) -> bool:
    """Nothing more is tried. False where the row has changed since."""
    return await _settle(
        connection,
        row,
        state=RecordingState.FAILED.value,
        tries=row.tries + 1,
        error=error,
        failure=failure.value,
        **await _keeping(connection, row),
    )


async def put_ready(
    connection: AsyncConnection,
    vault: Vault,
    row: PendingRecording,
    audio: AudioFile,
    key: bytes,
    path: str,
    now: int,
) -> bool:
    """The recording is in the store. False where the row has changed since: then it stays as it is."""
    return await _settle(
        connection,
        row,
        state=RecordingState.READY.value,
        error=None,
        failure=None,
        path=path,
        format=audio.format,
        bytes=audio.bytes,
        sha256=audio.sha256,
        duration_ms=audio.duration_ms,
        rate=audio.rate,
        cut_off=audio.cut_off,
        codecs_a=",".join(audio.caller.codecs),
        codecs_b=",".join(audio.callee.codecs),
        voice_ms_a=audio.caller.voice.ms,
        voice_ms_b=audio.callee.voice.ms,
        level_a=audio.caller.voice.level,
        level_b=audio.callee.voice.level,
        picture_bytes=audio.picture_bytes,
        stored_bytes=audio.stored.bytes,
        stored_sha256=audio.stored.sha256,
        audio_key_sealed=vault.seal(b64encode(key).decode()),
        ready_at=now,
        **await _keeping(connection, row),
    )


async def was_answered(connection: AsyncConnection, call_id: str) -> bool:
    """Whether somebody talked in this call."""
    query = select(cdrs.c.call_id).where(cdrs.c.call_id == call_id, cdrs.c.answered_at.is_not(None))
    return (await connection.execute(query)).first() is not None


async def pull_in(connection: AsyncConnection, latest: int, now: int) -> int:
    """Let be due now what is due after `latest`, which only a clock that was set back explains; how many."""
    query = update(recordings).where(_IS_PENDING, _table.due_at > latest).values(due_at=now)
    return (await connection.execute(query)).rowcount


async def _keeping(connection: AsyncConnection, row: PendingRecording) -> dict[str, Any]:
    """The pool of the number dialled, and when a rule has the recording deleted."""
    query = (
        select(numbers.c.pool_id)
        .join(cdrs, cdrs.c.dialled == numbers.c.number)
        .where(cdrs.c.call_id == row.call_id)
    )
    pool_id = (await connection.execute(query)).scalar_one_or_none()
    rules = await rules_of(connection, [one for one in (row.customer_id, pool_id) if one])
    days = rules.get(pool_id or "", rules.get(row.customer_id or ""))
    return {"pool_id": pool_id, "delete_at": delete_at(row.ended_at, days)}


async def rules_of(connection: AsyncConnection, scope_ids: Sequence[str]) -> dict[str, int]:
    """The rules of customers and pools that have one: days, 0 for ever."""
    rules = recording_rules.c
    query = select(rules.scope_id, rules.keep_days).where(
        rules.scope_id.in_(scope_ids), rules.keep_days.is_not(None)
    )
    return {row.scope_id: row.keep_days for row in await connection.execute(query)}


def delete_at(ended_at: int, days: int | None) -> int | None:
    """When a rule of so many days has a recording deleted; None: there is no rule."""
    if days is None:
        return None
    return ended_at + days * DAY if days else FOR_EVER


async def retry(connection: AsyncConnection, call_id: str, now: int) -> bool:
    """Try a failed recording anew. False where there is none of which something was captured."""
    failed = (_table.call_id == call_id, _IS_FAILED, _table.failure.is_distinct_from(Failure.DISK_FULL.value))
    values = {"state": RecordingState.PENDING.value, "tries": 0, "due_at": now}
    return (await connection.execute(update(recordings).where(*failed).values(**values))).rowcount == 1


async def finished_of(connection: AsyncConnection, call_ids: Sequence[str]) -> set[str]:
    """Which of these calls have a recording that is finished, or deleted: their captures can go."""
    states = (RecordingState.READY.value, RecordingState.DELETED.value)
    query = select(_table.call_id).where(_table.call_id.in_(call_ids), _table.state.in_(states))
    return set((await connection.execute(query)).scalars())


async def known_among(connection: AsyncConnection, call_ids: Sequence[str]) -> set[str]:
    """Those of these calls that have a recording, of whatever state, or go on."""
    known: set[str] = set()
    for column in (_table.call_id, calls.c.id):
        known.update((await connection.execute(select(column).where(column.in_(call_ids)))).scalars())
    return known


async def find(
    connection: AsyncConnection, call_id: str, customer_id: str | None, *, lock: bool = False
) -> Recording | None:
    """One recording; of that customer only, unless `customer_id` is None."""
    query = select(recordings).where(_table.call_id == call_id)
    if customer_id is not None:
        query = query.where(_table.customer_id == customer_id)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else recording_of(row)


async def page(
    connection: AsyncConnection, before: str | None, limit: int, where: Sequence[ColumnElement[bool]]
) -> list[Recording]:
    """Recordings, the newest call first, those before a call's id: they begin with the time."""
    query = select(recordings).where(*where)
    if before is not None:
        query = query.where(_table.call_id < before)
    found = await connection.execute(query.order_by(_table.call_id.desc()).limit(limit))
    return [recording_of(row) for row in found.mappings()]


def filters(
    customer_id: str | None, state: RecordingState | None, since: int | None, until: int | None
) -> list[ColumnElement[bool]]:
    """Conditions for `page`; moments are those of the call's arrival (µs)."""
    chosen: list[ColumnElement[bool]] = []
    if customer_id is not None:
        chosen.append(_table.customer_id == customer_id)
    if state is RecordingState.FAILED:
        chosen.append(_IS_FAILED)
    elif state is not None:
        chosen.append(_table.state == state.value)
    if since is not None:
        chosen.append(_table.received_at >= since)
    if until is not None:
        chosen.append(_table.received_at < until)
    return chosen


async def backlog(connection: AsyncConnection, edge_id: str) -> Backlog:
    """What waits and what failed on an edge's machine."""
    waits = select(func.count(), func.min(_table.ended_at)).where(_table.edge_id == edge_id, _IS_PENDING)
    failed = select(func.count(), func.min(_table.ended_at)).where(_IS_FAILED, _table.edge_id == edge_id)
    waiting, oldest = (await connection.execute(waits)).one()
    return Backlog(waiting, oldest, *(await connection.execute(failed)).one())


async def _settle(connection: AsyncConnection, row: PendingRecording, **values: Any) -> bool:
    unchanged = (_table.call_id == row.call_id, _IS_PENDING, _table.due_at == row.due_at)
    return (await connection.execute(update(recordings).where(*unchanged).values(**values))).rowcount == 1


def recording_of(row: RowMapping) -> Recording:
    """The recording in a row."""
    made, there = row["format"] is not None, row["stored_bytes"] is not None
    plain = (
        "call_id",
        "customer_id",
        "received_at",
        "ended_at",
        "pool_id",
        "error",
        "path",
        "format",
    )
    more = ("sha256", "duration_ms", "rate", "cut_off", "picture_bytes", "ready_at", "delete_at", "held_at")
    return Recording(
        **{name: row[name] for name in (*plain, *more)},
        size=row["bytes"],
        state=RecordingState(row["state"]),
        failure=None if row["failure"] is None else Failure(row["failure"]),
        caller=_sound(row, "a") if made else None,
        callee=_sound(row, "b") if made else None,
        stored=Stored(row["stored_bytes"], row["stored_sha256"]) if there else None,
        key_sealed=row["audio_key_sealed"],
    )


def _sound(row: RowMapping, side: str) -> Sound:
    codecs = row[f"codecs_{side}"] or ""
    voice = Voice(row[f"voice_ms_{side}"] or 0, row[f"level_{side}"])
    return Sound(tuple(filter(None, codecs.split(","))), voice)
