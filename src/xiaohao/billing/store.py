"""All SQL of contracts, accounts, usages and what a month's bill is made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    RowMapping,
    Select,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    union,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar
from xiaohao.database.billing_tables import (
    OWNERSHIP,
    billing_accounts,
    billing_entries,
    closed_months,
    contracts,
    payments,
    usage_sums,
)
from xiaohao.database.direct import insert_into
from xiaohao.database.schema import customers, leases, number_history, numbers, pools

_OWNERSHIP: Final = text(OWNERSHIP)
_WITH_RIGHT: Final = 30_000_000
_MADE_YEARS: Final = 2


async def contract(connection: AsyncConnection, customer_id: str, month: int) -> RowMapping | None:
    """The contract in force for a customer in a month; None: the standard tariff."""
    holds = or_(contracts.c.to_month.is_(None), contracts.c.to_month >= month)
    query = (
        select(contracts)
        .where(contracts.c.customer_id == customer_id, contracts.c.from_month <= month, holds)
        .order_by(contracts.c.from_month.desc(), contracts.c.version.desc())
        .limit(1)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def find_contract(connection: AsyncConnection, contract_id: str) -> RowMapping | None:
    """One contract."""
    query = select(contracts).where(contracts.c.id == contract_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def contracts_of(connection: AsyncConnection, customer_ids: Iterable[str]) -> list[RowMapping]:
    """Every version of every contract of these customers, the oldest first."""
    query = (
        select(contracts)
        .where(contracts.c.customer_id.in_(list(customer_ids)))
        .order_by(contracts.c.customer_id, contracts.c.from_month, contracts.c.version)
    )
    return list((await connection.execute(query)).mappings())


async def add_contract(connection: AsyncConnection, row: dict[str, Any]) -> int:
    """Insert a contract as the next version of those that begin with its month; gives the version."""
    same = (contracts.c.customer_id == row["customer_id"], contracts.c.from_month == row["from_month"])
    last = await connection.execute(select(func.max(contracts.c.version)).where(*same))
    version: int = (last.scalar_one() or 0) + 1
    await connection.execute(insert(contracts).values(**row, version=version))
    return version


async def lock_accounts(
    connection: AsyncConnection, customer_ids: Iterable[str], now: int
) -> dict[str, RowMapping]:
    """The accounts of these customers, made where they are missing, for this transaction alone."""
    wanted = sorted(set(customer_ids))
    statement = insert_into(connection.dialect, billing_accounts).on_conflict_do_nothing()
    await connection.execute(statement, [{"customer_id": one, "updated_at": now} for one in wanted])
    query = (
        select(billing_accounts)
        .where(billing_accounts.c.customer_id.in_(wanted))
        .order_by(billing_accounts.c.customer_id)
        .with_for_update()
    )
    return {row["customer_id"]: row for row in (await connection.execute(query)).mappings()}


async def account(connection: AsyncConnection, customer_id: str) -> RowMapping | None:
    """A customer's account, unless nothing has happened yet."""
    query = select(billing_accounts).where(billing_accounts.c.customer_id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def change_account(connection: AsyncConnection, customer_id: str, values: Mapping[str, Any]) -> None:
    """Overwrite columns of an account."""
    await connection.execute(
        update(billing_accounts).where(billing_accounts.c.customer_id == customer_id).values(**values)
    )


async def stopped_accounts(connection: AsyncConnection) -> list[str]:
    """Customers whose calls are stopped because their money is used up."""
    query = select(billing_accounts.c.customer_id).where(billing_accounts.c.stopped_at.is_not(None))
    return list((await connection.execute(query)).scalars())


async def customer_state(connection: AsyncConnection, customer_id: str) -> str | None:
    """The state of a customer; None: there is none."""
    query = select(customers.c.state).where(customers.c.id == customer_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def customer_name(connection: AsyncConnection, customer_id: str) -> str | None:
    """The name of a customer."""
    query = select(customers.c.name).where(customers.c.id == customer_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def all_customers(connection: AsyncConnection) -> list[str]:
    """Every customer."""
    return list((await connection.execute(select(customers.c.id).order_by(customers.c.id))).scalars())


async def switch_state(connection: AsyncConnection, customer_id: str, old: str, new: str, now: int) -> bool:
    """Bring a customer from one state to another; tells whether it was in the first."""
    changed = await connection.execute(
        update(customers)
        .where(customers.c.id == customer_id, customers.c.state == old)
        .values(state=new, updated_at=now)
    )
    return bool(changed.rowcount)


async def add_payment(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a payment."""
    await connection.execute(insert(payments).values(**row))


async def payments_of(connection: AsyncConnection, customer_id: str) -> list[RowMapping]:
    """The payments of a customer, the newest first."""
    query = select(payments).where(payments.c.customer_id == customer_id)
    return list((await connection.execute(query.order_by(payments.c.created_at.desc()))).mappings())


async def add_entry(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert an entry made by hand."""
    await connection.execute(insert(billing_entries).values(**row))


async def take_entry_away(connection: AsyncConnection, customer_id: str, entry_id: str) -> int | None:
    """Delete an entry; gives its month, None where there is none."""
    this = (billing_entries.c.customer_id == customer_id, billing_entries.c.id == entry_id)
    month = (await connection.execute(select(billing_entries.c.month).where(*this))).scalar_one_or_none()
    if month is not None:
        await connection.execute(billing_entries.delete().where(*this))
    return month


async def has_entry(connection: AsyncConnection, customer_id: str, entry_id: str) -> bool:
    """Whether an entry still stands."""
    this = (billing_entries.c.customer_id == customer_id, billing_entries.c.id == entry_id)
    return (await connection.execute(select(billing_entries.c.id).where(*this))).first() is not None


async def entries_of(connection: AsyncConnection, customer_id: str, month: int) -> list[RowMapping]:
    """The entries of a customer's month, in the order of their making."""
    query = (
        select(billing_entries)
        .where(billing_entries.c.customer_id == customer_id, billing_entries.c.month == month)
        .order_by(billing_entries.c.created_at, billing_entries.c.id)
    )
    return list((await connection.execute(query)).mappings())


async def closed_of(connection: AsyncConnection, customer_ids: Iterable[str]) -> dict[str, set[int]]:
    """The closed months of each of these customers."""
    query = select(closed_months.c.customer_id, closed_months.c.month).where(
        closed_months.c.customer_id.in_(list(customer_ids))
    )
    found: dict[str, set[int]] = {}
    for customer_id, month in await connection.execute(query):
        found.setdefault(customer_id, set()).add(month)
    return found


async def close_month(connection: AsyncConnection, customer_id: str, month: int, now: int) -> None:
    """From now on nothing is added to this month; again is no error."""
    row = {"customer_id": customer_id, "month": month, "closed_at": now}
    await connection.execute(insert_into(connection.dialect, closed_months).on_conflict_do_nothing(), [row])


async def invoiced(connection: AsyncConnection, customer_id: str, month: int, changes: int) -> None:
    """The closed month has its invoice, or costs nothing, unless something changed since `changes`."""
    this = (closed_months.c.customer_id == customer_id, closed_months.c.month == month)
    same = closed_months.c.changes == changes
    await connection.execute(update(closed_months).where(*this, same).values(invoiced=True))


async def to_be_drafted_again(connection: AsyncConnection, customer_id: str, months: Iterable[int]) -> None:
    """Something that the bill of these months depends on was changed; open ones have no invoice yet."""
    await connection.execute(
        update(closed_months)
        .where(closed_months.c.customer_id == customer_id, closed_months.c.month.in_(list(months)))
        .values(invoiced=False, changes=closed_months.c.changes + 1)
    )


async def closed_month(connection: AsyncConnection, customer_id: str, month: int) -> RowMapping | None:
    """A closed month; None: it is open."""
    query = select(closed_months).where(
        closed_months.c.customer_id == customer_id, closed_months.c.month == month
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def not_invoiced(connection: AsyncConnection) -> list[tuple[str, int]]:
    """Closed months whose invoice is missing or to be made again: customer, month."""
    query = select(closed_months.c.customer_id, closed_months.c.month).where(~closed_months.c.invoiced)
    rows = await connection.execute(query.order_by(closed_months.c.month, closed_months.c.customer_id))
    return [(row[0], row[1]) for row in rows]


async def without_invoice(connection: AsyncConnection, month: int) -> list[str]:
    """Customers whose month is closed, or is to be, and has no invoice yet."""
    done = exists().where(
        closed_months.c.customer_id == customers.c.id,
        closed_months.c.month == month,
        closed_months.c.invoiced,
    )
    query = select(customers.c.id).where(~done).order_by(customers.c.id)
    return list((await connection.execute(query)).scalars())


async def missed_months(connection: AsyncConnection, last: int) -> list[tuple[str, int]]:
    """Months before `last` that are not closed: customer, month, the oldest first.

    A customer's begin with the first one that has anything of it, or in which it was made, though no earlier
    than two years before.
    """
    found = await _not_closed(connection, last, ())
    return sorted(found, key=lambda one: (one[1], one[0]))


async def open_months(connection: AsyncConnection, customer_id: str, this: int) -> list[int]:
    """The months of a customer that are not closed, `this` one the last of them."""
    found = await _not_closed(connection, calendar.after(this), [customer_id])
    return [month for _, month in found]


async def _not_closed(connection: AsyncConnection, last: int, of: Sequence[str]) -> list[tuple[str, int]]:
    """Months before `last` that are not closed, of all customers or of some."""

    def theirs(query: Select[Any], column: Any) -> Select[Any]:
        return query.where(column.in_(of)) if of else query

    earliest = last - _MADE_YEARS * 100
    made = await connection.execute(theirs(select(customers.c.id, customers.c.created_at), customers.c.id))
    first = {customer_id: max(calendar.month_of(at), earliest) for customer_id, at in made}
    for table in (usage_sums, billing_entries):
        query = select(table.c.customer_id, func.min(table.c.month)).group_by(table.c.customer_id)
        for customer_id, month in await connection.execute(theirs(query, table.c.customer_id)):
            if customer_id in first:
                first[customer_id] = min(first[customer_id], month)
    query = select(closed_months.c.customer_id, closed_months.c.month).where(closed_months.c.month < last)
    rows = await connection.execute(theirs(query, closed_months.c.customer_id))
    closed = {(customer_id, month) for customer_id, month in rows}
    found: list[tuple[str, int]] = []
    for customer_id, month in first.items():
        while month < last:
            if (customer_id, month) not in closed:
                found.append((customer_id, month))
            month = calendar.after(month)  # noqa: PLW2901
    return found


async def owned_numbers(connection: AsyncConnection, customer_id: str) -> list[RowMapping]:
    """Every number that is or was a customer's: number, kind, pool, present owner, since when it is there."""
    ever = union(
        select(numbers.c.number).where(numbers.c.customer_id == customer_id),
        select(number_history.c.number).where(_OWNERSHIP, number_history.c.owner_id == customer_id),
    ).subquery()
    query = select(
        numbers.c.number,
        numbers.c.kind,
        numbers.c.pool_id,
        numbers.c.customer_id,
        numbers.c.state,
        numbers.c.state_at,
        numbers.c.created_at,
    ).where(numbers.c.number.in_(select(ever.c.number)))
    return list((await connection.execute(query.order_by(numbers.c.number))).mappings())


async def ownership(connection: AsyncConnection, customer_id: str) -> list[RowMapping]:
    """Every change of whose these numbers were, in order."""
    own = select(number_history.c.number).where(_OWNERSHIP, number_history.c.owner_id == customer_id)
    query = (
        select(
            number_history.c.number,
            number_history.c.at,
            number_history.c.owner_id,
            number_history.c.pool_id,
            number_history.c.to_state,
        )
        .where(_OWNERSHIP, number_history.c.number.in_(own))
        .order_by(number_history.c.number, number_history.c.at, number_history.c.seq)
    )
    return list((await connection.execute(query)).mappings())


async def pools_of_numbers(
    connection: AsyncConnection, wanted: Iterable[str]
) -> dict[str, tuple[str | None, str | None]]:
    """The pool of each of these numbers, and whose number it is (None: shared)."""
    query = select(numbers.c.number, numbers.c.pool_id, numbers.c.customer_id)
    rows = await connection.execute(query.where(numbers.c.number.in_(list(wanted))))
    return {row[0]: (row[1], row[2]) for row in rows}


async def pool_names(connection: AsyncConnection, customer_id: str, wanted: Iterable[str]) -> dict[str, str]:
    """The names of these pools, of those that the customer can see."""
    seen = or_(pools.c.customer_id.is_(None), pools.c.customer_id == customer_id)
    query = select(pools.c.id, pools.c.name).where(pools.c.id.in_(list(wanted)), seen)
    return {row[0]: row[1] for row in await connection.execute(query)}


# ---- one at a time


async def take_lease(connection: AsyncConnection, name: str, owner: str, now: int) -> bool:
    """Take or renew the right to do something for half a minute; tells whether it is the owner's."""
    into = insert_into(connection.dialect, leases).values(name=name, owner=owner, until=now + _WITH_RIGHT)
    taken = await connection.execute(
        into.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": into.excluded.owner, "until": into.excluded.until},
            where=or_(leases.c.owner == owner, leases.c.until <= now),
        ).returning(leases.c.name)
    )
    return taken.first() is not None


async def give_lease_back(connection: AsyncConnection, name: str, owner: str) -> None:
    """Let somebody else do it at once."""
    await connection.execute(leases.delete().where(and_(leases.c.name == name, leases.c.owner == owner)))
