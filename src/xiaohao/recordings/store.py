"""All SQL of the table `recordings` (its rows are inserted by the journal of calls, pending)."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import recordings
from xiaohao.recordings.model import (
    AudioFile,
    PendingRecording,
    Recording,
    RecordingState,
)

_table = recordings.c
#: spelled out, because the planner only uses the partial index where it can read the condition
_IS_PENDING: Final = _table.state == literal_column("'pending'")


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


async def put_failure(
    connection: AsyncConnection, row: PendingRecording, error: str, due_at: int | None
) -> bool:
    """A try failed; `due_at` is when to try again, None gives up. False where the row has changed since."""
    values: dict[str, Any] = {"tries": row.tries + 1, "error": error}
    if due_at is None:
        values["state"] = RecordingState.FAILED.value
    else:
        values["due_at"] = due_at
    return await _settle(connection, row, **values)


async def put_ready(
    connection: AsyncConnection, row: PendingRecording, audio: AudioFile, path: str, now: int
) -> bool:
    """The recording is in the store. False where the row has changed since: then it stays as it is."""
    return await _settle(
        connection,
        row,
        state=RecordingState.READY.value,
        error=None,
        path=path,
        format=audio.format,
        bytes=audio.bytes,
        sha256=audio.sha256,
        duration_ms=audio.duration_ms,
        ready_at=now,
    )


async def pull_in(connection: AsyncConnection, latest: int, now: int) -> int:
    """Let be due now what is due after `latest`, which only a clock that was set back explains; how many."""
    query = update(recordings).where(_IS_PENDING, _table.due_at > latest).values(due_at=now)
    return (await connection.execute(query)).rowcount


async def retry(connection: AsyncConnection, call_id: str, now: int) -> bool:
    """Try a failed recording anew. False where there is none."""
    failed = (_table.call_id == call_id, _table.state == RecordingState.FAILED.value)
    values = {"state": RecordingState.PENDING.value, "tries": 0, "due_at": now}
    return (await connection.execute(update(recordings).where(*failed).values(**values))).rowcount == 1


async def ready_of(connection: AsyncConnection, call_ids: Sequence[str]) -> set[str]:
    """Which of these calls have a finished recording."""
    query = select(_table.call_id).where(
        _table.call_id.in_(call_ids), _table.state == RecordingState.READY.value
    )
    return set((await connection.execute(query)).scalars())


async def find(connection: AsyncConnection, call_id: str, customer_id: str | None) -> Recording | None:
    """One recording; of that customer only, unless `customer_id` is None."""
    query = select(recordings).where(_table.call_id == call_id)
    if customer_id is not None:
        query = query.where(_table.customer_id == customer_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _recording(row)


async def _settle(connection: AsyncConnection, row: PendingRecording, **values: Any) -> bool:
    unchanged = (_table.call_id == row.call_id, _IS_PENDING, _table.due_at == row.due_at)
    return (await connection.execute(update(recordings).where(*unchanged).values(**values))).rowcount == 1


def _recording(row: RowMapping) -> Recording:
    return Recording(
        call_id=row["call_id"],
        customer_id=row["customer_id"],
        state=RecordingState(row["state"]),
        received_at=row["received_at"],
        ended_at=row["ended_at"],
        error=row["error"],
        path=row["path"],
        format=row["format"],
        bytes=row["bytes"],
        sha256=row["sha256"],
        duration_ms=row["duration_ms"],
        ready_at=row["ready_at"],
    )
