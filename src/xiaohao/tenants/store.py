"""All SQL about customers and their keys."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, case, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.billing_tables import billing_accounts
from xiaohao.database.schema import api_keys, customers
from xiaohao.tenants.model import CustomerState

_CUSTOMER_SHOWN = (
    customers.c.id,
    customers.c.name,
    customers.c.state,
    customers.c.webhook_url,
    customers.c.created_at,
    customers.c.updated_at,
    customers.c.real_names,
)
_IDS_AT_ONCE = 500
_WEBHOOK = (
    customers.c.webhook_url,
    customers.c.webhook_secret_sealed,
    customers.c.webhook_old_secret_sealed,
    customers.c.webhook_old_secret_until,
    customers.c.webhook_kinds,
    customers.c.webhook_cdr_batch,
)
_KEY_SHOWN = (
    api_keys.c.id,
    api_keys.c.customer_id,
    api_keys.c.label,
    api_keys.c.created_at,
    api_keys.c.revoked_at,
)


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a customer."""
    await connection.execute(insert(customers).values(**row))


async def change(connection: AsyncConnection, customer_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a customer."""
    await connection.execute(update(customers).where(customers.c.id == customer_id).values(**values))


def state_when_resumed(customer_id: str) -> ColumnElement[str]:
    """What becomes of a customer that is let go on: one whose money is used up is stopped still."""
    stopped = exists().where(
        billing_accounts.c.customer_id == customer_id, billing_accounts.c.stopped_at.is_not(None)
    )
    return case((stopped, CustomerState.EXHAUSTED.value), else_=CustomerState.ACTIVE.value)


async def find(connection: AsyncConnection, customer_id: str) -> RowMapping | None:
    """A customer without the secret."""
    query = select(*_CUSTOMER_SHOWN).where(customers.c.id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def page(connection: AsyncConnection, after: str, limit: int) -> list[RowMapping]:
    """Customers in the order of their ids, those after the id `after`."""
    query = select(*_CUSTOMER_SHOWN).where(customers.c.id > after).order_by(customers.c.id).limit(limit)
    return list((await connection.execute(query)).mappings())


async def webhook(connection: AsyncConnection, customer_id: str) -> RowMapping | None:
    """Where and how a customer's events go, with its sealed secrets."""
    query = select(*_WEBHOOK).where(customers.c.id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def webhooks(connection: AsyncConnection, customer_ids: Sequence[str]) -> list[RowMapping]:
    """The same of several customers, each with its id."""
    rows: list[RowMapping] = []
    for start in range(0, len(customer_ids), _IDS_AT_ONCE):
        some = customer_ids[start : start + _IDS_AT_ONCE]
        query = select(customers.c.id, *_WEBHOOK).where(customers.c.id.in_(some))
        rows += (await connection.execute(query)).mappings()
    return rows


async def add_key(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert an API key."""
    await connection.execute(insert(api_keys).values(**row))


async def find_key(connection: AsyncConnection, digest: bytes) -> RowMapping | None:
    """The key with this digest, unless it is revoked, and the state of its customer."""
    query = (
        select(api_keys.c.id, api_keys.c.customer_id, customers.c.state)
        .join_from(api_keys, customers, customers.c.id == api_keys.c.customer_id, isouter=True)
        .where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def keys(connection: AsyncConnection, customer_id: str | None) -> list[RowMapping]:
    """The keys of a customer (None: the operator's) in the order of their making, revoked ones included."""
    query = (
        select(*_KEY_SHOWN)
        .where(api_keys.c.customer_id.is_not_distinct_from(customer_id))
        .order_by(api_keys.c.created_at, api_keys.c.id)
    )
    return list((await connection.execute(query)).mappings())


async def key(connection: AsyncConnection, customer_id: str | None, key_id: str) -> RowMapping | None:
    """One key of a customer (None: the operator's)."""
    query = select(*_KEY_SHOWN).where(
        api_keys.c.id == key_id, api_keys.c.customer_id.is_not_distinct_from(customer_id)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def revoke_key(connection: AsyncConnection, customer_id: str | None, key_id: str, now: int) -> None:
    """Mark a key of a customer (None: the operator's) as revoked; the first time counts."""
    where = (
        api_keys.c.id == key_id,
        api_keys.c.customer_id.is_not_distinct_from(customer_id),
        api_keys.c.revoked_at.is_(None),
    )
    await connection.execute(update(api_keys).where(*where).values(revoked_at=now))
