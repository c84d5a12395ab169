"""All SQL of usages: what is charged of each CDR, and the sums of it while a month runs."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing.model import Cdr, Usage
from xiaohao.billing.reading import ORDER, Place
from xiaohao.database.billing_tables import usage_sums, usages
from xiaohao.database.direct import insert_into
from xiaohao.database.schema import cdrs, marks

_LOW: Final = "billing.low"
_USAGE_COLUMNS: Final = tuple(usages.c[name] for name in Usage.__struct_fields__)
_CDR_COLUMNS: Final = tuple(cdrs.c[name] for name in Cdr.__struct_fields__)
_SUMMED: Final = ("calls", "seconds", "acd_s", "protections", "recordings")


async def low_mark(connection: AsyncConnection) -> int:
    """CDRs up to this seq are all rated."""
    found = await connection.execute(select(marks.c.value).where(marks.c.name == _LOW))
    return found.scalar_one_or_none() or 0


async def raise_low_mark(connection: AsyncConnection, seq: int) -> None:
    """CDRs up to `seq` are all rated."""
    into = insert_into(connection.dialect, marks).values(name=_LOW, value=seq)
    higher = marks.c.value < into.excluded.value
    await connection.execute(
        into.on_conflict_do_update(index_elements=["name"], set_={"value": into.excluded.value}, where=higher)
    )


async def newest_cdr(connection: AsyncConnection) -> int:
    """The seq of the newest CDR; 0 where there is none."""
    return (await connection.execute(select(func.max(cdrs.c.seq)))).scalar_one() or 0


async def cdrs_after(connection: AsyncConnection, seq: int, limit: int) -> list[tuple[int, str]]:
    """Seq and call of customers' CDRs above a seq, in order."""
    # Asking for those without a usage in the same question makes PostgreSQL read all usages for each page.
    query = select(cdrs.c.seq, cdrs.c.call_id).where(cdrs.c.seq > seq, cdrs.c.customer_id.is_not(None))
    rows = (await connection.execute(query.order_by(cdrs.c.seq).limit(limit))).all()
    return [(row[0], row[1]) for row in rows]


async def cdrs_of_calls(connection: AsyncConnection, call_ids: Sequence[str]) -> list[tuple[str, Cdr]]:
    """The CDRs of these calls, each with its customer."""
    query = select(cdrs.c.customer_id, *_CDR_COLUMNS).where(cdrs.c.call_id.in_(call_ids))
    rows = (await connection.execute(query.order_by(cdrs.c.seq))).all()
    return [(row[0], Cdr(*row[1:])) for row in rows]


async def rated_among(connection: AsyncConnection, call_ids: Sequence[str]) -> set[str]:
    """Those of the calls that have a usage already."""
    query = select(usages.c.call_id).where(usages.c.call_id.in_(call_ids), usages.c.part == 0)
    return set((await connection.execute(query)).scalars())


async def add_usages(connection: AsyncConnection, found: Sequence[tuple[str, Usage]]) -> None:
    """Write usages of calls that have none yet, (customer, usage), and add them to the sums."""
    if not found:
        return
    rows = [{"customer_id": customer_id, **_values(usage)} for customer_id, usage in found]
    await connection.execute(insert(usages), rows)
    sums: dict[tuple[str, int, str], dict[str, Any]] = {}
    for customer_id, usage in found:
        _add(sums, customer_id, usage, 1)
    await add_to_sums(connection, list(sums.values()))


def _values(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__struct_fields__}


def _add(sums: dict[tuple[str, int, str], dict[str, Any]], customer_id: str, usage: Usage, sign: int) -> None:
    key = (customer_id, usage.month, usage.number)
    row = sums.get(key)
    if row is None:
        row = sums[key] = dict.fromkeys(_SUMMED, 0) | {
            "customer_id": customer_id,
            "month": usage.month,
            "number": usage.number,
            "kind": usage.kind,
        }
    for name in _SUMMED:
        row[name] += sign * getattr(usage, name)


async def add_to_sums(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Add quantities to the sums of numbers."""
    into = insert_into(connection.dialect, usage_sums)
    more = {name: usage_sums.c[name] + into.excluded[name] for name in _SUMMED}
    await connection.execute(
        into.on_conflict_do_update(index_elements=["customer_id", "month", "number"], set_=more),
        sorted(rows, key=lambda row: (row["customer_id"], row["month"], row["number"])),
    )


async def replace_usages(
    connection: AsyncConnection, customer_id: str, old: Sequence[Usage], new: Sequence[Usage]
) -> None:
    """Take usages away, put others in their place, and keep the sums in step."""
    sums: dict[tuple[str, int, str], dict[str, Any]] = {}
    for usage in old:
        _add(sums, customer_id, usage, -1)
    for usage in new:
        _add(sums, customer_id, usage, 1)
    keys = [(usage.call_id, usage.part) for usage in old]
    if keys:
        await connection.execute(usages.delete().where(tuple_(usages.c.call_id, usages.c.part).in_(keys)))
    if new:
        await connection.execute(
            insert(usages), [{"customer_id": customer_id, **_values(usage)} for usage in new]
        )
    if sums:
        await add_to_sums(connection, list(sums.values()))


async def usages_of_calls(connection: AsyncConnection, call_ids: Sequence[str]) -> list[Usage]:
    """Every usage of these calls."""
    query = select(*_USAGE_COLUMNS).where(usages.c.call_id.in_(call_ids))
    return [Usage(*row) for row in (await connection.execute(query)).all()]


async def customer_of_call(connection: AsyncConnection, call_id: str) -> str | None:
    """Whose call it is, once it is rated."""
    query = select(usages.c.customer_id).where(usages.c.call_id == call_id).limit(1)
    return (await connection.execute(query)).scalar_one_or_none()


async def seconds_before(
    connection: AsyncConnection, customer_id: str, month: int, before: Place | None = None
) -> list[tuple[str, str, int]]:
    """Seconds of each number of a month, of usages before a place: (number, kind, seconds)."""
    where = [usages.c.customer_id == customer_id, usages.c.month == month]
    if before is not None:
        where.append(tuple_(*ORDER) < tuple_(*before))
    query = select(usages.c.number, usages.c.kind, func.sum(usages.c.seconds)).where(*where)
    rows = (await connection.execute(query.group_by(usages.c.number, usages.c.kind))).all()
    return [(row[0], row[1], int(row[2])) for row in rows]


async def sums_of_month(connection: AsyncConnection, customer_id: str, month: int) -> list[RowMapping]:
    """The running sums of a month, number by number."""
    query = select(usage_sums).where(usage_sums.c.customer_id == customer_id, usage_sums.c.month == month)
    return list((await connection.execute(query.order_by(usage_sums.c.number))).mappings())


async def months_of(connection: AsyncConnection, customer_id: str) -> list[int]:
    """The months in which a customer used anything."""
    query = select(usage_sums.c.month).where(usage_sums.c.customer_id == customer_id).distinct()
    return sorted((await connection.execute(query)).scalars())


async def customers_of_month(connection: AsyncConnection, month: int) -> list[str]:
    """Who used anything in a month."""
    query = select(usage_sums.c.customer_id).where(usage_sums.c.month == month).distinct()
    return sorted((await connection.execute(query)).scalars())
