"""What can be done with pools.

Where a `customer_id` says who asks, None is the operator, who sees everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.numbers.model import is_area_code
from xiaohao.pools import store
from xiaohao.pools.model import DAY_S, CityRule, Policy, Pool, columns_of, policy_of, pool_of
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

LONGEST_S: Final = 366 * DAY_S
CITIES_MAX: Final = 400
COUNT_MAX: Final = 1_000_000


class Pools:
    """The pools of the platform's numbers. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock
        self._tenants = Tenants(database, vault, clock)

    async def create(self, name: str, policy: Policy, customer_id: str | None = None) -> Pool:
        """A new pool of a customer, or (None) one that all customers share.

        Raises Refusal: `not_found`, `validation_failed`.
        """
        _check(policy)
        if customer_id is not None:
            await self._tenants.get_customer(customer_id)
        now = self._clock()
        pool = Pool(new_id("pool"), customer_id, name, policy, now, now)
        row = {
            "id": pool.id,
            "customer_id": customer_id,
            "name": name,
            **columns_of(policy),
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.begin() as connection:
            await store.add(connection, row)
        return pool

    async def change(
        self, pool_id: str, *, name: str | None = None, policy: dict[str, Any] | None = None
    ) -> Pool:
        """Rename a pool (None: no), or change the fields of its policy that are named.

        What rests or is bound already stays as it is. Raises Refusal: `not_found`, `validation_failed`,
        `pool_has_other_numbers` (a number in it would not fit any more).
        """
        async with self._database.begin() as connection:
            row = _visible(await store.find(connection, pool_id, lock=True), None)
            old = policy_of(row)
            new = replace(old, **(policy or {}))
            _check(new)
            stranger = await store.number_that_does_not_fit(
                connection, pool_id, None if new.kind is None else new.kind.value, new.cities
            )
            if stranger is not None:
                raise conflict(
                    "pool_has_other_numbers",
                    "The pool has other numbers",
                    "A number in the pool is of another kind or city.",
                    number=stranger,
                )
            values = {"name": row["name"] if name is None else name, **columns_of(new)}
            await store.change(connection, pool_id, {**values, "updated_at": self._clock()})
            return pool_of(_visible(await store.find(connection, pool_id), None))

    async def get(self, pool_id: str, customer_id: str | None = None) -> Pool:
        """One pool: the customer's own or a shared one. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            return pool_of(_visible(await store.find(connection, pool_id), customer_id))

    async def page(self, after: str, limit: int, customer_id: str | None = None) -> list[Pool]:
        """At most `limit` pools whose ids come after `after`: the customer's own and the shared ones."""
        async with self._database.read() as connection:
            return [pool_of(row) for row in await store.page(connection, customer_id, after, limit)]

    @staticmethod
    async def held(connection: AsyncConnection, pool_ids: Sequence[str]) -> dict[str, Pool]:
        """Those of the pools that are there; they stay as they are until the end of the transaction."""
        found = await store.find_all(connection, pool_ids, lock=True)
        return {pool_id: pool_of(row) for pool_id, row in found.items()}


def _visible(row: RowMapping | None, customer_id: str | None) -> RowMapping:
    if row is None or (customer_id is not None and row["customer_id"] not in (None, customer_id)):
        raise not_found("pool")
    return row


def _check(policy: Policy) -> None:
    limits = (
        ("recycle_s", policy.recycle_s, 0, LONGEST_S),
        ("grace_s", policy.grace_s, 0, LONGEST_S),
        ("max_relations", policy.max_relations, 1, COUNT_MAX),
        ("complaints_limit", policy.complaints_limit, 1, COUNT_MAX),
        ("complaint_rest_s", policy.complaint_rest_s, 1, LONGEST_S),
    )
    for name, value, least, most in limits:
        if value is not None and not least <= value <= most:
            raise validation_failed(name, f"must be between {least} and {most}")
    if policy.grace_s > policy.recycle_s:
        raise validation_failed("grace_s", "cannot be longer than recycle_s")
    for name, cities in (("cities", policy.cities), ("fallback_cities", policy.fallback_cities)):
        _check_cities(name, cities)
    if policy.fallback_cities is not None and policy.city_rule is not CityRule.NEAREST:
        raise validation_failed("fallback_cities", "are tried only where city_rule is nearest")
    if (policy.complaints_limit is None) != (policy.complaint_rest_s is None):
        raise validation_failed("complaint_rest_s", "goes together with complaints_limit: give both or none")


def _check_cities(name: str, cities: tuple[str, ...] | None) -> None:
    if cities is None:
        return
    if not 1 <= len(cities) <= CITIES_MAX or len(set(cities)) < len(cities):
        raise validation_failed(name, f"must be 1 to {CITIES_MAX} different area codes, or null")
    for city in cities:
        if not is_area_code(city):
            raise validation_failed(name, "must be area codes without their 0, such as 10 or 755")
