"""All SQL of idempotency keys."""

from typing import Any, Final

from sqlalchemy import RowMapping, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import idempotency

_CLAIM: Final = text(
    "INSERT INTO idempotency (customer_id, key, request_sealed, created_at)"
    " VALUES (:customer_id, :key, :request_sealed, :created_at)"
    " ON CONFLICT (customer_id, key) DO NOTHING"
)


async def claim(
    connection: AsyncConnection, owner: str, key: str, request_sealed: bytes, created_at: int
) -> bool:
    """Take a key for a new request; False where it is taken. Waits for one that is just being taken."""
    row = {"customer_id": owner, "key": key, "request_sealed": request_sealed, "created_at": created_at}
    return (await connection.execute(_CLAIM, row)).rowcount == 1


async def find(connection: AsyncConnection, owner: str, key: str) -> RowMapping | None:
    """What was stored under a key."""
    query = select(idempotency).where(idempotency.c.customer_id == owner, idempotency.c.key == key)
    return (await connection.execute(query)).mappings().one_or_none()


async def finish(connection: AsyncConnection, owner: str, key: str, values: dict[str, Any]) -> None:
    """Write down how the request of a key ended."""
    where = (idempotency.c.customer_id == owner, idempotency.c.key == key)
    await connection.execute(update(idempotency).where(*where).values(**values))


async def forget(connection: AsyncConnection, owner: str, key: str) -> None:
    """Let go of one key."""
    where = (idempotency.c.customer_id == owner, idempotency.c.key == key)
    await connection.execute(delete(idempotency).where(*where))


async def forget_before(connection: AsyncConnection, moment: int) -> int:
    """Let go of all keys that were taken before a moment; says how many."""
    result = await connection.execute(delete(idempotency).where(idempotency.c.created_at < moment))
    return result.rowcount
