"""What customers and the operator can learn of calls, and the one thing that they can do with a live one.

Where a `customer_id` says who asks, None is the operator, who sees everything; what is not a customer's own
does not exist for that customer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping

from xiaohao.calls import store
from xiaohao.calls.model import HANG_UP, Call, Reason, State
from xiaohao.calls.wire import cdr_document
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.horizon import horizon
from xiaohao.database.schema import cdrs
from xiaohao.errors import conflict, not_found
from xiaohao.secrecy import Vault


@dataclass(frozen=True, slots=True)
class CdrFilter:
    """Which CDRs; each field that is not None must hold. Moments in microseconds, of the calls' arrival.

    `number` is a canonical platform number, `person` the canonical real number of the caller or callee.
    """

    since: int | None = None
    until: int | None = None
    number: str | None = None
    person: str | None = None
    binding_id: str | None = None
    reason: Reason | None = None
    #: for the operator: one customer's
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cdr:
    """A CDR's document and its place: `seq` grows in the order of writing."""

    seq: int
    document: dict[str, Any]


class CallRecords:
    """Reads live calls and CDRs."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def page_live(
        self,
        customer_id: str | None,
        after: str,
        limit: int,
        *,
        state: State | None = None,
        binding_id: str | None = None,
    ) -> list[Call]:
        """At most `limit` calls in progress whose ids come after `after`, the oldest first."""
        async with self._database.read() as connection:
            return await store.page_live_calls(
                connection,
                self._vault,
                after,
                limit,
                customer_id=customer_id,
                state=state,
                binding_id=binding_id,
            )

    async def live(self, customer_id: str | None, call_id: str) -> Call:
        """One call in progress. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            call = await store.live_call(connection, self._vault, call_id)
        if call is None or customer_id not in (None, call.customer_id):
            raise not_found("call")
        return call

    async def hang_up(self, customer_id: str | None, call_id: str) -> None:
        """Ask the switch to end a call in progress. Raises Refusal: `not_found`, `call_ended`."""
        async with self._database.begin() as connection:
            call = await store.live_call(connection, self._vault, call_id)
            if call is not None and customer_id in (None, call.customer_id):
                await store.put_command(connection, call_id, HANG_UP, self._clock())
                return
            ended = await store.find_cdr(connection, call_id, customer_id)
        if ended is None:
            raise not_found("call")
        raise conflict("call_ended", "The call has ended", "The call ended before the platform could end it.")

    async def cdr(self, customer_id: str | None, call_id: str) -> Cdr:
        """One CDR. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find_cdr(connection, call_id, customer_id)
        if row is None:
            raise not_found("CDR")
        return self._cdr(row, customer_id)

    async def page_cdrs(
        self, customer_id: str | None, before: int | None, limit: int, wanted: CdrFilter
    ) -> list[Cdr]:
        """At most `limit` CDRs, the newest first, of those written before the one with seq `before`."""
        where = self._where(customer_id, wanted)
        async with self._database.read() as connection:
            rows = await store.page_cdrs(connection, before, limit, where)
        return [self._cdr(row, customer_id) for row in rows]

    async def follow_cdrs(
        self, customer_id: str | None, after: int, limit: int, wanted: CdrFilter
    ) -> tuple[list[Cdr], int]:
        """At most `limit` CDRs written after the one with seq `after`, the oldest first, and where to go on.

        That is behind the last one, or, where fewer were found, behind everything that was looked through.
        """
        where = self._where(customer_id, wanted)
        async with self._database.read() as connection:
            newest = await store.newest_cdr(connection)
            until = min(newest, await horizon(connection, cdrs))
            rows = await store.follow_cdrs(connection, after, until, limit, where)
        found = [self._cdr(row, customer_id) for row in rows]
        return found, found[-1].seq if len(found) == limit else max(after, until)

    def _where(self, customer_id: str | None, wanted: CdrFilter) -> list[ColumnElement[bool]]:
        return store.cdr_filters(
            customer_id=customer_id or wanted.customer_id,
            since=wanted.since,
            until=wanted.until,
            number=wanted.number,
            person_key=None if wanted.person is None else self._vault.index(wanted.person),
            binding_id=wanted.binding_id,
            reason=wanted.reason,
        )

    def _cdr(self, row: RowMapping, customer_id: str | None) -> Cdr:
        return Cdr(row["seq"], cdr_document({**row}, self._vault, for_operator=customer_id is None))
