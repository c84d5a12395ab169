"""What can be done with calls: `journal` writes them, `records` reads them; here is what other rooms need."""

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls import store
from xiaohao.calls.journal import (
    CallBegan,
    CallEnded,
    CallJournal,
    CallMoved,
    CallTraced,
    Change,
    JournalWriter,
)
from xiaohao.calls.model import Call
from xiaohao.calls.wire import call_of
from xiaohao.secrecy import Vault

__all__ = [
    "CallBegan",
    "CallEnded",
    "CallJournal",
    "CallMoved",
    "CallTraced",
    "Change",
    "JournalWriter",
    "ended_call",
    "known_call",
    "live_call_ids",
]


async def ended_call(connection: AsyncConnection, vault: Vault, call_id: str) -> Call | None:
    """A call that has its CDR, as the CDR tells it; None when it has none (yet)."""
    row = await store.find_cdr(connection, call_id, None)
    return None if row is None else call_of({**row}, vault)


async def live_call_ids(connection: AsyncConnection) -> list[str]:
    """The calls in progress."""
    return await store.live_ids(connection)


async def known_call(
    connection: AsyncConnection, vault: Vault, call_id: str, customer_id: str | None
) -> Call | None:
    """A call in progress or one that has ended, of that customer only unless `customer_id` is None."""
    live = await store.live_call(connection, vault, call_id)
    row = await store.find_cdr(connection, call_id, customer_id)
    if row is not None:
        return call_of({**row}, vault)
    return live if live is not None and customer_id in (None, live.customer_id) else None
