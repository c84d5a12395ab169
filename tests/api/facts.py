"""Calls as the switch would write them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.ids import new_call_id

from xiaohao.calls.journal import CallBegan, CallEnded, CallJournal, CallMoved
from xiaohao.calls.model import Call, Party, Reason, State, Try
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

CALLER, CALLEE = "+8613800138000", "+8613900139000"
DIALLED, DISPLAYED = "+861062000100", "+8617000000001"


@asynccontextmanager
async def journal_of(database: Database, vault: Vault) -> AsyncIterator[CallJournal]:
    journal = CallJournal(database, vault)
    try:
        yield journal
    finally:
        journal.close()


def a_call(customer_id: str | None, **facts: Any) -> Call:
    known: dict[str, Any] = {
        "id": new_call_id(),
        "edge_id": "edge1",
        "received_at": now_us(),
        "dialled": DIALLED,
        "displayed": DISPLAYED,
        "caller": CALLER,
        "callee": CALLEE,
        "customer_id": customer_id,
        "binding_id": "bnd_1",
        "trunk_in": "trk_in",
        "trunk_out": "trk_out",
    }
    return Call(**{**known, **facts})


async def talking(journal: CallJournal, customer_id: str | None, **facts: Any) -> Call:
    call = a_call(customer_id, **facts)
    await journal.write([CallBegan(call)])
    call.state, call.answered_at = State.ANSWERED, call.received_at + 2 * SECOND
    await journal.write([CallMoved(call)])
    return call


async def ended(journal: CallJournal, customer_id: str | None, record: bool = False, **facts: Any) -> Call:
    call = a_call(customer_id, **facts)
    call.state, call.ended_by = State.ENDED, Party.CALLEE
    call.ringing_at = call.received_at + SECOND
    call.answered_at = call.received_at + 2 * SECOND
    call.ended_at = call.received_at + 5 * SECOND
    call.reason = call.reason or Reason.CALLEE_HUNG_UP
    call.sip_code, call.q850_cause = 200, 16
    call.tries = [Try("trk_out", call.received_at, None)]
    await journal.write([CallBegan(call), CallEnded(call, record)])
    return call
