"""Rows of the table `events` that tell of other things than calls: numbers, pools, money, fraud, digests."""

from xiaohao.database.direct import Row
from xiaohao.digests.model import DigestDocument
from xiaohao.notifications.model import (
    EventState,
    Kind,
    digest_event_id,
    fraud_event_id,
    number_event_id,
    pool_event_id,
    spending_event_id,
)
from xiaohao.notifications.wire import (
    FraudEventData,
    PoolEventData,
    SpendingEventData,
    digest_event_document,
    fraud_event_document,
    number_event_document,
    pool_event_document,
    spending_event_document,
)
from xiaohao.numbers.lifecycle import NumberChanged
from xiaohao.secrecy import Vault


def number_event_row(vault: Vault, change: NumberChanged, customer_id: str, now: int) -> Row:
    """The row of an event of a number that this customer is to be told of; `now` is when it is stored."""
    kind, name = Kind.NUMBER_STATUS_CHANGED, number_event_id(change.number, change.seq)
    body = number_event_document(name, change)
    place = (name, customer_id, change.number, change.seq, kind.value)
    return (*place, change.at, *due(vault, body, now))


def pool_event_row(
    vault: Vault, customer_id: str, day: int, data: PoolEventData, occurred_at: int, now: int
) -> Row:
    """The row of an event of a customer's pool, one a day; `now` is when it is stored."""
    name = pool_event_id(data.pool_id, day)
    body = pool_event_document(name, occurred_at, day, data)
    place = (name, customer_id, data.pool_id, day, Kind.POOL_RUNNING_OUT.value)
    return (*place, occurred_at, *due(vault, body, now))


def spending_event_row(vault: Vault, customer_id: str, notice: int, data: SpendingEventData, now: int) -> Row:
    """The row of an event of a customer's limits, the n-th; `now` is when it happens and is stored."""
    name = spending_event_id(customer_id, notice)
    body = spending_event_document(name, now, notice, data)
    place = (name, customer_id, customer_id, notice, Kind.SPENDING_CHANGED.value)
    return (*place, now, *due(vault, body, now))


def fraud_event_row(vault: Vault, customer_id: str, data: FraudEventData, now: int) -> Row:
    """The row of an event of an alarm; `now` is when it happens and is stored."""
    name = fraud_event_id(data.alarm_id)
    body = fraud_event_document(name, now, data)
    place = (name, customer_id, data.alarm_id, 1, Kind.FRAUD_SUSPECTED.value)
    return (*place, now, *due(vault, body, now))


def digest_event_row(
    vault: Vault, customer_id: str, digest: DigestDocument, occurred_at: int, now: int
) -> Row:
    """The row of an event of a digest, one a revision; `now` is when it is stored."""
    name = digest_event_id(digest.id, digest.revision)
    body = digest_event_document(name, occurred_at, digest)
    place = (name, customer_id, digest.id, digest.revision, Kind.DIGEST_CREATED.value)
    return (*place, occurred_at, *due(vault, body, now))


def due(vault: Vault, body: bytes, now: int) -> Row:
    """The rest of a row: body, state, due, tries, created."""
    return (vault.seal(body.decode()), EventState.DUE.value, now, 0, now)
