"""All SQL of alarms: suspicions of fraud, what they block, and the CDRs that they are reckoned from."""

from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.policy_tables import policy_alarms
from xiaohao.database.schema import cdrs
from xiaohao.policies.index import Block
from xiaohao.policies.store import Where


async def blocks(connection: AsyncConnection, now: int) -> list[Block]:
    """Whose calls are refused at this moment."""
    columns = (
        *(policy_alarms.c.set_by, policy_alarms.c.customer_id, policy_alarms.c.per),
        *(policy_alarms.c.subject_key, policy_alarms.c.blocked_until, policy_alarms.c.id),
        policy_alarms.c.number,
    )
    query = select(*columns).where(policy_alarms.c.blocked_until > now, policy_alarms.c.lifted_at.is_(None))
    return [Block(*row) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert an alarm."""
    await connection.execute(insert(policy_alarms).values(row))


async def is_quiet(connection: AsyncConnection, rule_id: str, subject_key: bytes, now: int) -> bool:
    """Whether this rule has told of this subject, and does not tell again yet."""
    query = select(policy_alarms.c.id).where(
        policy_alarms.c.rule_id == rule_id,
        policy_alarms.c.subject_key == subject_key,
        policy_alarms.c.quiet_until > now,
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def page(connection: AsyncConnection, after: str, limit: int, where: Where) -> list[RowMapping]:
    """Alarms in the order of their ids, which is that of time, those after `after`."""
    query = (
        select(policy_alarms)
        .where(policy_alarms.c.id > after, *where)
        .order_by(policy_alarms.c.id)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def lift(connection: AsyncConnection, where: Where, now: int) -> RowMapping | None:
    """End what an alarm blocks; gives the alarm, None where there is none."""
    lifted = update(policy_alarms).where(*where).values(lifted_at=now).returning(*policy_alarms.c)
    return (await connection.execute(lifted)).mappings().one_or_none()


async def first_cdr(connection: AsyncConnection, since: int) -> int:
    """The least seq of the CDRs of calls received after `since`; 1 where there is none."""
    query = select(func.min(cdrs.c.seq)).where(cdrs.c.received_at > since)
    return (await connection.execute(query)).scalar_one() or 1


async def cdrs_after(
    connection: AsyncConnection, seq: int, until: int, since: int, limit: int
) -> list[RowMapping]:
    """CDRs written after the one with this seq and not after `until`, of calls received after `since`."""
    columns = (
        *(cdrs.c.seq, cdrs.c.customer_id, cdrs.c.caller_key, cdrs.c.caller_sealed, cdrs.c.callee_key),
        *(cdrs.c.dialled, cdrs.c.displayed, cdrs.c.received_at, cdrs.c.answered_at, cdrs.c.ended_at),
        cdrs.c.reason,
    )
    query = (
        select(*columns)
        .where(cdrs.c.seq > seq, cdrs.c.seq <= until, cdrs.c.received_at > since)
        .order_by(cdrs.c.seq)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())
