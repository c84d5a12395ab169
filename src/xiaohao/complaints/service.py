"""What can be done with complaints.

Where a `customer_id` says who asks, None is the operator, who sees everything.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import RowMapping

from xiaohao.clock import SECOND, now_us
from xiaohao.complaints import store
from xiaohao.complaints.model import Complaint, Source
from xiaohao.database.engine import Database
from xiaohao.errors import not_found, validation_failed
from xiaohao.ids import ordered_id
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import USABLE_STATES, NumberState, canonical
from xiaohao.numbers.service import Numbers
from xiaohao.secrecy import Vault


class Complaints:
    """Complaints about numbers. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._numbers = Numbers(database, vault, clock)

    async def add(
        self,
        number: str,
        source: Source = Source.OPERATOR,
        at: int | None = None,
        note: str | None = None,
        customer_id: str | None = None,
        by: str | None = None,
    ) -> Complaint:
        """Write a complaint down, made at the moment `at` (None: now).

        When there are as many as the policy of the number's pool bears within its time of rest, the number is
        suspended until so long after the last of them. Raises Refusal: `not_found`, `validation_failed`.
        """
        now = self._clock()
        moment = now if at is None else at
        if moment > now:
            raise validation_failed("at", "is still to come")
        async with self._database.shared() as connection:
            row = await store.number_and_policy(connection, canonical(number) or "")
            if row is None or customer_id not in (None, row["customer_id"]):
                raise not_found("number")
            complaint = Complaint(
                ordered_id("cmp"), row["number"], row["customer_id"], moment, source, note, now
            )
            values = {name: getattr(complaint, name) for name in Complaint.__dataclass_fields__}
            del values["note"]
            sealed = None if note is None else self._vault.seal(note)
            await store.add(connection, {**values, "source": source.value, "note_sealed": sealed})
            if row["complaints_limit"] is not None:
                rest = row["complaint_rest_s"] * SECOND
                count, last = await store.count_since(connection, row["number"], now - rest)
                if count >= row["complaints_limit"] and _may_rest(row, last + rest, now):
                    await self._numbers.suspend(row["number"], Reason.COMPLAINT, last + rest, by)
        return complaint

    async def page(
        self, after: str, limit: int, customer_id: str | None = None, number: str | None = None
    ) -> list[Complaint]:
        """At most `limit` complaints whose ids come after `after`."""
        wanted = None if number is None else canonical(number) or ""
        async with self._database.read() as connection:
            rows = await store.page(connection, after, limit, customer_id, wanted)
        return [self._complaint(row) for row in rows]

    def _complaint(self, row: RowMapping) -> Complaint:
        values: dict[str, Any] = {**row, "source": Source(row["source"])}
        sealed = values.pop("note_sealed")
        return Complaint(**values, note=None if sealed is None else self._vault.open(sealed))


def _may_rest(row: RowMapping, until: int, now: int) -> bool:
    # What is suspended for longer, or without an end, stays so.
    if row["state"] == NumberState.SUSPENDED:
        return row["suspended_until"] is not None and row["suspended_until"] < until
    return until > now and row["state"] in USABLE_STATES
