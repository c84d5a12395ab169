"""A carrier's CDR file or bill against our CDRs: what is missing on either side, seconds, and the money.

People's numbers of the file are kept sealed and only of calls that do not agree.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from xiaohao.billing import carrier_bill, carrier_file, matching, money, reconcile_store
from xiaohao.billing.carrier_bill import BillLine, OurSum
from xiaohao.billing.carrier_file import CarrierCall, Mapped, MappingInvalid, Unreadable
from xiaohao.billing.matching import Finding, Item, Ours, Theirs
from xiaohao.clock import now_us, rfc3339_or_none
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.secrecy import Vault
from xiaohao.trunks import store as trunk_store

_PAGE: Final = 5000
Progress = Callable[[int], None]


class Reconciliation(msgspec.Struct, frozen=True):
    """A comparison; `summary` is its JSON."""

    id: str
    trunk_id: str
    since: int
    until: int
    summary: dict[str, Any]
    created_at: int


class Reconciliations:
    """Compares carriers' files with our CDRs."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def compare(
        self,
        trunk_id: str,
        since: int,
        until: int,
        lines: Iterable[str],
        mapping: Mapping[str, Any],
        progress: Progress = lambda done: None,
    ) -> Reconciliation:
        """Compare the calls of a trunk that arrived from `since` until `until` (µs) with a carrier's file.

        `progress` is told of each line, and of each call of ours.

        Raises Refusal: `not_found` (the trunk), `carrier_file_not_valid`, `validation_failed`.
        """
        if until <= since:
            raise validation_failed("until", "later than since")
        try:
            if mapping.get("kind") == "bill":
                compared = await self._bill(trunk_id, since, until, lines, mapping, progress)
            else:
                compared = await self._calls(trunk_id, since, until, lines, mapping, progress)
        except MappingInvalid as error:
            title = "The carrier's file cannot be read"
            raise Refusal("carrier_file_not_valid", title, f"{error}.", 422) from None
        now, made = self._clock(), new_id("rec")
        rows = [self._row(place, item, compared.people) for place, item in enumerate(compared.found.items)]
        rows += [
            {**_EMPTY, "place": place, "finding": Finding.UNREADABLE.value, "line": one.line}
            for place, one in enumerate(compared.unreadable, len(rows))
        ]
        row = {
            "id": made,
            "trunk_id": trunk_id,
            "since": since,
            "until": until,
            "summary": msgspec.json.encode(_summary(compared)).decode(),
            "created_at": now,
        }
        async with self._database.begin() as connection:
            await reconcile_store.add(connection, row, [{"reconciliation_id": made, **one} for one in rows])
        return _reconciliation(row)

    async def _calls(
        self,
        trunk_id: str,
        since: int,
        until: int,
        lines: Iterable[str],
        mapping: Mapping[str, Any],
        progress: Progress,
    ) -> "_Compared":
        mapped = carrier_file.take(mapping)
        read = list(carrier_file.read(_watched(lines, progress), mapped))
        calls = [one for one in read if isinstance(one, CarrierCall)]
        theirs = [self._theirs(one, mapped) for one in calls]
        ours = await self._ours(trunk_id, mapped.leg, since, until, progress)
        terms = matching.Terms(mapped.tolerance_s, mapped.allowed_seconds, mapped.price, mapped.unit_s)
        return _Compared(
            matching.match(ours, theirs, terms),
            len(ours),
            len(theirs),
            [one for one in read if isinstance(one, Unreadable)],
            {one.line: _person(one, mapped) for one in calls},
        )

    async def _bill(
        self,
        trunk_id: str,
        since: int,
        until: int,
        lines: Iterable[str],
        mapping: Mapping[str, Any],
        progress: Progress,
    ) -> "_Compared":
        mapped = carrier_bill.take(mapping)
        read = list(carrier_bill.read(_watched(lines, progress), mapped))
        ours: dict[str, OurSum] = {}
        for call in await self._ours(trunk_id, mapped.leg, since, until, progress):
            before = ours.get(call.number, OurSum(0, 0, 0))
            billed_s = -(-call.seconds // mapped.unit_s) * mapped.unit_s
            ours[call.number] = OurSum(
                before.calls + 1, before.seconds + call.seconds, before.billed_s + billed_s
            )
        theirs = [one for one in read if isinstance(one, BillLine)]
        return _Compared(
            carrier_bill.compare(ours, theirs, mapped),
            sum(one.calls for one in ours.values()),
            None,
            [one for one in read if isinstance(one, Unreadable)],
            {},
        )

    async def count(self, trunk_id: str, leg: str, since: int, until: int) -> int:
        """How many calls of ours there are to compare, for who watches the progress."""
        async with self._database.read() as connection:
            return await reconcile_store.count_answered(connection, trunk_id, leg, since, until)

    async def get(self, reconciliation_id: str) -> Reconciliation:
        """One comparison. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await reconcile_store.find(connection, reconciliation_id)
        if row is None:
            raise not_found("reconciliation")
        return _reconciliation(row)

    async def page(self, after: str, limit: int) -> list[Reconciliation]:
        """At most `limit` comparisons behind the id `after`."""
        async with self._database.read() as connection:
            return [_reconciliation(row) for row in await reconcile_store.page(connection, after, limit)]

    async def items(self, reconciliation_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """What does not agree, at most `limit` behind the place `after`; people in the clear."""
        await self.get(reconciliation_id)
        async with self._database.read() as connection:
            rows = await reconcile_store.items(connection, reconciliation_id, after, limit)
        return [self._shown(row) for row in rows]

    async def _ours(self, trunk_id: str, leg: str, since: int, until: int, progress: Progress) -> list[Ours]:
        found: list[Ours] = []
        after = 0
        async with self._database.read() as connection:
            if not await trunk_store.is_there(connection, trunk_id):
                raise not_found("trunk")
        while True:
            async with self._database.read() as connection:
                rows = await reconcile_store.answered(connection, trunk_id, leg, since, until, after, _PAGE)
            found += [
                Ours(
                    row["call_id"],
                    row["number"] or "",
                    row["person"] or b"",
                    row["answered_at"],
                    (row["ended_at"] // 1000 - row["answered_at"] // 1000 + 999) // 1000,
                )
                for row in rows
            ]
            progress(len(rows))
            if len(rows) < _PAGE:
                return found
            after = rows[-1]["seq"]

    def _theirs(self, call: CarrierCall, mapped: Mapped) -> Theirs:
        person = self._vault.index(_person(call, mapped))
        number = call.called if mapped.leg == "in" else call.caller
        return Theirs(call.line, number, person, call.at, call.seconds, call.amount)

    def _row(self, place: int, item: Item, people: Mapping[int, str]) -> dict[str, Any]:
        ours, theirs = item.ours, item.theirs
        one = ours or theirs
        return {
            "place": place,
            "finding": item.finding.value,
            "line": theirs and theirs.line,
            "call_id": (ours and ours.call_id) or None,
            "number": one and one.number,
            "person_sealed": (
                self._vault.seal(people[theirs.line]) if theirs and theirs.line in people else None
            ),
            "at": (one and one.at) or None,
            "our_seconds": ours and ours.seconds,
            "their_seconds": theirs and theirs.seconds,
            "our_amount": item.due,
            "their_amount": theirs and theirs.amount,
        }

    def _shown(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        sealed = row["person_sealed"]
        amounts = {
            name: None if row[name] is None else money.text_of(row[name])
            for name in ("our_amount", "their_amount")
        }
        return {
            **{name: row[name] for name in ("place", "finding", "line", "call_id", "number")},
            "person": None if sealed is None else self._vault.open(sealed),
            "at": rfc3339_or_none(row["at"]),
            **{name: row[name] for name in ("our_seconds", "their_seconds")},
            **amounts,
        }


_EMPTY: Final[Mapping[str, Any]] = dict.fromkeys(
    (
        *("call_id", "number", "person_sealed", "at"),
        *("our_seconds", "their_seconds", "our_amount", "their_amount"),
    )
)


def _watched(lines: Iterable[str], progress: Progress) -> Iterator[str]:
    for line in lines:
        progress(1)
        yield line


def _person(call: CarrierCall, mapped: Mapped) -> str:
    return call.caller if mapped.leg == "in" else call.called


class _Compared(msgspec.Struct, frozen=True):
    """What was found; `theirs` None: single calls are not known. `people` by line of the file."""

    found: matching.Match
    ours: int
    theirs: int | None
    unreadable: list[Unreadable]
    people: Mapping[int, str]


def _summary(compared: _Compared) -> dict[str, Any]:
    found, unreadable = compared.found, compared.unreadable
    counts = {one.value: 0 for one in Finding}
    for item in found.items:
        counts[item.finding.value] += 1
    counts[Finding.UNREADABLE.value] = len(unreadable)
    columns = sorted({one.column for one in unreadable})

    def text(amount: int | None) -> str | None:
        return None if amount is None else money.text_of(amount)

    return {
        "our_calls": compared.ours,
        "their_calls": compared.theirs,
        "matched": found.matched,
        **counts,
        "unreadable_columns": columns,
        "our_seconds": found.our_seconds,
        "their_seconds": found.their_seconds,
        "their_amount": text(found.their_amount),
        "their_seconds_ought_to_cost": text(found.their_due),
        "our_seconds_ought_to_cost": text(found.our_due),
        "too_much": None if found.our_due is None else text(found.their_amount - found.our_due),
    }


def _reconciliation(row: Mapping[Any, Any]) -> Reconciliation:
    return Reconciliation(
        row["id"],
        row["trunk_id"],
        row["since"],
        row["until"],
        msgspec.json.decode(row["summary"]),
        row["created_at"],
    )
