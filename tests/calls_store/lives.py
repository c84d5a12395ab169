"""Lives of calls, as the switch tells them to the journal."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from sqlalchemy import MetaData, Table, select

from tests.ids import new_call_id
from xiaohao.calls.journal import CallBegan, CallEnded, CallMoved, Change
from xiaohao.calls.model import Call, Party, Reason, State, Try
from xiaohao.database.engine import Database
from xiaohao.database.schema import calls, cdrs, events, metadata, recordings

NOON = 1_795_492_800_123_456
CALLER, CALLEE = "+8613866660001", "+8613866660002"


def received(customer_id: str | None = "cus_1", **facts: Any) -> Call:
    """A call whose INVITE has just arrived."""
    return Call(
        id=facts.pop("id", None) or new_call_id(),
        edge_id="edge1",
        received_at=facts.pop("received_at", NOON),
        dialled="+861062000001",
        caller=CALLER,
        callee=CALLEE,
        displayed="+8613900000001",
        customer_id=customer_id,
        binding_id="bnd_1",
        order_ref="order 17",
        user_data="{}",
        trunk_in="trk_in",
        record=True,
        **facts,
    )


def life(customer_id: str | None = "cus_1", record: bool = True, **facts: Any) -> list[Change]:
    """Began, rang after 2 s, answered after 5, hung up by the callee after 65."""
    call = received(customer_id, **facts)
    at, later = call.received_at, msgspec.structs.replace
    tried = later(call, trunk_out="trk_out", tries=[Try("trk_out", at)])
    ringing = later(tried, state=State.RINGING, ringing_at=at + 2_000_000)
    answered = later(ringing, state=State.ANSWERED, answered_at=at + 5_000_000)
    ended = later(
        answered,
        state=State.ENDED,
        ended_at=at + 65_000_000,
        ended_by=Party.CALLEE,
        reason=Reason.CALLEE_HUNG_UP,
        q850_cause=16,
    )
    return [CallBegan(call), CallMoved(ringing), CallMoved(answered), CallEnded(ended, record)]


async def rows(database: Database, table: Table, call_id: str) -> list[dict[str, Any]]:
    """The rows of a call in one table, in the order of writing."""
    column = table.c.id if table is calls else table.c.call_id
    query = select(table).where(column == call_id)
    if "seq" in table.c:
        query = query.order_by(table.c.seq)
    async with database.read() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@dataclass
class Rows:
    """All that the database knows of a call."""

    calls: list[dict[str, Any]]
    cdrs: list[dict[str, Any]]
    events: list[dict[str, Any]]
    recordings: list[dict[str, Any]]

    @classmethod
    async def of(cls, database: Database, call_id: str) -> "Rows":
        return cls(*[await rows(database, table, call_id) for table in (calls, cdrs, events, recordings)])

    @property
    def kinds(self) -> list[str]:
        return [row["kind"] for row in self.events]


async def every_value(database: Database) -> list[bytes]:
    """Every value of every table, as bytes: what an intruder could read."""
    found = []
    tables: MetaData = metadata
    for table in tables.sorted_tables:
        async with database.read() as connection:
            for row in await connection.execute(select(table)):
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return found


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Nobody but us can write."""
    if database.is_sqlite:
        holder = sqlite3.connect(database.url.database or "", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")
        holder.close()
    else:
        with psycopg.connect(database.url.render_as_string(hide_password=False)) as server:
            server.execute("LOCK TABLE events, cdrs, calls IN ACCESS EXCLUSIVE MODE")
            yield
