"""For how long CDRs are kept: as long as the platform says, or as a customer's own number of days says.

A CDR goes with its corrections, so many days after the call arrived. What was charged of it stays in the
usages and invoices, and its digest stays; its events and its recording have times of their own.
"""

from collections.abc import Callable
from typing import Final

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.calls import retention_store, search_store
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import not_found
from xiaohao.tenants.model import Principal

_DAY: Final = 86_400 * SECOND
#: one transaction; a call's CDR must not wait long for its turn
_AT_ONCE: Final = 500


class Retention:
    """Says how long CDRs are kept, and forgets the older ones. `days`: of the platform, 0 for ever."""

    def __init__(
        self, database: Database, audit: Audit, days: int, clock: Callable[[], int] = now_us
    ) -> None:
        self._database = database
        self._audit = audit
        self.days = days
        self._clock = clock

    async def of(self, customer_id: str) -> int | None:
        """A customer's own number of days, None where it has none. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            if not await retention_store.has_customer(connection, customer_id):
                raise not_found("customer")
            return (await retention_store.all_of(connection)).get(customer_id)

    async def put(self, principal: Principal, customer_id: str, days: int | None) -> None:
        """Keep a customer's CDRs so many days, None: as the platform does. Raises Refusal: `not_found`."""
        async with self._database.begin() as connection:
            if not await retention_store.has_customer(connection, customer_id):
                raise not_found("customer")
            await retention_store.put(connection, customer_id, days, self._clock())
            details = {"customer_id": customer_id, "days": days}
            await self._audit.record(connection, principal, Action.KEEP_CDRS, details=details)

    async def forget_old(self) -> int:
        """Delete every CDR whose time is over; gives how many. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            own = await retention_store.all_of(connection)
        forgotten = 0
        for customer_id, days in own.items():
            if days:
                forgotten += await self._forget(days, customer_id, [])
        if self.days:
            forgotten += await self._forget(self.days, None, sorted(own))
        return forgotten

    async def _forget(self, days: int, customer_id: str | None, others: list[str]) -> int:
        before, forgotten = self._clock() - days * _DAY, 0
        while True:
            async with self._database.read() as connection:
                seqs = await search_store.old_ones(connection, before, _AT_ONCE, customer_id, others)
            if seqs:
                async with self._database.begin() as connection:
                    await search_store.forget(connection, seqs)
            forgotten += len(seqs)
            if len(seqs) < _AT_ONCE:
                return forgotten
