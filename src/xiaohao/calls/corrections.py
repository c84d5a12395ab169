"""CDRs put right: a CDR is never changed; what was wrong in it stands in a record of its own.

Each correction names what it corrects, the CDR or the correction before it, and holds every field as it is
from then on. The customer is told, billing charges what is right, and the audit log has who did it and why:
all in one transaction.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.calls import correction_store, store
from xiaohao.calls.model import Call, Reason
from xiaohao.calls.wire import call_of, cdr_of_call
from xiaohao.clock import now_us, rfc3339, rfc3339_or_none
from xiaohao.database.engine import Database
from xiaohao.errors import not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.notifications import store as outbox
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

#: what the edge saw and may have seen wrongly; who was connected to whom is no matter of correction
FIELDS: Final = (
    *("ringing_at", "answered_at", "ended_at", "ended_by", "reason", "sip_code", "q850_cause", "acd_ms"),
)
_MOMENTS: Final = ("ringing_at", "answered_at", "ended_at")
_NEVER_NULL: Final = ("ended_at", "ended_by", "reason", "acd_ms")
#: reasons that only calls have which were answered, or which were not; the platform's trouble ends both
_OF_ANSWERED: Final = (
    *(Reason.CALLER_HUNG_UP, Reason.CALLEE_HUNG_UP, Reason.MAX_DURATION, Reason.DEAD_MEDIA),
)
_OF_UNANSWERED: Final = (
    *(Reason.CALLER_CANCELLED, Reason.CALLEE_BUSY, Reason.CALLEE_REJECTED, Reason.CALLEE_NO_ANSWER),
    *(Reason.CALLEE_UNREACHABLE, Reason.CALLEE_NUMBER_INVALID, Reason.TRUNK_FAILURE),
)

#: a row, or a record that becomes one
Facts = Mapping[Any, Any]
#: measures a call anew in the transaction of its correction, and says what has become of it
Bill = Callable[[AsyncConnection, str, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction: its place `seq` among all, and its JSON document."""

    seq: int
    document: dict[str, Any]


class Corrections:
    """Makes corrections and finds them. Where a `customer_id` is None, the operator asks."""

    def __init__(
        self, database: Database, vault: Vault, audit: Audit, bill: Bill, clock: Callable[[], int] = now_us
    ) -> None:
        self._database = database
        self._vault = vault
        self._audit = audit
        self._bill = bill
        self._clock = clock

    async def correct(
        self, principal: Principal, call_id: str, changes: Mapping[str, Any], note: str
    ) -> tuple[Correction, str]:
        """Put some of `FIELDS` of a CDR right; `note` says why.

        Gives the correction and what has become of the call's charge. Moments in microseconds.
        Raises Refusal: `not_found`, `validation_failed`.
        """
        now = self._clock()
        async with self._database.begin() as connection:
            row = await correction_store.locked_cdr(connection, call_id)
            if row is None:
                raise not_found("CDR")
            before = await correction_store.of_call(connection, call_id)
            old = {**row, **(_values(before[-1]) if before else {})}
            new = {**old, **changes}
            _check(new, {name for name in changes if new[name] != old[name]}, now)
            record = {
                "id": new_id("cor"),
                "call_id": call_id,
                "number": len(before) + 1,
                "corrects": before[-1]["id"] if before else call_id,
                "customer_id": row["customer_id"],
                **_values(new),
                "note_sealed": self._vault.seal(note),
                "created_by": principal.key_id,
                "created_at": now,
            }
            await correction_store.add(connection, record)
            document = self._document(record, row, old, note)
            told = {"correction_id": record["id"], "call_id": call_id, "note": note}
            changed = {name: _shown(new, name) for name in changes}
            details = {**told, "changes": changed}
            await self._audit.record(connection, principal, Action.CORRECT_CDR, details=details)
            billed = "nobody"
            if row["customer_id"] is not None:
                await self._tell(connection, record, row, old, note)
                billed = await self._bill(connection, row["customer_id"], call_id)
            made = (await correction_store.of_call(connection, call_id))[-1]
        return Correction(made["seq"], document), billed

    async def of_call(self, customer_id: str | None, call_id: str) -> list[Correction]:
        """The corrections of a call's CDR, the first one first. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            cdr = await store.find_cdr(connection, call_id, customer_id)
            rows = await correction_store.of_call(connection, call_id, customer_id)
        if cdr is None:
            raise not_found("CDR")
        found: list[Correction] = []
        old: Facts = cdr
        for row in rows:
            note = self._vault.open(row["note_sealed"])
            found.append(Correction(row["seq"], self._document(row, cdr, old, note, customer_id is None)))
            old = row
        return found

    async def page(
        self,
        customer_id: str | None,
        before: int | None,
        limit: int,
        *,
        since: int | None = None,
        until: int | None = None,
        of_customer: str | None = None,
    ) -> list[Correction]:
        """At most `limit` corrections made in a span of time, the newest first."""
        whose = customer_id or of_customer
        async with self._database.read() as connection:
            rows = await correction_store.page(
                connection, before, limit, customer_id=whose, since=since, until=until
            )
        found = []
        for row in rows:
            of_this = await self.of_call(customer_id, row["call_id"])
            found.append(of_this[row["number"] - 1])
        return found

    async def _tell(
        self,
        connection: AsyncConnection,
        record: Facts,
        cdr: Facts,
        old: Facts,
        note: str,
    ) -> None:
        document = self._document(record, cdr, old, note, for_operator=False)
        call = self._call(record, cdr)
        # not as `cdr`: whoever adds up what comes as that would count the call twice
        extra = {"correction": document}
        number, at = record["number"], record["created_at"]
        row = outbox.correction_event_row(self._vault, call, number, at, extra)
        await outbox.insert(connection, [row])

    def _call(self, record: Facts, cdr: Facts) -> Call:
        return call_of({**cdr, **_values(record)}, self._vault)

    def _document(
        self,
        record: Facts,
        cdr: Facts,
        old: Facts,
        note: str,
        for_operator: bool = True,
    ) -> dict[str, Any]:
        changes = {
            name: {"from": _shown(old, name), "to": _shown(record, name)}
            for name in FIELDS
            if old[name] != record[name]
        }
        return {
            "id": record["id"],
            "call_id": record["call_id"],
            "number": record["number"],
            "corrects": record["corrects"],
            "note": note,
            "changes": changes,
            "created_at": rfc3339(record["created_at"]),
            "cdr": cdr_of_call(self._call(record, cdr), bool(cdr["recorded"]), for_operator),
        }


def _values(row: Facts) -> dict[str, Any]:
    return {name: row[name] for name in FIELDS}


def _shown(row: Facts, name: str) -> Any:
    return rfc3339_or_none(row[name]) if name in _MOMENTS else row[name]


def _check(new: Facts, changed: set[str], now: int) -> None:
    """Raises Refusal: `validation_failed`."""
    if not changed:
        raise validation_failed("note", "nothing would be otherwise than it is")
    for name in _NEVER_NULL:
        if new[name] is None:
            raise validation_failed(name, "a call that has ended has it")
    known = [(name, new[name]) for name in ("received_at", *_MOMENTS) if new[name] is not None]
    for (_, earlier), (name, later) in itertools.pairwise(known):
        if later < earlier:
            raise validation_failed(name, "is before what comes before it in a call's life")
    if changed & {"reason", "answered_at"}:
        reason = Reason(new["reason"])
        if new["answered_at"] is None and reason in _OF_ANSWERED:
            raise validation_failed("answered_at", "only a call that was answered ends for this reason")
        if new["answered_at"] is not None and reason in _OF_UNANSWERED:
            raise validation_failed("reason", "no call that was answered ends for this reason")
    if "ended_at" in changed and new["ended_at"] > now:
        raise validation_failed("ended_at", "must not be in the future")
