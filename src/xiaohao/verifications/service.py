"""What can be done with verifications.

Where a `customer_id` says who asks, None is the operator, who sees everything and decides. A number's row is
locked before its verification's.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found, validation_failed
from xiaohao.ids import new_id, ordered_id
from xiaohao.numbers.changes import Changes
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import Kind, Verification, canonical
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants
from xiaohao.verifications import store
from xiaohao.verifications.model import Proof, Renewal, check

#: verifications expired in one transaction
_SWEPT_AT_ONCE: Final = 200
_DECISIONS: Final = {
    Verification.VERIFIED: Reason.NAME_VERIFIED,
    Verification.REJECTED: Reason.NAME_REJECTED,
}
#: number, its customer, references to documents, until when they are good (µs since the epoch; None: always)
NumberProof = tuple[str, str | None, tuple[str, ...], int | None]


class Verifications:
    """Real names. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._tenants = Tenants(database, vault, clock)

    async def submit_number(
        self,
        number: str,
        documents: tuple[str, ...],
        valid_until: int | None = None,
        customer_id: str | None = None,
        by: str | None = None,
    ) -> Proof:
        """Name what proves the real name behind a mobile number; again replaces what was named before.

        By the operator it is verified with that; by its customer it waits for the operator, and what is
        verified until then stays so. Raises Refusal:
        `not_found`, `validation_failed`, `verification_in_another_state`.
        """
        wanted = canonical(number) or ""
        async with self._database.begin() as connection:
            row = await store.number(connection, wanted)
            if row is None or customer_id not in (None, row["customer_id"]):
                raise not_found("number")
            if row["kind"] != Kind.MOBILE:
                raise validation_failed("number", "only mobile numbers are verified")
            found = await store.find(connection, store.of_number(wanted), lock=True)
            whose = {"number": wanted, "customer_id": row["customer_id"]}
            return await self._submitted(connection, found, whose, documents, valid_until, customer_id, by)

    async def submit_person(
        self,
        person: str,
        documents: tuple[str, ...],
        valid_until: int | None = None,
        *,
        of_customer: str,
        customer_id: str | None = None,
    ) -> Proof:
        """The same for a person of the customer `of_customer`.

        Raises Refusal: `not_found`, `validation_failed`, `verification_in_another_state`.
        """
        real = canonical(person)
        if real is None:
            raise validation_failed("person", "is not a telephone number that the platform knows how to dial")
        await self._tenants.get_customer(of_customer)
        key = self._vault.index(real)
        try:
            async with self._database.begin() as connection:
                found = await store.find(connection, store.of_person(of_customer, key), lock=True)
                whose = {
                    "customer_id": of_customer,
                    "person_key": key,
                    "person_sealed": self._vault.seal(real) if found is None else found["person_sealed"],
                }
                return await self._submitted(connection, found, whose, documents, valid_until, customer_id)
        except IntegrityError:
            raise conflict(
                "verification_in_another_state",
                "The verification is in another state",
                "Somebody else has just named documents for this person.",
            ) from None

    async def verify(
        self, verification_id: str, valid_until: int | None = None, by: str | None = None
    ) -> Proof:
        """Find what was named good, until `valid_until` (None: as it was named).

        Raises Refusal: `not_found`, `validation_failed`.
        """
        return await self._decided(verification_id, Verification.VERIFIED, None, valid_until, by)

    async def reject(self, verification_id: str, reason: str, by: str | None = None) -> Proof:
        """Find what was named not good. Raises Refusal: `not_found`."""
        return await self._decided(verification_id, Verification.REJECTED, reason, None, by)

    async def get(self, verification_id: str, customer_id: str | None = None) -> Proof:
        """One verification. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            return self._proof(
                _visible(await store.find(connection, store.by_id(verification_id)), customer_id)
            )

    async def of_person(self, person: str, customer_id: str) -> Proof | None:
        """The verification of a customer's person, if there is one."""
        key = self._vault.index(canonical(person) or "")
        async with self._database.read() as connection:
            row = await store.find(connection, store.of_person(customer_id, key))
        return None if row is None else self._proof(row)

    async def page(
        self, after: str, limit: int, customer_id: str | None = None, state: Verification | None = None
    ) -> list[Proof]:
        """At most `limit` verifications whose ids come after `after`."""
        async with self._database.read() as connection:
            rows = await store.page(connection, after, limit, customer_id, state)
        return [self._proof(row) for row in rows]

    async def sweep(self, now: int | None = None) -> int:
        """Let what is verified no longer expire; says how much. Any number of processes may do so at once."""
        moment, total = self._clock() if now is None else now, 0
        while True:
            async with self._database.begin() as connection:
                rows = await store.overdue(connection, moment, _SWEPT_AT_ONCE)
                for row in rows:
                    values = {"state": Verification.EXPIRED.value}
                    await self._put(connection, row, values, moment, Reason.NAME_EXPIRED)
            total += len(rows)
            if len(rows) < _SWEPT_AT_ONCE:
                return total

    async def _submitted(
        self,
        connection: AsyncConnection,
        found: RowMapping | None,
        whose: dict[str, Any],
        documents: tuple[str, ...],
        valid_until: int | None,
        customer_id: str | None,
        by: str | None = None,
    ) -> Proof:
        now = self._clock()
        if valid_until is not None and valid_until <= now:
            raise validation_failed("valid_until", "is over already")
        state = Verification.VERIFIED if customer_id is None else Verification.PENDING
        if found is not None and customer_id is not None and _is_good(found, now):
            # What is proven stays so until the operator has looked at what is to renew it.
            renewal = json.dumps({"documents": documents, "valid_until": valid_until})
            return await self._put(connection, found, {"renewal_sealed": self._vault.seal(renewal)}, now)
        check(None if found is None else Verification(found["state"]), state)
        values = {
            **whose,
            "state": state.value,
            "documents_sealed": self._vault.seal(json.dumps(documents)),
            "named_for": whose["customer_id"],
            "valid_until": valid_until,
            "reason": None,
            "renewal_sealed": None,
        }
        if found is None:
            row = {"id": new_id("ver"), **values, "created_at": now, "updated_at": now}
            await store.add(connection, [row])
            found = await store.find(connection, store.by_id(row["id"]))
            assert found is not None  # noqa: S101 - it was written just now
        told = Reason.NAME_VERIFIED if state is Verification.VERIFIED else None
        return await self._put(connection, found, values, now, told, by)

    async def _decided(
        self,
        verification_id: str,
        state: Verification,
        reason: str | None,
        valid_until: int | None,
        by: str | None,
    ) -> Proof:
        now, told = self._clock(), _DECISIONS[state]
        async with self._database.begin() as connection:
            row = _visible(await store.find(connection, store.by_id(verification_id)), None)
            if row["number"] is not None:
                await store.number(connection, row["number"])
            row = _visible(await store.find(connection, store.by_id(verification_id), lock=True), None)
            values: dict[str, Any] = {"state": state.value, "reason": reason, "renewal_sealed": None}
            if (renewal := self._renewal(row)) is not None:
                if state is Verification.REJECTED and _is_good(row, now):
                    # Only the renewal is not good.
                    values["state"] = row["state"]
                    return await self._put(connection, row, values, now, told, by)
                if state is Verification.VERIFIED:
                    values |= {
                        "documents_sealed": self._vault.seal(json.dumps(renewal.documents)),
                        "named_for": row["customer_id"],
                        "valid_until": renewal.valid_until,
                    }
            check(Verification(row["state"]), state)
            until = values.get("valid_until", row["valid_until"]) if valid_until is None else valid_until
            if state is Verification.VERIFIED and until is not None and until <= now:
                raise validation_failed("valid_until", "is over already")
            return await self._put(connection, row, {**values, "valid_until": until}, now, told, by)

    def _renewal(self, row: RowMapping) -> Renewal | None:
        if row["renewal_sealed"] is None:
            return None
        said = json.loads(self._vault.open(row["renewal_sealed"]))
        return Renewal(tuple(said["documents"]), said["valid_until"])

    async def _put(
        self,
        connection: AsyncConnection,
        row: RowMapping,
        values: dict[str, Any],
        now: int,
        told: Reason | None = None,
        by: str | None = None,
    ) -> Proof:
        """Write values. `told`: what the history of a number, and its customer, are told of that."""
        await store.change(connection, row["id"], {**values, "updated_at": now})
        new = _visible(await store.find(connection, store.by_id(row["id"])), None)
        if new["number"] is not None:
            await store.mark_number(connection, new["number"], new["state"], new["valid_until"], now)
            number = None if told is None else await store.number(connection, new["number"])
            if told is not None and number is not None:
                await Changes(self._vault).note(connection, number, told, by)
        return self._proof(new)

    def _proof(self, row: RowMapping) -> Proof:
        sealed = row["person_sealed"]
        return Proof(
            id=row["id"],
            customer_id=row["customer_id"],
            number=row["number"],
            person=None if sealed is None else self._vault.open(sealed),
            state=Verification(row["state"]),
            documents=tuple(json.loads(self._vault.open(row["documents_sealed"]))),
            valid_until=row["valid_until"],
            reason=row["reason"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            renewal=self._renewal(row),
            named_for=row["named_for"],
        )


async def add_verified(
    connection: AsyncConnection, vault: Vault, proofs: Sequence[NumberProof], now: int
) -> None:
    """Keep what proves the real names of numbers that come into the inventory as verified ones."""
    if proofs:
        await store.add(connection, rows_of(vault, proofs, now))


async def pass_on(connection: AsyncConnection, number: str, customer_id: str | None) -> None:
    """That the real name behind a number is proven goes with it to another customer, not what proves it."""
    row = await store.find(connection, store.of_number(number), lock=True)
    if row is not None and row["customer_id"] != customer_id:
        # what waits was named by the one who had the number until now
        await store.change(connection, row["id"], {"customer_id": customer_id, "renewal_sealed": None})


def rows_of(vault: Vault, proofs: Sequence[NumberProof], now: int) -> list[dict[str, Any]]:
    """The rows of verified numbers."""
    return [
        {
            "id": ordered_id("ver"),
            "customer_id": customer_id,
            "number": number,
            "state": Verification.VERIFIED.value,
            "documents_sealed": vault.seal(json.dumps(documents)),
            "named_for": customer_id,
            "valid_until": valid_until,
            "created_at": now,
            "updated_at": now,
        }
        for number, customer_id, documents, valid_until in proofs
    ]


def _is_good(row: RowMapping, now: int) -> bool:
    return row["state"] == Verification.VERIFIED and (row["valid_until"] is None or row["valid_until"] > now)


def _visible(row: RowMapping | None, customer_id: str | None) -> RowMapping:
    if row is None or customer_id not in (None, row["customer_id"]):
        raise not_found("verification")
    return row
