"""What can be asked: about a number, a person, a pair, and who was behind a number at a moment.

Every question is in the audit log before its answer leaves. `Principal` says who asks: a customer finds its
own data only, the operator everybody's. A question takes the same statements whatever it finds, so that the
time of an answer tells nothing of others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.bindings.lookup_store import recognised
from xiaohao.bindings.recognition import Outcome
from xiaohao.calls.model import Call
from xiaohao.calls.wire import call_of
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.database.engine import Database
from xiaohao.errors import not_found, validation_failed
from xiaohao.lookups import store
from xiaohao.lookups.model import (
    AboutNumber,
    AboutPerson,
    Dial,
    NumberThen,
    Relation,
    Side,
    Standing,
    content_at,
    grace_end,
    leg_standing,
    replaced_at,
    rest_end,
    standing_at,
)
from xiaohao.secrecy import Vault, masked
from xiaohao.tenants.model import Principal

#: relations, legs and calls of one answer about a person; of calls about a number
_MOST: Final = 500
_decode_call = msgspec.json.Decoder(Call).decode


class Lookups:
    """Answers questions about who is, and was, behind which number. Numbers are canonical."""

    def __init__(
        self, database: Database, vault: Vault, audit: Audit, clock: Callable[[], int] = now_us
    ) -> None:
        self._database = database
        self._vault = vault
        self._audit = audit
        self._clock = clock

    async def number(self, principal: Principal, number: str, before: int | None, limit: int) -> AboutNumber:
        """For whom a number stands now, over which relations, and the calls in progress over it.

        Raises Refusal: `not_found`.
        """
        found = await self._about_number(principal.customer_id, number, self._clock(), before, limit)
        await self._note(principal, Action.LOOKUP_NUMBER, **_about(number, found))
        return _there(found)

    async def evidence(
        self,
        principal: Principal,
        number: str,
        at: int,
        window_s: int,
        reason: str,
        person: str | None,
        before: int | None,
        limit: int,
    ) -> AboutNumber:
        """Who was behind a number at a moment (µs), and the calls over it `window_s` seconds around.

        `person`: only what joined the number with this one, e.g. who complains. `reason` says what for, and
        goes into the audit log. Raises Refusal: `not_found`, `validation_failed`.
        """
        if at > self._clock():
            raise validation_failed("at", "must not be in the future")
        found = await self._about_number(
            principal.customer_id, number, at, before, limit, window_s * SECOND, person
        )
        asked: dict[str, Any] = {"reason": reason, "at": rfc3339(at), "window_s": window_s}
        if person is not None:
            asked["with"] = masked(person)
        await self._note(principal, Action.EVIDENCE, **_about(number, found), **asked)
        return _there(found)

    async def person(self, principal: Principal, person: str) -> AboutPerson:
        """What a person can dial, and over which numbers they are reached; all lists are empty for nobody."""
        found = await self._about_person(principal.customer_id, person, None)
        await self._note(principal, Action.LOOKUP_PERSON, person=person, found=len(found.relations))
        return found

    async def pair(self, principal: Principal, first: str, second: str) -> AboutPerson:
        """The same for what joins two people, whichever of them is A."""
        found = await self._about_person(principal.customer_id, first, second)
        other: dict[str, Any] = {"with": masked(second), "found": len(found.relations)}
        await self._note(principal, Action.LOOKUP_PAIR, person=first, **other)
        return found

    async def _note(
        self,
        principal: Principal,
        action: Action,
        *,
        number: str | None = None,
        person: str | None = None,
        **details: Any,
    ) -> None:
        async with self._database.begin() as connection:
            await self._audit.record(
                connection, principal, action, number=number, person=person, details=details
            )

    # About a number

    async def _about_number(
        self,
        customer_id: str | None,
        number: str,
        at: int,
        before: int | None,
        limit: int,
        window: int | None = None,
        person: str | None = None,
    ) -> AboutNumber | None:
        key = None if person is None else self._vault.index(person)
        async with self._database.read() as connection:
            facts = await store.number(connection, number, customer_id)
            then = await store.history(connection, number, at)
            rest = await store.recycle_s(connection, number) * SECOND
            rows = await store.bindings_on(connection, number, at, customer_id, key, before, limit + 1, rest)
            relations = await self._relations(connection, rows[:limit], at, number, key, rest)
            until = at if window is None else at + window
            live = await store.live_calls(connection, customer_id, _MOST, number=number, until=until)
            ended: Sequence[store.Facts] = []
            if window is not None:
                ids = [relation.binding_id for relation in relations]
                ended = await store.ended_calls(
                    connection, number, at - window, at + window, ids, customer_id, key, _MOST
                )
            known = facts is not None
            if customer_id is not None:
                # asked in any case: a question must not take longer where the answer is another's
                known = await store.was_ever_used(connection, number, customer_id) or known
        if not known:
            return None
        calls = [_decode_call(self._vault.open(sealed)) for sealed in live]
        return AboutNumber(
            number=self._number_now(number, facts)
            if window is None
            else self._number_then(number, then, facts, customer_id),
            relations=relations,
            more=rows[limit - 1]["seq"] if len(rows) > limit else None,
            live_calls=[call for call in calls if person in (None, call.caller, call.callee)],
            ended_calls=[call_of(row, self._vault) for row in ended],
        )

    def _number_now(self, number: str, facts: store.Facts | None) -> NumberThen:
        """What is known of a number itself; nothing where it is not the customer's own (`facts` is None)."""
        if facts is None:
            return _nothing_of(number)
        return NumberThen(
            number=number,
            state=facts["state"],
            reason=facts["state_reason"],
            customer_id=facts["customer_id"],
            person=self._open(facts["assigned_to_sealed"]),
            known_since=facts["state_at"] or None,
        )

    def _number_then(
        self, number: str, then: store.Facts | None, facts: store.Facts | None, customer_id: str | None
    ) -> NumberThen:
        """The same at an earlier moment: nothing where it was another customer's then, whose it is now."""
        if then is None or not _may_be_told(then, facts, customer_id):
            return _nothing_of(number)
        return NumberThen(
            number=number,
            state=then["to_state"],
            reason=then["reason"],
            customer_id=then["customer_id"],
            person=self._open(then["person_sealed"]),
            known_since=then["at"],
        )

    async def _relations(
        self,
        connection: AsyncConnection,
        rows: Sequence[store.Facts],
        at: int,
        number: str | None = None,
        person_key: bytes | None = None,
        rest: int = 0,
    ) -> list[Relation]:
        """The relations of these bindings at a moment: over a number and of a person only, where given."""
        ids = [row["id"] for row in rows]
        earlier: dict[str, list[store.Facts]] = {binding_id: [] for binding_id in ids}
        for version in await store.versions(connection, ids):
            earlier[version["binding_id"]].append(version)
        to_come = await store.grace_to_come(connection, ids, number)
        found = []
        for row in rows:
            grace_until = to_come.get(row["id"], grace_end(row, number))
            recycle_until = rest_end(row, number)
            standing = standing_at(row, grace_until, recycle_until, at)
            said, since, until = content_at(row, earlier[row["id"]], at)
            if standing is not None and _concerns(said, number, person_key):
                relation = self._relation(row, said, number, standing, since, until)
                shown = None if standing is Standing.LIVE else grace_until
                found.append(replace(relation, grace_until=shown, recycle_until=recycle_until))
            if number is None:
                continue
            for was in replaced_at(row, earlier[row["id"]], at, number, rest):
                if _concerns(was, number, person_key):
                    since, until = was["valid_from"], was["valid_until"]
                    relation = self._relation(row, was, number, Standing.QUARANTINED, since, until)
                    found.append(replace(relation, recycle_until=until + rest))
        return found

    def _relation(
        self,
        row: store.Facts,
        said: Mapping[str, Any],
        number: str | None,
        standing: Standing,
        since: int,
        until: int | None,
    ) -> Relation:
        """A binding with the content `said`."""
        return Relation(
            binding_id=row["id"],
            customer_id=row["customer_id"],
            mode=row["mode"],
            standing=standing,
            a=self._open(said["a_sealed"]),
            b=self._open(said["b_sealed"]),
            x=said["x"],
            y=said["y"],
            extension=said["extension"],
            stands_for=_side(said, number),
            since=since,
            until=until,
            ended_at=row["ended_at"],
            recycle_until=row["recycle_until"],
            grace_until=None,
            order_ref=row["order_ref"],
        )

    # About people

    async def _about_person(self, customer_id: str | None, person: str, other: str | None) -> AboutPerson:
        key, now = self._vault.index(person), self._clock()
        async with self._database.read() as connection:
            numbers = await store.numbers_of_person(connection, key, customer_id)
            legs = await store.legs_of_person(connection, key, customer_id, _MOST + 1)
            rows = await store.bindings_of_person(connection, key, now, customer_id, _MOST + 1)
            relations = await self._relations(connection, rows[:_MOST], now)
            ids = [row["id"] for row in rows]
            live = await store.live_calls(connection, customer_id, _MOST, binding_ids=ids)
            dials = []
            for leg in legs[:_MOST]:
                standing = leg_standing(leg, now)
                if standing is not None:
                    match = await recognised(connection, self._vault, person, leg["dialled"], now)
                    dials.append(self._dial(leg, standing, match.outcome))
        calls = [_decode_call(self._vault.open(sealed)) for sealed in live]
        if other is not None:
            pair = {person, other}
            relations = [relation for relation in relations if {relation.a, relation.b} == pair]
            joined = {relation.binding_id for relation in relations}
            dials = [dial for dial in dials if dial.binding_id in joined]
            calls = [call for call in calls if {call.caller, call.callee} == pair]
            numbers = []
        more = max(len(legs), len(rows)) > _MOST
        ours = [call for call in calls if person in (call.caller, call.callee)]
        return AboutPerson(numbers, dials, relations, ours, more)

    def _dial(self, leg: store.Facts, standing: Standing, outcome: Outcome) -> Dial:
        return Dial(
            number=leg["dialled"],
            binding_id=leg["binding_id"],
            customer_id=leg["customer_id"],
            standing=standing,
            outcome=outcome,
            barred=bool(leg["barred"]),
            reaches=self._open(leg["callee_sealed"]),
            shows=leg["display"],
            valid_until=leg["valid_until"],
            quarantine_until=leg["quarantine_until"],
        )

    def _open(self, sealed: bytes | None) -> str | None:
        return None if sealed is None else self._vault.open(sealed)


def _nothing_of(number: str) -> NumberThen:
    return NumberThen(number, None, None, None, None, None)


def _may_be_told(then: store.Facts, facts: store.Facts | None, customer_id: str | None) -> bool:
    if customer_id is None:
        return True
    # Of a number that is no longer theirs, or is shared, they know whose X it was, not that it is used since.
    was_theirs: bool = then["customer_id"] == customer_id
    return was_theirs and (facts is not None or then["person_sealed"] is not None)


def _concerns(said: Mapping[str, Any], number: str | None, person_key: bytes | None) -> bool:
    over = number in (None, said["x"], said["y"])
    return over and person_key in (None, said["a_key"], said["b_key"])


def _side(said: Mapping[str, Any], number: str | None) -> Side | None:
    if number is None or (said["y"] is None and said["b_sealed"] is not None):
        return None  # one number between two people stands for either of them
    return Side.A if number == said["x"] else Side.B


def _about(number: str, found: AboutNumber | None) -> dict[str, Any]:
    """What an entry of the audit log says. A number that is not ours may be somebody's real one."""
    if found is None:
        return {"person": number, "found": 0}
    return {"number": number, "found": len(found.relations)}


def _there(found: AboutNumber | None) -> AboutNumber:
    if found is None:
        raise not_found("number")
    return found
