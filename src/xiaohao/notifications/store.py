"""All SQL of the table `events`: stored with the fact they tell, found and marked for delivery."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls.model import Call
from xiaohao.database.direct import Insert, Row
from xiaohao.database.schema import events
from xiaohao.notifications.model import SEQUENCE, EventState, Kind, event_id
from xiaohao.notifications.wire import event_document
from xiaohao.secrecy import Vault

_COLUMNS: Final = (
    "id",
    "customer_id",
    "call_id",
    "sequence",
    "kind",
    "occurred_at",
    "body_sealed",
    "state",
    "due_at",
    "tries",
    "created_at",
)
#: What an event is: one call tells each kind once.
_KEY: Final = ("call_id", "sequence")


def event_row(
    vault: Vault,
    kind: Kind,
    call: Call,
    occurred_at: int,
    now: int,
    *,
    extra: dict[str, dict[str, Any]] | None = None,
) -> Row:
    """The row of an event of a call that belongs to a customer; `now` is when it is stored and due."""
    name = event_id(call.id, kind)
    body = event_document(kind, name, occurred_at, call, extra)
    return (
        name,
        call.customer_id,
        call.id,
        SEQUENCE[kind],
        kind.value,
        occurred_at,
        vault.seal(body.decode()),
        EventState.DUE.value,
        now,
        0,
        now,
    )


def event_insert(dialect: Dialect) -> Insert:
    """Stores `event_row`s over a plain connection; an event that is there already stays as it is."""
    return Insert(dialect, events, _COLUMNS, lambda into: into.on_conflict_do_nothing(index_elements=_KEY))


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Store `event_row`s in the transaction of `connection`; one that is there already stays as it is."""
    insert_into = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    await connection.execute(insert_into(events).on_conflict_do_nothing(index_elements=_KEY), values)
