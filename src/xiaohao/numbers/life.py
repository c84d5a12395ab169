"""What happens to a number in its life: it is assigned, suspended, resumed, shelved, retired.

`by` is the id of the key that asks, for the history; None: the platform itself.
"""

from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.errors import conflict, validation_failed
from xiaohao.numbers import store
from xiaohao.numbers.lifecycle import SUSPENSIONS, Change, Reason, retired
from xiaohao.numbers.model import PERSONAL_STATES, USABLE_STATES, Number, NumberState, canonical, is_proven
from xiaohao.numbers.records import Records, check_not_shown, check_unused

#: suspensions ended in one transaction of the sweep
_SWEPT_AT_ONCE: Final = 200


class Life(Records):
    """The part of the inventory that changes states."""

    async def assign(self, number: str, person: str, customer_id: str, by: str | None = None) -> Number:
        """Make a number the fixed X of one person of a customer, until `unassign`; again is no error.

        Raises Refusal: `not_found`, `number_taken`, `number_not_in_service`, `number_not_verified`,
        `validation_failed`.
        """
        real = canonical(person)
        if real is None:
            raise validation_failed("person", "is not a telephone number that the platform knows how to dial")
        key, now = self._vault.index(real), self._clock()
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, customer_id)
            if await store.find(connection, real) is not None:
                raise validation_failed("person", "is a number of the platform, not of a person")
            if row["state"] not in USABLE_STATES:
                detail = f"The number is {row['state']}."
                raise conflict("number_not_in_service", "Number not in service", detail)
            if not is_proven(row["verification"], row["verified_until"], now):
                detail = "The real name behind this number has not been verified."
                raise conflict("number_not_verified", "Number not verified", detail)
            if row["assigned_to_key"] is not None and row["assigned_to_key"] != key:
                raise conflict("number_taken", "Number taken", "The number is another person's.")
            if row["assigned_to_key"] is None and (await store.legs_through(connection, row["number"])).any:
                detail = "People dial the number to reach somebody else, or did a short while ago."
                raise conflict("number_taken", "Number taken", detail)
            values = {
                "assigned_to_key": key,
                "assigned_to_sealed": row["assigned_to_sealed"] or self._vault.seal(real),
                "assigned_by": customer_id,
                "fixed": True,
            }
            if row["state"] == NumberState.IN_SERVICE:
                return await self._written(connection, row, values)
            change = Change(NumberState.IN_SERVICE, Reason.ASSIGNED, by, values=values)
            return await self._changed(connection, row, change)

    async def unassign(self, number: str, customer_id: str | None = None, by: str | None = None) -> Number:
        """Take a fixed X away from its person: at once, or when its last binding and quarantine are over.

        Raises Refusal: `not_found`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, customer_id)
            if row["assigned_to_key"] is None:
                return self._number(row)
            legs = await store.legs_through(connection, row["number"])
            state = NumberState(row["state"])
            values: dict[str, Any] = {"fixed": False}
            if legs.to_its_person:
                if legs.live_to_its_person or state is not NumberState.IN_SERVICE:
                    return await self._written(connection, row, values)
                state = NumberState.AGEING
            else:
                values |= {"assigned_to_key": None, "assigned_to_sealed": None, "assigned_by": None}
                if state in PERSONAL_STATES:
                    state = NumberState.AVAILABLE
            reason = Reason.RECYCLE_OVER if row["state"] == NumberState.AGEING else Reason.RETURNED
            return await self._changed(connection, row, Change(state, reason, by, values=values))

    async def suspend(
        self,
        number: str,
        reason: Reason = Reason.OPERATOR,
        until: int | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> Number:
        """Neither allocate nor display a number until `until`, or until `resume`; the same again is no error.

        Raises Refusal: `not_found`, `number_retired`, `number_in_another_state`, `validation_failed`.
        """
        if reason not in SUSPENSIONS:
            raise validation_failed("reason", "is not what a number is suspended for")
        if until is not None and until <= self._clock():
            raise validation_failed("until", "is over already")
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if (row["state"], row["state_reason"], row["suspended_until"]) == (
                NumberState.SUSPENDED,
                reason,
                until,
            ):
                return self._number(row)
            change = Change(NumberState.SUSPENDED, reason, by, note, {"suspended_until": until})
            return await self._changed(connection, row, change)

    async def resume(self, number: str, by: str | None = None, note: str | None = None) -> Number:
        """Undo `suspend`; a number that is not suspended stays as it is.

        Raises Refusal: `not_found`, `number_retired`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if row["state"] == NumberState.RETIRED:
                raise retired()
            if row["state"] != NumberState.SUSPENDED:
                return self._number(row)
            return await self._resumed(connection, row, Reason.RESUMED, by, note)

    async def retire(self, number: str, by: str | None = None, note: str | None = None) -> Number:
        """Take a number out of use for good; again is no error.

        Raises Refusal: `not_found`, `number_shown`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if row["state"] == NumberState.RETIRED:
                return self._number(row)
            await check_not_shown(connection, row)
            return await self._changed(connection, row, Change(NumberState.RETIRED, Reason.RETIRED, by, note))

    async def take_to_stock(self, number: str, by: str | None = None, note: str | None = None) -> Number:
        """Put a number that nobody uses back on the shelf; again is no error.

        Raises Refusal: `not_found`, `number_retired`, `number_in_another_state`, `number_in_use`,
        `number_shown`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if row["state"] == NumberState.IN_STOCK:
                return self._number(row)
            await check_unused(connection, row)
            await check_not_shown(connection, row)
            return await self._changed(
                connection, row, Change(NumberState.IN_STOCK, Reason.TAKEN_TO_STOCK, by, note)
            )

    async def release(self, number: str, by: str | None = None, note: str | None = None) -> Number:
        """Take a number from the shelf into use; again is no error.

        Raises Refusal: `not_found`, `number_retired`, `number_in_another_state`.
        """
        async with self._database.begin() as connection:
            row = await self._locked(connection, number, None)
            if row["state"] in USABLE_STATES:
                return self._number(row)
            return await self._changed(
                connection, row, Change(NumberState.AVAILABLE, Reason.RELEASED_TO_POOL, by, note)
            )

    async def sweep(self, now: int | None = None) -> int:
        """Resume the numbers whose suspension has come to its end; says how many.

        Any number of processes may do so at once.
        """
        moment, total = self._clock() if now is None else now, 0
        while True:
            async with self._database.begin() as connection:
                rows = await store.suspensions_over(connection, moment, _SWEPT_AT_ONCE)
                for row in rows:
                    await self._resumed(connection, row, Reason.SUSPENSION_OVER, None, None)
            total += len(rows)
            if len(rows) < _SWEPT_AT_ONCE:
                return total

    async def _resumed(
        self, connection: AsyncConnection, row: RowMapping, reason: Reason, by: str | None, note: str | None
    ) -> Number:
        state = NumberState.AVAILABLE
        if row["assigned_to_key"] is not None:
            legs = await store.legs_through(connection, row["number"])
            personal = row["fixed"] or legs.live_to_its_person
            state = NumberState.IN_SERVICE if personal else NumberState.AGEING
        return await self._changed(connection, row, Change(state, reason, by, note))
