"""What other rooms can tell customers. The journal of calls stores its events itself."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls.service import ended_call
from xiaohao.clock import now_us
from xiaohao.digests.model import DigestDocument
from xiaohao.notifications import rows, store
from xiaohao.notifications.model import Kind
from xiaohao.notifications.wire import FraudEventData, PoolEventData, SpendingEventData
from xiaohao.numbers.lifecycle import NumberChanged
from xiaohao.secrecy import Vault


async def announce_recording(
    connection: AsyncConnection, vault: Vault, kind: Kind, call_id: str, recording: dict[str, Any], at: int
) -> bool:
    """Store `recording.ready` or `recording.failed` in the transaction of `connection`, once for each call.

    `recording` becomes `data.recording` of the event, `at` is its moment (microseconds). Gives False where
    nobody is to be told: the call has no CDR, or belongs to no customer.
    """
    call = await ended_call(connection, vault, call_id)
    if call is None or call.customer_id is None:
        return False
    row = store.event_row(vault, kind, call, at, now_us(), extra={"recording": recording})
    await store.insert(connection, [row])
    return True


async def announce_numbers(
    connection: AsyncConnection, vault: Vault, changes: Sequence[tuple[NumberChanged, str]], now: int
) -> None:
    """Store `number.status_changed`, each for the customer named, in the transaction of `connection`."""
    told = [rows.number_event_row(vault, change, customer_id, now) for change, customer_id in changes]
    if told:
        await store.insert(connection, told)


async def announce_digest(
    connection: AsyncConnection, vault: Vault, customer_id: str, digest: DigestDocument, at: int
) -> None:
    """Store `digest.created` in the transaction of `connection`; `at` is its moment (microseconds)."""
    await store.insert(connection, [rows.digest_event_row(vault, customer_id, digest, at, now_us())])


async def announce_pool(
    connection: AsyncConnection, vault: Vault, customer_id: str, day: int, pool: PoolEventData, at: int
) -> None:
    """Store `pool.running_out` in the transaction of `connection`, once for each pool and day.

    `day` counts since 1970, `at` is the event's moment (microseconds).
    """
    await store.insert(connection, [rows.pool_event_row(vault, customer_id, day, pool, at, now_us())])


async def announce_fraud(
    connection: AsyncConnection, vault: Vault, customer_id: str, data: FraudEventData, at: int
) -> None:
    """Store `policy.fraud_suspected` in the transaction of `connection`."""
    await store.insert(connection, [rows.fraud_event_row(vault, customer_id, data, at)])


async def announce_spending(
    connection: AsyncConnection, vault: Vault, customer_id: str, notice: int, data: SpendingEventData, at: int
) -> None:
    """Store `spending.changed` in the transaction of `connection`, the `notice`-th of the customer."""
    await store.insert(connection, [rows.spending_event_row(vault, customer_id, notice, data, at)])
