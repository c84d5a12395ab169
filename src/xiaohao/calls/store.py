"""All SQL of calls in progress, of CDRs and of the commands for live calls."""

from typing import Any, Final

import msgspec
from sqlalchemy import Dialect, RowMapping, case, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls.model import Call
from xiaohao.database.direct import Cursor, ForKeys, Insert, Row
from xiaohao.database.horizon import announcement
from xiaohao.database.schema import call_commands, calls, cdrs, events, recordings
from xiaohao.secrecy import Vault

_CALL_COLUMNS: Final = (
    "id",
    "customer_id",
    "edge_id",
    "state",
    "binding_id",
    "dialled",
    "displayed",
    "received_at",
    "answered_at",
    "facts_sealed",
)
_CDR_COLUMNS: Final = tuple(column.name for column in cdrs.columns if column.name != "seq")
_RECORDING_COLUMNS: Final = (
    *("call_id", "customer_id", "edge_id", "state", "received_at", "ended_at", "announcements"),
    *("tries", "due_at", "failure"),
)

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(Call).decode


class JournalStatements:
    """What the journal writes, compiled for one of the two databases."""

    def __init__(self, dialect: Dialect) -> None:
        self.ended_calls = ForKeys(dialect, lambda ids: select(cdrs.c.call_id).where(cdrs.c.call_id.in_(ids)))
        self.put_calls = Insert(dialect, calls, _CALL_COLUMNS, _keep_the_furthest)
        self.put_cdrs = Insert(
            dialect, cdrs, _CDR_COLUMNS, lambda into: into.on_conflict_do_nothing(index_elements=["call_id"])
        )
        self.put_recordings = Insert(
            dialect,
            recordings,
            _RECORDING_COLUMNS,
            lambda into: into.on_conflict_do_nothing(index_elements=["call_id"]),
        )
        self._announcement = announcement(events, cdrs) if dialect.name == "postgresql" else None
        self.delete_calls = ForKeys(dialect, lambda ids: delete(calls).where(calls.c.id.in_(ids)))

    def announce(self, cursor: Cursor) -> None:
        """Say, before the first event or CDR is written, that some are coming: see database.horizon."""
        if self._announcement is not None:
            cursor.execute(self._announcement)


def _keep_the_furthest(into: Any) -> Any:
    new = into.excluded
    changed = {name: getattr(new, name) for name in _CALL_COLUMNS if name not in ("id", "received_at")}
    return into.on_conflict_do_update(index_elements=["id"], set_=changed, where=_rank(calls.c) <= _rank(new))


def _rank(columns: Any) -> Any:
    return case((columns.state == "received", 0), (columns.state == "ringing", 1), else_=2)


def call_row(call: Call, vault: Vault) -> Row:
    """The row of a call in progress."""
    return (
        call.id,
        call.customer_id,
        call.edge_id,
        call.state.value,
        call.binding_id,
        call.dialled,
        call.displayed,
        call.received_at,
        call.answered_at,
        vault.seal(_encode(call).decode()),
    )


def cdr_row(call: Call, recorded: bool, vault: Vault) -> Row:
    """The row of a call that has ended."""
    caller, callee = call.caller, call.callee
    return (
        call.id,
        call.customer_id,
        call.binding_id,
        None if caller is None else vault.index(caller),
        None if caller is None else vault.seal(caller),
        None if callee is None else vault.index(callee),
        None if callee is None else vault.seal(callee),
        call.dialled,
        call.displayed,
        call.trunk_in,
        call.trunk_out,
        call.received_at,
        call.ringing_at,
        call.answered_at,
        call.ended_at,
        None if call.ended_by is None else call.ended_by.value,
        None if call.reason is None else call.reason.value,
        call.sip_code,
        call.q850_cause,
        call.order_ref,
        call.user_data,
        _encode(call.tries).decode(),
        recorded,
        call.in_grace,
        call.acd_ms,
        None if call.routing is None else _encode(call.routing).decode(),
    )


def recording_row(call: Call, now: int) -> Row:
    """The row that asks the worker for the recording of a call that has ended at `now`.

    Of a call that could not be recorded it says so, and the worker tells the customer.
    """
    told = msgspec.json.encode(call.announcements).decode() if call.announcements else None
    failure = "disk_full" if call.unrecorded else None
    place = (call.id, call.customer_id, call.edge_id, "pending")
    return (*place, call.received_at, call.ended_at, told, 0, now, failure)


async def live_calls(connection: AsyncConnection, vault: Vault, customer_id: str | None = None) -> list[Call]:
    """Calls in progress, oldest first; of every customer when `customer_id` is None."""
    query = select(calls.c.facts_sealed).order_by(calls.c.id)
    if customer_id is not None:
        query = query.where(calls.c.customer_id == customer_id)
    rows = (await connection.execute(query)).scalars()
    return [_decode_call(vault.open(sealed)) for sealed in rows]


async def live_ids(connection: AsyncConnection) -> list[str]:
    """The ids of the calls in progress."""
    return list((await connection.execute(select(calls.c.id))).scalars())


async def live_call(connection: AsyncConnection, vault: Vault, call_id: str) -> Call | None:
    """One call in progress."""
    query = select(calls.c.facts_sealed).where(calls.c.id == call_id)
    sealed = (await connection.execute(query)).scalar_one_or_none()
    return None if sealed is None else _decode_call(vault.open(sealed))


async def take_commands(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Remove every waiting command and give back (call id, command), oldest first."""
    query = delete(call_commands).returning(
        call_commands.c.seq, call_commands.c.call_id, call_commands.c.command
    )
    rows = (await connection.execute(query)).all()
    return [(row.call_id, row.command) for row in sorted(rows, key=lambda row: row.seq)]


async def put_command(connection: AsyncConnection, call_id: str, command: str, now: int) -> None:
    """Ask the switch to do something with a live call."""
    await connection.execute(insert(call_commands).values(call_id=call_id, command=command, created_at=now))


async def page_live_calls(
    connection: AsyncConnection,
    vault: Vault,
    after: str,
    limit: int,
    *,
    customer_id: str | None,
    state: str | None,
    binding_id: str | None,
) -> list[Call]:
    """Calls in progress in the order of their ids, which is that of their beginnings, those after `after`.

    Each filter that is not None must hold.
    """
    wanted = {"customer_id": customer_id, "state": state, "binding_id": binding_id}
    where = [calls.c[name] == value for name, value in wanted.items() if value is not None]
    query = select(calls.c.facts_sealed).where(calls.c.id > after, *where).order_by(calls.c.id).limit(limit)
    return [_decode_call(vault.open(sealed)) for sealed in (await connection.execute(query)).scalars()]


async def find_cdr(connection: AsyncConnection, call_id: str, customer_id: str | None) -> RowMapping | None:
    """The CDR of a call; of that customer only, unless `customer_id` is None."""
    query = select(cdrs).where(cdrs.c.call_id == call_id)
    if customer_id is not None:
        query = query.where(cdrs.c.customer_id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()
