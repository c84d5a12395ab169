"""What can be done with the inventory: numbers, their states, and whose X a number is.

Where a `customer_id` says who asks, None is the operator, who sees everything; what is not a customer's own
does not exist for that customer. `by` is the id of the key that asks, for the history; None: the platform.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.errors import conflict, validation_failed
from xiaohao.numbers import store
from xiaohao.numbers.intake import Fault, Known, differs, fault_of_shown, refuse, row_of, rows_of
from xiaohao.numbers.life import Life
from xiaohao.numbers.lifecycle import Change, Entry, Reason
from xiaohao.numbers.model import (
    DialledBy,
    Kind,
    Number,
    NumberSpec,
    NumberState,
    Verification,
    canonical,
)
from xiaohao.numbers.records import check_not_shown, check_unused, visible
from xiaohao.pools.service import Pools
from xiaohao.verifications.service import add_verified, pass_on

#: Numbers that one call of `add_numbers` takes.
BATCH_MAX: Final = 1000
#: what decides, when it changes, whether a number can be shown as another one
_OF_DISPLAY: Final = frozenset({"displayable", "displayed_as", "pool_id"})


class Numbers(Life):
    """The inventory of the platform's numbers. `clock` gives microseconds since the epoch."""

    async def add_numbers(self, specs: Sequence[NumberSpec], by: str | None = None) -> list[Number]:
        """Put numbers into the inventory, all of them or none; kind and city come from the number itself.

        A number that is there already just so is no error. Raises Refusal: `validation_failed`,
        `number_exists` (it is there otherwise), `number_is_a_person` (it is somebody's real number).
        """
        if len(specs) > BATCH_MAX:
            raise validation_failed("numbers", f"at most {BATCH_MAX} numbers at once")
        try:
            async with self._database.begin() as connection:
                known = await self._known(connection, specs)
                rows = rows_of(specs, known, self._clock())
                await self._add(connection, specs, rows, by)
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
        return self._number(visible(row, customer_id))

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
        carrier: str | None = None,
        verification: Verification | None = None,
        trunk_id: str | None = None,
    ) -> list[Number]:
        """At most `limit` numbers after `after`, in their own order, that fit the filters."""
        where = store.filters(
            customer_id=customer_id,
            pool_id=pool_id,
            state=state,
            kind=kind,
            city=city,
            carrier=carrier,
            verification=verification,
            trunk_id=trunk_id,
        )
        async with self._database.read() as connection:
            return [self._number(row) for row in await store.page(connection, after, limit, where)]

    async def history(
        self, number: str, before: int | None, limit: int, customer_id: str | None = None
    ) -> list[Entry]:
        """At most `limit` changes of a number, newest first, of those before the one with seq `before`.

        A customer sees those of the time in which the number was its own. Raises Refusal: `not_found`.
        """
        async with self._database.read() as connection:
            row = visible(await store.find(connection, canonical(number) or ""), customer_id)
            found = await store.page_history(connection, row["number"], before, limit, customer_id)
        return [self._entry(entry) for entry in found]

    async def change_number(self, number: str, values: dict[str, Any], by: str | None = None) -> Number:
        """Change what is said of a number: `trunk_id`, `carrier`, `city`, `displayable`, `displayed_as`,
        `dialled_by`, or `pool_id` (its customer becomes the pool's; only while no leg leads through it).

        Raises Refusal: `not_found`, `validation_failed`, `number_in_use`, `number_retired`,
        `number_in_another_state`, `number_shown`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            wanted = {**row, **values}
            spec = NumberSpec(
                number=row["number"],
                pool_id=wanted["pool_id"],
                trunk_id=wanted["trunk_id"],
                city=wanted["city"],
                carrier=wanted["carrier"],
                displayable=wanted["displayable"],
                displayed_as=wanted["displayed_as"],
                dialled_by=None if wanted["dialled_by"] is None else DialledBy(wanted["dialled_by"]),
            )
            checked = await self._checked(connection, spec, shown=not _OF_DISPLAY.isdisjoint(values))
            new = {name: checked[name] for name in values}
            moved = "pool_id" in values and checked["pool_id"] != row["pool_id"]
            passes = moved and checked["pool_id"] is not None and checked["customer_id"] != row["customer_id"]
            if passes or (row["displayable"] and not checked["displayable"]):
                await check_not_shown(connection, row)
            if not moved:
                return await self._written(connection, row, new)
            await check_unused(connection, row)
            if checked["pool_id"] is not None:
                new["customer_id"], new["routing"] = checked["customer_id"], None
                await pass_on(connection, row["number"], checked["customer_id"])
            change = Change(NumberState(row["state"]), Reason.MOVED, by, values=new)
            return await self._changed(connection, row, change)

    async def _known(self, connection: AsyncConnection, specs: Sequence[NumberSpec]) -> Known:
        pools = await Pools.held(connection, sorted({s.pool_id for s in specs if s.pool_id is not None}))
        customers = {s.customer_id for s in specs if s.customer_id is not None}
        trunks = {s.trunk_id for s in specs if s.trunk_id is not None}
        return Known(
            pools,
            await store.customers_among(connection, customers),
            await store.trunks_among(connection, trunks),
        )

    async def _checked(self, connection: AsyncConnection, spec: NumberSpec, *, shown: bool) -> dict[str, Any]:
        """The row of one number as `spec` has it; `shown`: what is shown in its place is looked at as well.

        Raises Refusal with the fields of one number.
        """
        known, now = await self._known(connection, [spec]), self._clock()
        row = row_of(spec, known, now)
        if not isinstance(row, Fault):
            displays = await self._displays(connection, [row])
            fault = fault_of_shown(row, displays, now) if shown else None
            if fault is None:
                return row
            row = fault
        raise validation_failed(row.field, row.detail)

    async def _add(
        self,
        connection: AsyncConnection,
        specs: Sequence[NumberSpec],
        rows: dict[str, dict[str, Any]],
        by: str | None,
    ) -> None:
        there = {row["number"]: row for row in await store.find_all(connection, list(rows))}
        for spec, (number, wanted) in zip(specs, rows.items(), strict=True):
            if number in there and differs(there[number], wanted, spec):
                detail = "The number is there already, and is said to be another one."
                raise conflict("number_exists", "Number exists", detail, number=number)
        new = [row for number, row in rows.items() if number not in there]
        keys = [self._vault.index(row["number"]) for row in new]
        if await store.people_among(connection, keys):
            raise conflict(
                "number_is_a_person",
                "Somebody's real number",
                "One of the numbers belongs to a person who is in a binding.",
            )
        if not new:
            return
        displays, now = await self._displays(connection, new), self._clock()
        faults = [
            (place, fault)
            for place, row in enumerate(rows.values())
            if row["number"] not in there and (fault := fault_of_shown(row, displays, now)) is not None
        ]
        refuse(faults, len(specs))
        await store.add(connection, new)
        await store.add_imports(connection, new, by)
        proofs = [
            (row["number"], row["customer_id"], spec.documents, spec.valid_until)
            for spec, row in zip(specs, rows.values(), strict=True)
            if spec.documents and row["number"] not in there
        ]
        await add_verified(connection, self._vault, proofs, now)

    @staticmethod
    async def _displays(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What `displayed_as` of these rows names, by number: in the database or among the rows."""
        among = {row["number"]: row for row in rows}
        wanted = {row["displayed_as"] for row in rows if row["displayed_as"] is not None}
        there = await store.find_all(connection, sorted(wanted - among.keys()))
        return {row["number"]: row for row in there} | {n: among[n] for n in wanted & among.keys()}
