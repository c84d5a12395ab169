"""What customers and the operator can learn of calls, and the one thing that they can do with a live one.

Where a `customer_id` says who asks, None is the operator, who sees everything; what is not a customer's own
does not exist for that customer.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.calls import search_store, store
from xiaohao.calls.exporting import PAGE
from xiaohao.calls.model import HANG_UP, Call, Reason, State
from xiaohao.calls.search_store import Conditions, Place
from xiaohao.calls.wire import cdr_document
from xiaohao.clock import now_us, rfc3339_or_none
from xiaohao.database.engine import Database
from xiaohao.database.horizon import horizon
from xiaohao.database.schema import cdrs
from xiaohao.errors import conflict, not_found
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal


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
    sip_code: int | None = None
    q850_cause: int | None = None
    #: for the operator: calls that this trunk brought or took on, and one customer's
    trunk_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cdr:
    """A CDR's document and its places: `seq` grows in the order of writing, `place` in that of arrival."""

    seq: int
    document: dict[str, Any]
    place: Place


class CallRecords:
    """Reads live calls and CDRs."""

    def __init__(
        self, database: Database, vault: Vault, audit: Audit, clock: Callable[[], int] = now_us
    ) -> None:
        self._database = database
        self._vault = vault
        self._audit = audit
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
            corrected = await search_store.corrected(connection, [call_id])
        if row is None:
            raise not_found("CDR")
        return self._cdr(row, customer_id, corrected)

    async def page_cdrs(
        self, customer_id: str | None, before: Place | None, limit: int, wanted: CdrFilter
    ) -> list[Cdr]:
        """At most `limit` CDRs in the order of the calls' arrival, the newest first, behind `before`."""
        where = self.conditions(customer_id, wanted)
        async with self._database.read() as connection:
            rows = await search_store.page(connection, before, limit, where)
            return await self._cdrs(connection, rows, customer_id)

    async def follow_cdrs(
        self, customer_id: str | None, after: int, limit: int, wanted: CdrFilter
    ) -> tuple[list[Cdr], int]:
        """At most `limit` CDRs written after the one with seq `after`, the oldest first, and where to go on.

        That is behind the last one, or, where fewer were found, behind everything that was looked through:
        also where `after` lies ahead of it, because the database was restored from an older copy.
        """
        where = self.conditions(customer_id, wanted)
        async with self._database.read() as connection:
            newest = await search_store.newest(connection)
            until = min(newest, await horizon(connection, cdrs))
            rows = await search_store.follow(connection, after, until, limit, where)
            found = await self._cdrs(connection, rows, customer_id)
        return found, found[-1].seq if len(found) == limit else until

    async def export(
        self, principal: Principal, wanted: CdrFilter, format_: str
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The documents of CDRs page by page, in the order of the calls' arrival, the oldest first.

        Noted in the audit log before the first one is read.
        """
        async with self._database.begin() as connection:
            asked = {name: value for name, value in _asked(wanted).items() if name != "person"}
            details = {**asked, "format": format_}
            person = wanted.person
            await self._audit.record(
                connection, principal, Action.EXPORT_CDRS, person=person, details=details
            )
        return self._pages(principal.customer_id, wanted)

    async def _pages(self, customer_id: str | None, wanted: CdrFilter) -> AsyncIterator[list[dict[str, Any]]]:
        where, after = self.conditions(customer_id, wanted), (-1, -1)
        while True:
            async with self._database.read() as connection:
                rows = await search_store.rising(connection, after, PAGE, where)
                found = await self._cdrs(connection, rows, customer_id)
            if found:
                after = found[-1].place
                yield [cdr.document for cdr in found]
            if len(found) < PAGE:
                return

    async def note_search(self, principal: Principal, person: str, wanted: CdrFilter) -> None:
        """Write into the audit log that somebody looks for a person's calls."""
        async with self._database.begin() as connection:
            details = {name: value for name, value in _asked(wanted).items() if name != "person"}
            await self._audit.record(
                connection, principal, Action.SEARCH_CDRS, person=person, details=details
            )

    def conditions(self, customer_id: str | None, wanted: CdrFilter) -> Conditions:
        """A filter as the store takes it, with whoever asks."""
        return search_store.conditions(
            customer_id=customer_id or wanted.customer_id,
            since=wanted.since,
            until=wanted.until,
            number=wanted.number,
            person_key=None if wanted.person is None else self._vault.index(wanted.person),
            trunk_id=wanted.trunk_id,
            binding_id=wanted.binding_id,
            reason=wanted.reason,
            sip_code=wanted.sip_code,
            q850_cause=wanted.q850_cause,
        )

    async def _cdrs(
        self, connection: AsyncConnection, rows: list[RowMapping], customer_id: str | None
    ) -> list[Cdr]:
        corrected = await search_store.corrected(connection, [row["call_id"] for row in rows])
        return [self._cdr(row, customer_id, corrected) for row in rows]

    def _cdr(self, row: RowMapping, customer_id: str | None, corrected: dict[str, str]) -> Cdr:
        document = cdr_document({**row}, self._vault, for_operator=customer_id is None)
        if correction_id := corrected.get(row["call_id"]):
            document["corrected_by"] = correction_id
        return Cdr(row["seq"], document, (row["received_at"], row["seq"]))


def _asked(wanted: CdrFilter) -> dict[str, Any]:
    """What was asked for, for the audit log; moments as people read them."""
    facts = {name: getattr(wanted, name) for name in CdrFilter.__slots__}
    moments = {name: rfc3339_or_none(facts[name]) for name in ("since", "until")}
    return {name: value for name, value in {**facts, **moments}.items() if value is not None}
