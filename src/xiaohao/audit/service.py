"""What can be done with the audit log: write an entry beside what it tells of, and read it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit import store
from xiaohao.audit.model import Action, Entry, Filter
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault, masked
from xiaohao.tenants.model import Principal


class Audit:
    """The audit log of the platform. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def record(
        self,
        connection: AsyncConnection,
        principal: Principal,
        action: Action,
        *,
        number: str | None = None,
        person: str | None = None,
        thing: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what `principal` does, in the transaction of what it does: both stand or neither.

        `number` is a platform number, shown as it is; `person` a real one, shown masked and kept sealed;
        `thing` the id of something else.
        `details` are JSON values; they are kept sealed, because a person's words may name a number.
        """
        secret = person if number is None else None
        plain = number or thing
        await store.add(
            connection,
            {
                "at": self._clock(),
                "key_id": principal.key_id,
                "customer_id": principal.customer_id,
                "action": action.value,
                "subject": plain or (None if secret is None else masked(secret)),
                "subject_key": None if secret is None else self._vault.index(secret),
                "subject_sealed": None if secret is None else self._vault.seal(secret),
                "details_sealed": self._vault.seal(msgspec.json.encode(details or {}).decode()),
            },
        )

    async def page(
        self, customer_id: str | None, before: int | None, limit: int, wanted: Filter
    ) -> list[Entry]:
        """At most `limit` entries, the newest first, of those written before the one with seq `before`.

        `customer_id` says who asks: a customer sees what its own keys did, the operator (None) everything.
        """
        async with self._database.read() as connection:
            rows = await store.page(connection, before, limit, store.filters(customer_id, wanted))
        return [self._entry(row) for row in rows]

    def _entry(self, row: RowMapping) -> Entry:
        details = self._vault.open(row["details_sealed"]) if row["details_sealed"] else "{}"
        return Entry(
            seq=row["seq"],
            at=row["at"],
            key_id=row["key_id"],
            customer_id=row["customer_id"],
            action=row["action"],
            subject=row["subject"],
            details=msgspec.json.decode(details),
        )
