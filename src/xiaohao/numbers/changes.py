"""The one way by which a number's state changes: checked, written to the history, told to its customer.

What bindings do to the numbers that they lend is written by the bindings' own statements, in whole sets.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.notifications.service import announce_numbers
from xiaohao.numbers import store
from xiaohao.numbers.lifecycle import TOLD, Change, NumberChanged, Reason, check
from xiaohao.numbers.model import Kind, NumberState, Verification
from xiaohao.secrecy import Vault


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes changes of numbers inside the transaction of a connection."""

    vault: Vault

    async def apply(self, connection: AsyncConnection, row: RowMapping, change: Change, now: int) -> None:
        """Carry out a change of the locked number in `row`.

        Raises Refusal: `number_retired`, `number_in_another_state`.
        """
        state = NumberState(row["state"])
        check(state, change.to, change.reason)
        values: dict[str, Any] = {
            "state": change.to.value,
            "state_reason": change.reason.value,
            "state_at": now,
            "suspended_until": row["suspended_until"] if state is change.to else None,
            **change.values,
            "updated_at": now,
        }
        await store.change(connection, row["number"], values)
        after = {**row, **values}
        was, is_now = _customer(row), _customer(after)
        if was is not None and is_now is not None and was != is_now:
            # The one who had it until now sees in its history where that ends.
            await self._write(connection, state, after, was, change)
        await self._write(connection, state, after, is_now or was, change)

    async def note(
        self, connection: AsyncConnection, row: RowMapping, reason: Reason, by: str | None
    ) -> None:
        """Write that something else has changed about the locked number, which `row` says already."""
        state = NumberState(row["state"])
        check(state, state, reason)
        await self._write(connection, state, {**row}, _customer(row), Change(state, reason, by))

    async def _write(
        self,
        connection: AsyncConnection,
        before: NumberState,
        after: dict[Any, Any],
        customer_id: str | None,
        change: Change,
    ) -> None:
        now = after["updated_at"]
        entry = {
            "number": after["number"],
            "at": now,
            "from_state": before.value,
            "to_state": change.to.value,
            "reason": change.reason.value,
            "changed_by": change.by,
            "note_sealed": None if change.note is None else self.vault.seal(change.note),
            "customer_id": customer_id,
            "person_key": after["assigned_to_key"],
            "person_sealed": after["assigned_to_sealed"],
            "owner_id": after["customer_id"],
            "pool_id": after["pool_id"],
        }
        seq = await store.add_history(connection, entry)
        if customer_id is not None and change.reason in TOLD:
            told = NumberChanged(
                seq=seq,
                at=now,
                number=after["number"],
                kind=Kind(after["kind"]),
                city=after["city"],
                pool_id=after["pool_id"],
                from_state=before,
                to_state=change.to,
                reason=change.reason,
                suspended_until=after["suspended_until"],
                verification=Verification(after["verification"]),
                verified_until=after["verified_until"],
            )
            await announce_numbers(connection, self.vault, [(told, customer_id)], now)


def _customer(row: Any) -> str | None:
    """Whom a change concerns: the owner, or of a shared number the customer whose person it serves."""
    customer_id: str | None = row["customer_id"] or row["assigned_by"]
    return customer_id
