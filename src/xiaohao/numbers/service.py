"""What can be done with the inventory: numbers, their states, and whose X a number is.

Where a `customer_id` says who asks, None is the operator, who sees everything; what is not a customer's own
does not exist for that customer.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.numbers import store
from xiaohao.numbers.intake import rows_of
from xiaohao.numbers.model import (
    USABLE_STATES,
    Kind,
    Number,
    NumberSpec,
    NumberState,
    canonical,
)
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants
from xiaohao.trunks.service import Trunks

#: Numbers that one call of `add_numbers` takes.
BATCH_MAX: Final = 1000


class Numbers:
    """The inventory of the platform's numbers. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._tenants = Tenants(database, vault, clock)
        self._trunks = Trunks(database, vault)

    async def add_numbers(self, specs: Sequence[NumberSpec]) -> list[Number]:
        """Put numbers into the inventory, all of them or none; kind and city come from the number itself.

        A number that is there already just so is no error. Raises Refusal: `validation_failed`,
        `number_exists` (it is there otherwise), `number_is_a_person` (it is somebody's real number).
        """
        if len(specs) > BATCH_MAX:
            raise validation_failed("numbers", f"at most {BATCH_MAX} numbers at once")
        await self._check_references(specs)
        now = self._clock()
        try:
            async with self._database.begin() as connection:
                wanted = [spec.pool_id for spec in specs if spec.pool_id]
                pools = await Pools.held(connection, wanted)
                rows = rows_of(specs, pools, now)
                await self._add(connection, rows)
                found = await store.find_all(connection, list(rows))
        except IntegrityError:
            detail = "A number was added by somebody else just now."
            raise conflict("number_exists", "Number exists", detail) from None
        by_number = {row["number"]: self._number(row) for row in found}
        return [by_number[number] for number in rows]

    async def get_number(self, number: str, customer_id: str | None = None) -> Number:
        """One number, in any spelling. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, canonical(number) or "")
        return self._number(_visible(row, customer_id))

    async def page_numbers(
        self,
        after: str,
        limit: int,
        *,
        customer_id: str | None = None,
        pool_id: str | None = None,
        state: NumberState | None = None,
        kind: Kind | None = None,
        city: str | None = None,
        trunk_id: str | None = None,
    ) -> list[Number]:
        """At most `limit` numbers after `after`, in their own order, that fit the filters."""
        where = store.filters(
            customer_id=customer_id, pool_id=pool_id, state=state, kind=kind, city=city, trunk_id=trunk_id
        )
        async with self._database.read() as connection:
            return [self._number(row) for row in await store.page(connection, after, limit, where)]

    async def assign(self, number: str, person: str, customer_id: str) -> Number:
        """Make a number the fixed X of one person of a customer, until `unassign`; again is no error.

        Raises Refusal: `not_found`, `number_taken`, `number_not_in_service`, `validation_failed`.
        """
        real = canonical(person)
        if real is None:
            raise validation_failed("person", "is not a telephone number that the platform knows how to dial")
        key = self._vault.index(real)
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, customer_id)
            if await store.find(connection, real) is not None:
                raise validation_failed("person", "is a number of the platform, not of a person")
            if row["state"] not in USABLE_STATES:
                detail = f"The number is {row['state']}."
                raise conflict("number_not_in_service", "Number not in service", detail)
            if row["assigned_to_key"] is not None and row["assigned_to_key"] != key:
                raise conflict("number_taken", "Number taken", "The number is another person's.")
            values = {
                "assigned_to_key": key,
                "assigned_to_sealed": row["assigned_to_sealed"] or self._vault.seal(real),
                "assigned_by": customer_id,
                "fixed": True,
                "state": NumberState.IN_SERVICE.value,
            }
            return await self._changed(connection, row["number"], values)

    async def unassign(self, number: str, customer_id: str | None = None) -> Number:
        """Take a fixed X away from its person: at once, or when its last binding and quarantine are over.

        Raises Refusal: `not_found`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, customer_id)
            values: dict[str, Any] = {"fixed": False}
            if not await store.is_dialled_by_callers_of_its_person(connection, row["number"]):
                values |= {"assigned_to_key": None, "assigned_to_sealed": None, "assigned_by": None}
                if row["state"] == NumberState.IN_SERVICE:
                    values["state"] = NumberState.AVAILABLE.value
            return await self._changed(connection, row["number"], values)

    async def suspend(self, number: str) -> Number:
        """Neither allocate nor display a number until `resume`; again is no error.

        Raises Refusal: `not_found`, `number_retired`.
        """
        return await self._set_state(number, NumberState.SUSPENDED)

    async def resume(self, number: str) -> Number:
        """Undo `suspend`. Raises Refusal: `not_found`, `number_retired`."""
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            _check_not_retired(row)
            await store.resume(connection, row["number"], self._clock())
            return self._number(_visible(await store.find(connection, row["number"]), None))

    async def retire(self, number: str) -> Number:
        """Take a number out of use for good; again is no error. Raises Refusal: `not_found`."""
        return await self._set_state(number, NumberState.RETIRED)

    async def set_trunk(self, number: str, trunk_id: str | None) -> Number:
        """Say which trunk owns a number. Raises Refusal: `not_found`, `validation_failed`."""
        await self._check_trunk(trunk_id)
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            return await self._changed(connection, row["number"], {"trunk_id": trunk_id})

    async def _check_references(self, specs: Sequence[NumberSpec]) -> None:
        for customer_id in {spec.customer_id for spec in specs if spec.customer_id is not None}:
            try:
                await self._tenants.get_customer(customer_id)
            except Refusal:
                raise validation_failed("customer_id", "there is no such customer") from None
        for trunk_id in {spec.trunk_id for spec in specs}:
            await self._check_trunk(trunk_id)

    async def _check_trunk(self, trunk_id: str | None) -> None:
        if trunk_id is None:
            return
        try:
            await self._trunks.get(trunk_id)
        except Refusal:
            raise validation_failed("trunk_id", "there is no such trunk") from None

    async def _add(self, connection: AsyncConnection, rows: dict[str, dict[str, Any]]) -> None:
        there = {row["number"]: row for row in await store.find_all(connection, list(rows))}
        for number, row in there.items():
            if any(row[name] != rows[number][name] for name in ("customer_id", "pool_id", "trunk_id")):
                detail = "The number is there already, with another customer, pool or trunk."
                raise conflict("number_exists", "Number exists", detail, number=number)
        new = [row for number, row in rows.items() if number not in there]
        keys = [self._vault.index(row["number"]) for row in new]
        if await store.people_among(connection, keys):
            raise conflict(
                "number_is_a_person",
                "Somebody's real number",
                "One of the numbers belongs to a person who is in a binding.",
            )
        if new:
            await store.add(connection, new)

    async def _locked(self, connection: AsyncConnection, number: str, customer_id: str | None) -> RowMapping:
        return _visible(await store.find(connection, canonical(number) or "", lock=True), customer_id)

    async def _changed(self, connection: AsyncConnection, number: str, values: dict[str, Any]) -> Number:
        await store.change(connection, number, {**values, "updated_at": self._clock()})
        return self._number(_visible(await store.find(connection, number), None))

    async def _set_state(self, number: str, state: NumberState) -> Number:
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if state is not NumberState.RETIRED:
                _check_not_retired(row)
            return await self._changed(connection, row["number"], {"state": state.value})

    def _number(self, row: RowMapping) -> Number:
        sealed = row["assigned_to_sealed"]
        return Number(
            number=row["number"],
            kind=Kind(row["kind"]),
            city=row["city"],
            state=NumberState(row["state"]),
            customer_id=row["customer_id"],
            pool_id=row["pool_id"],
            trunk_id=row["trunk_id"],
            assigned_to=None if sealed is None else self._vault.open(sealed),
            assigned_by=row["assigned_by"],
            fixed=row["fixed"],
            last_used_at=row["last_used_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


def _visible(row: RowMapping | None, customer_id: str | None) -> RowMapping:
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("number")
    return row


def _check_not_retired(row: RowMapping) -> None:
    if row["state"] == NumberState.RETIRED:
        raise conflict("number_retired", "Number retired", "A retired number does not come back.")
