"""What the services of billing look up before they can reckon: terms, numbers, entries of a month."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import store, terms
from xiaohao.billing.model import Entry, Tenure
from xiaohao.billing.tenure import tenures_of
from xiaohao.billing.terms import ServiceItem, Terms

_AT_ONCE: Final = 500


class InForce(msgspec.Struct, frozen=True):
    """The terms of a customer's month; `contract_id` None: the standard tariff."""

    contract_id: str | None
    terms: Terms


@lru_cache(maxsize=4096)
def _terms(document: str) -> Terms:
    return terms.read(document)


@lru_cache(maxsize=1)
def standard() -> Terms:
    """The standard tariff."""
    return terms.standard()


def in_force_of(row: Mapping[Any, Any] | None) -> InForce:
    """The terms of a row of `contracts`."""
    return InForce(None, standard()) if row is None else InForce(row["id"], _terms(row["terms"]))


async def in_force(connection: AsyncConnection, customer_id: str, month: int) -> InForce:
    """The contract that holds in a month."""
    return in_force_of(await store.contract(connection, customer_id, month))


class Contracts:
    """The contracts of some customers, so that many calls can be measured without asking each time."""

    def __init__(self, rows: Iterable[Mapping[Any, Any]]) -> None:
        self._of: dict[str, list[Mapping[Any, Any]]] = {}
        for row in rows:
            self._of.setdefault(row["customer_id"], []).append(row)

    def in_force(self, customer_id: str, month: int) -> InForce:
        """As `in_force` above."""
        rows = [
            row
            for row in self._of.get(customer_id, ())
            if row["from_month"] <= month and (row["to_month"] is None or row["to_month"] >= month)
        ]
        return in_force_of(rows[-1] if rows else None)


async def tenures(connection: AsyncConnection, customer_id: str) -> list[Tenure]:
    """The numbers that are or were a customer's."""
    return tenures_of(
        customer_id,
        await store.owned_numbers(connection, customer_id),
        await store.ownership(connection, customer_id),
    )


async def entries(connection: AsyncConnection, customer_id: str, month: int) -> list[Entry]:
    """What was entered by hand for a month."""
    return [entry_of(row) for row in await store.entries_of(connection, customer_id, month)]


def entry_of(row: Mapping[Any, Any]) -> Entry:
    """An entry of its row."""
    return Entry(
        row["id"], ServiceItem(row["item"]), Decimal(row["quantity"]), Decimal(row["price"]), row["note"]
    )


def application_of(
    pools: Mapping[str, tuple[str | None, str | None]], number: str, customer_id: str
) -> str | None:
    """The application of a number (see `store.pools_of_numbers`), unless it is another customer's by now."""
    pool, owner = pools.get(number, (None, None))
    return pool if owner in (None, customer_id) else None


async def applications(
    connection: AsyncConnection, customer_id: str, numbers: Sequence[str]
) -> dict[str, str | None]:
    """The present applications of numbers."""
    found: dict[str, str | None] = {}
    for first in range(0, len(numbers), _AT_ONCE):
        wanted = numbers[first : first + _AT_ONCE]
        pools = await store.pools_of_numbers(connection, wanted)
        found.update((number, application_of(pools, number, customer_id)) for number in wanted)
    return found


def pools_in(found: Sequence[str | None]) -> set[str]:
    """Those that are there."""
    return {one for one in found if one is not None}
