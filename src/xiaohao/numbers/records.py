"""What every part of the inventory needs: a number found and locked, changed, and shown."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found
from xiaohao.numbers import store
from xiaohao.numbers.changes import Changes
from xiaohao.numbers.lifecycle import Change, Entry, Reason
from xiaohao.numbers.model import (
    PERSONAL_STATES,
    DialledBy,
    Kind,
    Number,
    NumberState,
    Verification,
    canonical,
)
from xiaohao.secrecy import Vault


class Records:
    """Access to the numbers of one database. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._changes = Changes(vault)

    async def _locked(self, connection: AsyncConnection, number: str, customer_id: str | None) -> RowMapping:
        return visible(await store.find(connection, canonical(number) or "", lock=True), customer_id)

    async def _changed(self, connection: AsyncConnection, row: RowMapping, change: Change) -> Number:
        """Carry out a change of state."""
        await self._changes.apply(connection, row, change, self._clock())
        return self._number(visible(await store.find(connection, row["number"]), None))

    async def _written(self, connection: AsyncConnection, row: RowMapping, values: dict[str, Any]) -> Number:
        """Overwrite columns that have nothing to do with states."""
        await store.change(connection, row["number"], {**values, "updated_at": self._clock()})
        return self._number(visible(await store.find(connection, row["number"]), None))

    def _number(self, row: RowMapping) -> Number:
        sealed = row["assigned_to_sealed"]
        return Number(
            number=row["number"],
            kind=Kind(row["kind"]),
            city=row["city"],
            carrier=row["carrier"],
            state=NumberState(row["state"]),
            state_reason=row["state_reason"],
            state_at=row["state_at"],
            suspended_until=row["suspended_until"],
            displayable=row["displayable"],
            displayed_as=row["displayed_as"],
            dialled_by=DialledBy(row["dialled_by"]),
            verification=Verification(row["verification"]),
            verified_until=row["verified_until"],
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

    def _entry(self, row: RowMapping) -> Entry:
        sealed, note = row["person_sealed"], row["note_sealed"]
        return Entry(
            seq=row["seq"],
            at=row["at"],
            from_state=None if row["from_state"] is None else NumberState(row["from_state"]),
            to_state=NumberState(row["to_state"]),
            reason=Reason(row["reason"]),
            changed_by=row["changed_by"],
            note=None if note is None else self._vault.open(note),
            customer_id=row["customer_id"],
            person=None if sealed is None else self._vault.open(sealed),
        )


def visible(row: RowMapping | None, customer_id: str | None) -> RowMapping:
    """The row of a number, if it is there for this customer. Raises Refusal: `not_found`."""
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("number")
    return row


async def check_not_shown(connection: AsyncConnection, row: RowMapping) -> None:
    """Raises Refusal: `number_shown` where the number stands on displays in place of another one."""
    if await store.is_shown_for_another(connection, row["number"]):
        detail = "The number is displayed in place of another: change `displayed_as` of those numbers first."
        raise conflict("number_shown", "Number shown in place of another", detail)


async def check_unused(connection: AsyncConnection, row: RowMapping) -> None:
    """Raises Refusal: `number_in_use` where the number is somebody's, or a leg leads through it."""
    legs = await store.legs_through(connection, row["number"])
    if row["assigned_to_key"] is not None or legs.any or row["state"] in PERSONAL_STATES:
        raise conflict(
            "number_in_use", "Number in use", "The number is a person's, or people dial it, or did lately."
        )
