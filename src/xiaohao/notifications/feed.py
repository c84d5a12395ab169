"""Events for those who fetch them: in the order of storing, none ever skipped, as long as they are kept.

The same events can be asked for again here: they are POSTed once more, with the same id and sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import SECOND, now_us, rfc3339, rfc3339_local, rfc3339_or_none
from xiaohao.database.engine import Database
from xiaohao.database.horizon import horizon
from xiaohao.database.schema import events
from xiaohao.errors import conflict, validation_failed
from xiaohao.notifications import feed_store as store
from xiaohao.notifications import store as outbox
from xiaohao.notifications.feed_store import Wanted
from xiaohao.notifications.model import EventState
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.tenants.service import Tenants

#: events that become due in one transaction, so that it never holds SQLite's lock for long
_AT_ONCE: Final = 500
_FORGET_AT_ONCE: Final = 1000
_DAY: Final = 86_400 * SECOND

_decode = msgspec.json.Decoder(dict[str, Any]).decode

__all__ = ["Feed", "Told", "Wanted"]


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was or will be POSTed, with its place (`seq`) and what has become of its delivery."""

    seq: int
    kind: str
    document: dict[str, Any]


class Feed:
    """Reads events in order."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._tenants = Tenants(database, vault, clock)

    async def after(
        self, place: int, limit: int, wanted: Wanted, for_operator: bool = False
    ) -> tuple[list[Told], int]:
        """At most `limit` events of these stored after `place`, the oldest first, and where to go on.

        That is behind the last one, or, where fewer were found, behind everything that was looked through:
        also where `place` lies ahead of it, because the database was restored from an older copy.
        """
        async with self._database.read() as connection:
            until = await self._safe_end(connection)
            rows = await store.page(connection, place, until, limit, wanted)
        told = [self._told(row, for_operator) for row in rows]
        if len(told) == limit:
            return told, told[-1].seq
        return told, until

    async def end(self) -> int:
        """The place behind which everything is that is stored from now on."""
        async with self._database.read() as connection:
            return await self._safe_end(connection)

    @staticmethod
    async def _safe_end(connection: AsyncConnection) -> int:
        newest = await store.newest(connection)
        return min(newest, await horizon(connection, events))

    def _told(self, row: RowMapping, for_operator: bool) -> Told:
        state = EventState(row["state"])
        delivery: dict[str, Any] = {
            "state": state.value,
            "tries": row["tries"],
            "error": row["last_error"],
            "delivered_at": rfc3339_or_none(row["delivered_at"]),
            "next_try_at": rfc3339(row["due_at"]) if state is EventState.DUE else None,
        }
        if for_operator:
            delivery["customer_id"] = row["customer_id"]
        try:
            document = _decode(self._vault.open(row["body_sealed"]))
        except SecrecyError:
            # Who follows must get past it: the rest of it is told all the same.
            document = {
                "id": row["id"],
                "type": row["kind"],
                "timestamp": rfc3339(row["occurred_at"]),
                "timestamp_local": rfc3339_local(row["occurred_at"]),
                "sequence": row["sequence"],
                "data": None,
            }
        return Told(row["seq"], row["kind"], {**document, "delivery": delivery})

    async def count_replayable(self, wanted: Wanted) -> int:
        """How many events `replay` would send again now, if there was a webhook.

        Raises Refusal: `validation_failed`.
        """
        _check(wanted)
        async with self._database.read() as connection:
            return await store.count_replayable(connection, wanted, self._clock())

    async def replay(self, wanted: Wanted) -> int:
        """Send events again that are delivered, dead or unwanted; gives their number.

        They keep id and sequence, and go whatever kinds the customer wants. Raises Refusal:
        `validation_failed` where nothing narrows the choice down or it ends before it begins,
        `webhook_missing`, `not_found`.
        """
        _check(wanted)
        if wanted.customer_id is not None:
            plan = await self._tenants.webhook_plan(wanted.customer_id)
            if plan.url is None:
                raise conflict("webhook_missing", "There is no webhook", "The customer has no webhook URL.")
        now, total, place = self._clock(), 0, 0
        while True:
            # Looking for them may take long, and nobody who writes is to wait for it.
            async with self._database.read() as connection:
                found = await store.to_replay(connection, place, wanted, now, _AT_ONCE)
            if found:
                async with self._database.begin() as connection:
                    total += await store.replay(connection, found, now)
            if len(found) < _AT_ONCE:
                return total
            place = found[-1]

    async def pull_in(self, longest_s: float) -> int:
        """After the clock was set back: let be due now what is due in more than `longest_s` seconds."""
        now = self._clock()
        async with self._database.begin() as connection:
            return await outbox.pull_in(connection, now + round(longest_s * SECOND), now)

    async def forget_old(self, retention_days: int) -> int:
        """Delete what is older and not due any more; gives the number. Raises DatabaseUnavailable."""
        before = self._clock() - retention_days * _DAY
        place: int | None = 0
        total = 0
        while place is not None:
            async with self._database.begin() as connection:
                done, place = await store.forget(connection, place, before, _FORGET_AT_ONCE)
            total += done
        return total


def _check(wanted: Wanted) -> None:
    if wanted == replace(Wanted(), customer_id=wanted.customer_id):
        raise validation_failed("", "say which events: ids, kinds, state, call_id, since or until")
    if wanted.since is not None and wanted.until is not None and wanted.until <= wanted.since:
        raise validation_failed("until", "must be after since")
