"""What can be done with calls: `journal` writes them, `records` reads them; here is what other rooms need."""

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls import store
from xiaohao.calls.journal import CallBegan, CallEnded, CallJournal, CallMoved, Change, JournalWriter
from xiaohao.calls.model import Call
from xiaohao.calls.wire import call_of
from xiaohao.secrecy import Vault

__all__ = [
    "CallBegan",
    "CallEnded",
    "CallJournal",
    "CallMoved",
    "Change",
    "JournalWriter",
    "ended_call",
]


async def ended_call(connection: AsyncConnection, vault: Vault, call_id: str) -> Call | None:
    """A call that has its CDR, as the CDR tells it; None when it has none (yet)."""
    row = await store.find_cdr(connection, call_id, None)
    return None if row is None else call_of({**row}, vault)
