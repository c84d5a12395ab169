"""All SQL of usages: what is charged of each CDR, and the sums of it while a month runs."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from sqlalchemy import RowMapping, bindparam, func, insert, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing.model import Cdr, Usage
from xiaohao.billing.reading import CORRECTED, ORDER, Place
from xiaohao.database.billing_tables import usage_sums, usages
from xiaohao.database.call_tables import cdr_corrections
from xiaohao.database.direct import Statement, dialect_of, insert_into
from xiaohao.database.marks import value_of_mark
from xiaohao.database.schema import cdrs, marks

_LOW: Final = "billing.low"
_USAGE_COLUMNS: Final = tuple(usages.c[name] for name in Usage.__struct_fields__)
_CDR_COLUMNS: Final = tuple(cdrs.c[name] for name in Cdr.__struct_fields__)
_CORRECTED: Final = tuple(cdr_corrections.c[name] for name in CORRECTED)
_SUMMED: Final = ("calls", "seconds", "acd_s", "protections", "recordings")


#: PostgreSQL would rather read a whole table than look up many more keys at once
AT_ONCE: Final = 500
_KEY: Final[list[Any]] = [bindparam("key")]
_OF_CALLS: Final = {
    "cdrs": select(cdrs.c.customer_id, *_CDR_COLUMNS).where(cdrs.c.call_id.in_(_KEY)).order_by(cdrs.c.seq),
    "rated": select(usages.c.call_id).where(usages.c.part == literal_column("0"), usages.c.call_id.in_(_KEY)),
    "usages": select(*_USAGE_COLUMNS).where(usages.c.call_id.in_(_KEY)),
}


@lru_cache
def _of_call(dialect: str, what: str) -> tuple[str, str]:
    text = Statement(dialect_of(dialect), _OF_CALLS[what]).text
    return text, "?" if dialect == "sqlite" else "%s"


async def _of_calls(
    connection: AsyncConnection, what: str, call_ids: Sequence[str]
) -> Sequence[Sequence[Any]]:
    # SQLAlchemy takes longer to write so many keys into a statement than the database to find them.
    if not call_ids:
        return []
    text, marker = _of_call(connection.dialect.name, what)
    keys = ", ".join([marker] * len(call_ids))
    text = text.replace(f"IN ({marker})", f"IN ({keys})")
    return (await connection.exec_driver_sql(text, tuple(call_ids))).all()


async def low_mark(connection: AsyncConnection) -> int:
    """CDRs up to this seq are all rated."""
    return await value_of_mark(connection, _LOW)


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
    rows = await _of_calls(connection, "cdrs", call_ids)
    return [(row[0], Cdr(*row[1:])) for row in rows]


async def corrected(connection: AsyncConnection, found: Sequence[Cdr]) -> list[Cdr]:
    """These CDRs as their newest corrections have them, where there are any."""
    if not found:
        return []
    # corrections are few, and the calls of a batch lie beside one another: a span costs less than 500 keys
    ids = [cdr.call_id for cdr in found]
    query = select(cdr_corrections.c.call_id, *_CORRECTED).order_by(cdr_corrections.c.number)
    rows = await connection.execute(query.where(cdr_corrections.c.call_id.between(min(ids), max(ids))))
    newer = {row[0]: row[1:] for row in rows}
    if not newer:
        return [*found]
    return [
        msgspec.structs.replace(cdr, **dict(zip(CORRECTED, newer[cdr.call_id], strict=True)))
        if cdr.call_id in newer
        else cdr
        for cdr in found
    ]


async def rated_among(connection: AsyncConnection, call_ids: Sequence[str]) -> set[str]:
    """Those of the calls that have a usage already."""
    return {row[0] for row in await _of_calls(connection, "rated", call_ids)}


async def add_usages(connection: AsyncConnection, found: Sequence[tuple[str, Usage]]) -> None:
    """Write usages of calls that have none yet, (customer, usage), and add them to the sums."""
    if not found:
        return
    await _insert(connection, found)
    sums: dict[tuple[str, int, str], dict[str, Any]] = {}
    for customer_id, usage in found:
        _add(sums, customer_id, usage, 1)
    await add_to_sums(connection, list(sums.values()))


@lru_cache
def _insertion(dialect: str) -> str:
    statement = Statement(dialect_of(dialect), insert(usages))
    first, second, *others = Usage.__struct_fields__
    if statement.names != (first, second, "customer_id", *others):
        raise ValueError("the table's columns have another order")
    return statement.text


async def _insert(connection: AsyncConnection, found: Iterable[tuple[str, Usage]]) -> None:
    # The driver's own words: to prepare each row in SQLAlchemy would take longer than to rate its call.
    rows = []
    for customer_id, usage in found:
        call_id, part, *others = astuple(usage)
        rows.append((call_id, part, customer_id, *others))
    await connection.exec_driver_sql(_insertion(connection.dialect.name), rows)


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
    row["calls"] += sign * usage.calls
    row["seconds"] += sign * usage.seconds
    row["acd_s"] += sign * usage.acd_s
    row["protections"] += sign * usage.protections
    row["recordings"] += sign * usage.recordings


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
    if old:
        # one by one: for a list of pairs PostgreSQL would compare each row of the table with each of them
        this = usages.c.call_id == bindparam("call_id"), usages.c.part == bindparam("part")
        statement = Statement(dialect_of(connection.dialect.name), usages.delete().where(*this))
        keys = [statement.row(call_id=usage.call_id, part=usage.part) for usage in old]
        await connection.exec_driver_sql(statement.text, keys)
    if new:
        await _insert(connection, [(customer_id, usage) for usage in new])
    if sums:
        await add_to_sums(connection, list(sums.values()))


async def usages_of_calls(connection: AsyncConnection, call_ids: Sequence[str]) -> list[Usage]:
    """Every usage of these calls."""
    found: list[Usage] = []
    for first in range(0, len(call_ids), AT_ONCE):
        rows = await _of_calls(connection, "usages", call_ids[first : first + AT_ONCE])
        found += (Usage(*row) for row in rows)
    return found


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
