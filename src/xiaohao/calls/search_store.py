"""All SQL that searches CDRs: each question walks one index, in the order of the calls' arrival.

How many CDRs there are does not matter then; what matters is how many of those that the index leads to must
be looked at. A person or a number stands in two columns with an index each, which are walked side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.call_tables import cdr_corrections
from xiaohao.database.schema import cdrs
from xiaohao.secrecy import masked

#: where a page ends: arrival in microseconds, and seq among those of the same one
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which CDRs. `either` are conditions of which one must hold beside all of `all_of`."""

    all_of: list[ColumnElement[bool]] = field(default_factory=list)
    either: list[ColumnElement[bool]] = field(default_factory=list)

    def branches(self) -> list[list[ColumnElement[bool]]]:
        """The same as lists of conditions that exclude each other, so that no CDR comes twice."""
        if not self.either:
            return [self.all_of]
        found = []
        others: list[ColumnElement[bool]] = []
        for each in self.either:
            found.append([*self.all_of, each, *others])
            others.append(func.coalesce(each, literal(False)).is_(False))
        return found


def conditions(
    *,
    customer_id: str | None = None,
    since: int | None = None,
    until: int | None = None,
    number: str | None = None,
    person_key: bytes | None = None,
    trunk_id: str | None = None,
    **equal: Any,
) -> Conditions:
    """What must hold: `since` is within the time asked for, `until` just outside.

    `equal` are columns and what must stand in them, None: anything.
    """
    chosen: list[ColumnElement[bool]] = [
        cdrs.c[name] == value for name, value in equal.items() if value is not None
    ]
    if customer_id is not None:
        few = any(one is not None for one in (person_key, number, equal.get("binding_id")))
        # A person's index leads to few rows: no planner is to walk all of a customer's instead.
        column = func.coalesce(cdrs.c.customer_id, "") if few else cdrs.c.customer_id
        chosen.append(column == customer_id)
    if since is not None:
        chosen.append(cdrs.c.received_at >= since)
    if until is not None:
        chosen.append(cdrs.c.received_at < until)
    if trunk_id is not None:
        chosen.append((cdrs.c.trunk_in == trunk_id) | (cdrs.c.trunk_out == trunk_id))
    either: list[ColumnElement[bool]] = []
    if person_key is not None:
        either = [cdrs.c.caller_key == person_key, cdrs.c.callee_key == person_key]
    if number is not None:
        over = [cdrs.c.dialled == number, cdrs.c.displayed == number]
        if customer_id is None:  # nobody's calls: what is not the platform's stands there masked
            over.append(cdrs.c.dialled == masked(number))
        if either:
            chosen.append(or_(*over))
        else:
            either = over
    return Conditions(chosen, either)


async def page(
    connection: AsyncConnection, before: Place | None, limit: int, wanted: Conditions
) -> list[RowMapping]:
    """CDRs in the order of the calls' arrival, the newest first, those behind the place `before`."""
    order = (cdrs.c.received_at.desc(), cdrs.c.seq.desc())
    behind = [] if before is None else [tuple_(cdrs.c.received_at, cdrs.c.seq) < tuple_(*before)]
    parts: list[Select[Any]] = [
        select(cdrs).where(*branch, *behind).order_by(*order).limit(limit) for branch in wanted.branches()
    ]
    if len(parts) == 1:
        return list((await connection.execute(parts[0])).mappings())
    # SQLite takes an order inside of a union only where each part is a query of its own
    found = union_all(*(select(part.subquery()) for part in parts)).subquery()
    query = select(found).order_by(found.c.received_at.desc(), found.c.seq.desc()).limit(limit)
    return list((await connection.execute(query)).mappings())


async def follow(
    connection: AsyncConnection, after: int, until: int, limit: int, wanted: Conditions
) -> list[RowMapping]:
    """CDRs written after the one with seq `after` and not after `until`, the oldest first."""
    query = select(cdrs).where(cdrs.c.seq > after, cdrs.c.seq <= until, *wanted.all_of)
    if wanted.either:
        query = query.where(or_(*wanted.either))
    return list((await connection.execute(query.order_by(cdrs.c.seq).limit(limit))).mappings())


async def rising(
    connection: AsyncConnection, after: Place, limit: int, wanted: Conditions
) -> list[RowMapping]:
    """CDRs in the order of the calls' arrival, the oldest first, those behind the place `after`."""
    query = select(cdrs).where(tuple_(cdrs.c.received_at, cdrs.c.seq) > tuple_(*after), *wanted.all_of)
    if wanted.either:
        query = query.where(or_(*wanted.either))
    query = query.order_by(cdrs.c.received_at, cdrs.c.seq).limit(limit)
    return list((await connection.execute(query)).mappings())


async def newest(connection: AsyncConnection) -> int:
    """The greatest seq of a CDR; 0 where there is none."""
    return (await connection.execute(select(func.max(cdrs.c.seq)))).scalar_one() or 0


async def corrected(connection: AsyncConnection, call_ids: Sequence[str]) -> dict[str, str]:
    """Those of these calls whose CDR was corrected, each with its newest correction."""
    if not call_ids:
        return {}
    query = select(cdr_corrections.c.call_id, cdr_corrections.c.id)
    query = query.where(cdr_corrections.c.call_id.in_(call_ids)).order_by(cdr_corrections.c.number)
    return {row.call_id: row.id for row in await connection.execute(query)}


async def old_ones(
    connection: AsyncConnection, before: int, limit: int, customer_id: str | None, others: Sequence[str]
) -> list[int]:
    """Seqs of CDRs of calls that arrived before a moment: a customer's, or all but those of `others`."""
    query = select(cdrs.c.seq).where(cdrs.c.received_at < before)
    if customer_id is not None:
        query = query.where(cdrs.c.customer_id == customer_id)
    elif others:
        query = query.where(func.coalesce(cdrs.c.customer_id, "").not_in(others))
    return list((await connection.execute(query.order_by(cdrs.c.received_at).limit(limit))).scalars())


async def forget(connection: AsyncConnection, seqs: Sequence[int]) -> None:
    """Delete CDRs, and what corrected them."""
    calls = select(cdrs.c.call_id).where(cdrs.c.seq.in_(seqs))
    await connection.execute(delete(cdr_corrections).where(cdr_corrections.c.call_id.in_(calls)))
    await connection.execute(delete(cdrs).where(cdrs.c.seq.in_(seqs)))
