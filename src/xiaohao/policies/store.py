"""All SQL of lists, rules, days and the mark that moves on with each change of them."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    RowMapping,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.direct import Insert, Statement, insert_into
from xiaohao.database.marks import move_mark
from xiaohao.database.policy_tables import policy_days, policy_entries, policy_rules
from xiaohao.database.schema import customers, marks, numbers

#: The row of `marks` that moves on with every change of any policy.
MARK: Final = "policies"
#: The same for what is not entries: rules, days, blocks.
RULES_MARK: Final = "policy_rules"
#: The greatest revision of an entry whose row is gone.
PURGED_MARK: Final = "policies_purged"

_READ_COLUMNS: Final = (
    *("id", "set_by", "customer_id", "list", "kind", "side", "person_key", "other_key", "prefix"),
    *("expires_at", "removed_at", "revision"),
)
ENTRY_COLUMNS: Final = tuple(column.name for column in policy_entries.columns if column.name != "removed_at")
_WHOM: Final = ("customer_id", "set_by", "person_key", "other_key", "prefix")
_RULE_READ: Final = (
    *("id", "set_by", "customer_id", "name", "number", "enabled", "spec", "created_at", "updated_at"),
)


class Revisions(NamedTuple):
    """The marks: of every change, of those that are not about entries, of entries whose rows are gone."""

    every: int
    rules: int
    purged: int


Where = Sequence[ColumnElement[bool]]


async def begin_change(connection: AsyncConnection, *, entries: bool = False) -> int:
    """Move the mark on; nobody else changes any policy until the transaction's end. Gives the revision.

    `entries`: nothing but entries of lists is changed.
    """
    if not entries:
        await move_mark(connection, RULES_MARK)
    return await move_mark(connection, MARK)


async def revisions(connection: AsyncConnection) -> Revisions:
    """How far the policies have come; 0 before the first change."""
    query = select(marks.c.name, marks.c.value).where(marks.c.name.in_((MARK, RULES_MARK, PURGED_MARK)))
    found = {name: int(value) for name, value in await connection.execute(query)}
    return Revisions(found.get(MARK, 0), found.get(RULES_MARK, 0), found.get(PURGED_MARK, 0))


async def customer_exists(connection: AsyncConnection, customer_id: str) -> bool:
    """Whether there is this customer."""
    return (await connection.execute(select(exists().where(customers.c.id == customer_id)))).scalar_one()


async def may_name(connection: AsyncConnection, number: str, customer_id: str | None) -> bool:
    """Whether a rule of this customer (None: of everybody) may be about this number of the platform."""
    mine = [] if customer_id is None else [
        or_(
            numbers.c.customer_id.is_(None),
            numbers.c.customer_id == customer_id,
            numbers.c.assigned_by == customer_id,
        )
    ]  # fmt: skip
    query = select(exists().where(numbers.c.number == number, *mine))
    return (await connection.execute(query)).scalar_one()


# Entries


def put_entries(dialect: Dialect) -> Insert:
    """Stores rows of ENTRY_COLUMNS; an entry about the same people is replaced and keeps its id and age."""

    def replace(into: Any) -> Any:
        kept = ("id", "created_at", *_WHOM)
        changed = {name: into.excluded[name] for name in ENTRY_COLUMNS if name not in kept}
        return into.on_conflict_do_update(index_elements=_WHOM, set_={**changed, "removed_at": null()})

    return Insert(dialect, policy_entries, ENTRY_COLUMNS, replace)


def mark_moving(dialect: Dialect) -> Statement:
    """The same as `begin_change` over a plain connection."""
    into = insert_into(dialect, marks).values(name=MARK, value=1)
    moved = into.on_conflict_do_update(index_elements=["name"], set_={"value": marks.c.value + 1})
    return Statement(dialect, moved.returning(marks.c.value))


async def put_entry(connection: AsyncConnection, row: dict[str, Any]) -> RowMapping:
    """Store one entry as `put_entries` does; gives what stands there now."""
    into = insert_into(connection.dialect, policy_entries).values(row)
    changed = {name: into.excluded[name] for name in row if name not in ("id", "created_at", *_WHOM)}
    wanted = into.on_conflict_do_update(index_elements=_WHOM, set_={**changed, "removed_at": null()})
    return (await connection.execute(wanted.returning(*policy_entries.c))).mappings().one()


async def remove_entries(connection: AsyncConnection, where: Where, revision: int, now: int) -> int:
    """Take entries away; says how many. Their rows stay until `purge_entries`."""
    gone = (
        update(policy_entries)
        .where(policy_entries.c.removed_at.is_(None), *where)
        .values(removed_at=now, revision=revision)
    )
    return (await connection.execute(gone)).rowcount


async def find_entry(connection: AsyncConnection, where: Where) -> RowMapping | None:
    """One entry that is there."""
    query = select(policy_entries).where(policy_entries.c.removed_at.is_(None), *where)
    return (await connection.execute(query)).mappings().one_or_none()


async def page_entries(connection: AsyncConnection, after: str, limit: int, where: Where) -> list[RowMapping]:
    """Entries in the order of their ids, those after `after`."""
    query = (
        select(policy_entries)
        .where(policy_entries.c.removed_at.is_(None), policy_entries.c.id > after, *where)
        .order_by(policy_entries.c.id)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def count_entries(connection: AsyncConnection, where: Where) -> int:
    """How many entries there are."""
    query = select(func.count()).select_from(policy_entries).where(policy_entries.c.removed_at.is_(None))
    return int((await connection.execute(query.where(*where))).scalar_one())


_CHANGED: Final = (
    select(*(policy_entries.c[name] for name in _READ_COLUMNS))
    .where(
        tuple_(policy_entries.c.revision, policy_entries.c.id)
        > tuple_(bindparam("revision", type_=BigInteger), bindparam("after", type_=Text))
    )
    .order_by(policy_entries.c.revision, policy_entries.c.id)
    .limit(bindparam("most"))
)


async def changed_entries(
    connection: AsyncConnection, revision: int, after: str, limit: int
) -> list[tuple[Any, ...]]:
    """Entries changed after (revision, id), in this order, those that are removed too: `index.EntryRow`."""
    found = await connection.execute(_CHANGED, {"revision": revision, "after": after, "most": limit})
    return [tuple(row) for row in found]


async def find_any_entry(connection: AsyncConnection, where: Where) -> bool:
    """Whether there is such an entry."""
    query = select(policy_entries.c.id).where(policy_entries.c.removed_at.is_(None), *where).limit(1)
    return (await connection.execute(query)).first() is not None


async def purge_entries(connection: AsyncConnection, removed_before: int) -> int:
    """Delete the rows of what was removed long ago; says how many."""
    gone = delete(policy_entries).where(
        policy_entries.c.removed_at.is_not(None), policy_entries.c.removed_at < removed_before
    )
    rows = (await connection.execute(gone.returning(policy_entries.c.revision))).scalars().all()
    if rows:
        into = insert_into(connection.dialect, marks).values(name=PURGED_MARK, value=max(rows))
        raised = into.on_conflict_do_update(
            index_elements=["name"],
            set_={"value": into.excluded.value},
            where=marks.c.value < into.excluded.value,
        )
        await connection.execute(raised)
    return len(rows)


# Rules


async def add_rule(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a rule."""
    await connection.execute(insert(policy_rules).values(row))


async def change_rule(connection: AsyncConnection, where: Where, values: dict[str, Any]) -> RowMapping | None:
    """Overwrite columns of a rule; gives what it is now, None where there is none."""
    changed = update(policy_rules).where(*where).values(values).returning(*policy_rules.c)
    return (await connection.execute(changed)).mappings().one_or_none()


async def remove_rules(connection: AsyncConnection, where: Where) -> int:
    """Delete rules; says how many."""
    return (await connection.execute(delete(policy_rules).where(*where))).rowcount


async def find_rule(connection: AsyncConnection, where: Where) -> RowMapping | None:
    """One rule."""
    return (await connection.execute(select(policy_rules).where(*where))).mappings().one_or_none()


async def page_rules(connection: AsyncConnection, after: str, limit: int, where: Where) -> list[RowMapping]:
    """Rules in the order of their ids, those after `after`."""
    query = (
        select(policy_rules).where(policy_rules.c.id > after, *where).order_by(policy_rules.c.id).limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def count_rules(connection: AsyncConnection, where: Where) -> int:
    """How many rules there are."""
    query = select(func.count()).select_from(policy_rules).where(*where)
    return int((await connection.execute(query)).scalar_one())


async def all_rules(connection: AsyncConnection) -> list[RowMapping]:
    """Every rule that is on."""
    query = select(*(policy_rules.c[name] for name in _RULE_READ)).where(policy_rules.c.enabled)
    return list((await connection.execute(query)).mappings())


# Days


async def days(connection: AsyncConnection) -> list[RowMapping]:
    """What the operator says of days, in their order."""
    return list((await connection.execute(select(policy_days).order_by(policy_days.c.day))).mappings())


async def put_day(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Say what a day is."""
    into = insert_into(connection.dialect, policy_days).values(row)
    changed = {name: into.excluded[name] for name in row if name != "day"}
    await connection.execute(into.on_conflict_do_update(index_elements=["day"], set_=changed))


async def remove_day(connection: AsyncConnection, day: str) -> bool:
    """Say nothing of a day any more."""
    return (await connection.execute(delete(policy_days).where(policy_days.c.day == day))).rowcount > 0
