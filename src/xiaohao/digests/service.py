"""Makes the digest of each hour, and makes it again when a record comes late."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping

from xiaohao.calls.wire import ms_between
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.digests import store
from xiaohao.digests.model import HOUR, Digest, Tally, digest_document
from xiaohao.notifications.service import announce_digest
from xiaohao.secrecy import Vault

_CDRS_AT_ONCE: Final = 1000
_DIGESTS_AT_ONCE: Final = 100


class Digests:
    """Digests of every customer. Several workers may make them at the same time."""

    def __init__(
        self, database: Database, vault: Vault, after_s: int = 300, clock: Callable[[], int] = now_us
    ) -> None:
        """`after_s`: how long after its hour a digest is made, so that hardly a record is late."""
        self._database = database
        self._vault = vault
        self._after = after_s * SECOND
        self._clock = clock

    async def make_due(self) -> int:
        """Make every digest that is due; gives the number of those that have changed.

        Raises DatabaseUnavailable.
        """
        while await self._look_at_new_cdrs():
            pass
        made = 0
        while True:
            async with self._database.read() as connection:
                due = await store.due(connection, self._clock(), _DIGESTS_AT_ONCE)
            for row in due:
                made += await self._make(row)
            if len(due) < _DIGESTS_AT_ONCE:
                return made

    async def _look_at_new_cdrs(self) -> bool:
        """Note which hours have new CDRs; tells whether there may be more."""
        async with self._database.read() as connection:
            mark = await store.mark(connection)
            rows = await store.new_cdrs(connection, mark, _CDRS_AT_ONCE)
        if not rows:
            return False
        async with self._database.begin() as connection:
            if await store.move_mark(connection, mark, rows[-1]["seq"]):
                for changed in self._changed_hours(rows):
                    await store.touch(connection, changed)
        return len(rows) == _CDRS_AT_ONCE

    def _changed_hours(self, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
        now = self._clock()
        hours: dict[tuple[str, int], dict[str, Any]] = {}
        for row in rows:
            customer_id, hour = row["customer_id"], row["ended_at"] // HOUR * HOUR
            if customer_id is None:
                continue
            entry = hours.setdefault(
                (customer_id, hour),
                {
                    "customer_id": customer_id,
                    "hour": hour,
                    "first_seq": row["seq"],
                    "due_at": max(hour + HOUR + self._after, now),
                },
            )
            entry["last_seq"] = row["seq"]
        # one order for every worker, so that none waits for another in a circle
        return [hours[key] for key in sorted(hours)]

    async def _make(self, row: RowMapping) -> bool:
        tally = Tally()
        async with self._database.read() as connection:
            async for call_id, answered_at, ended_at in store.cdrs_of(connection, row):
                tally.add(call_id, ms_between(answered_at, ended_at) or 0)
        numbers = (tally.count, tally.billable_s, tally.sha256)
        is_new = numbers != (row["count"], row["billable_s"], row["sha256"])
        now = self._clock()
        digest = Digest(row["customer_id"], row["hour"], row["revision"] + 1, *numbers, created_at=now)
        async with self._database.begin() as connection:
            if not is_new:
                await store.finish(connection, row, {})
            elif await store.finish(connection, row, _values(digest)):
                document = digest_document(digest)
                await announce_digest(connection, self._vault, digest.customer_id, document, now)
                return True
        return False

    async def page(
        self,
        customer_id: str | None,
        after: tuple[int, str],
        limit: int,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Digest]:
        """At most `limit` digests (of one customer, or None: all) behind (hour, customer) `after`.

        `since` and `until` bound the first moment of the hour, the latter from outside.
        """
        async with self._database.read() as connection:
            rows = await store.page(
                connection, after, limit, customer_id=customer_id, since=since, until=until
            )
        return [Digest(**{name: row[name] for name in Digest.__slots__}) for row in rows]


def _values(digest: Digest) -> dict[str, Any]:
    return {
        "revision": digest.revision,
        "count": digest.count,
        "billable_s": digest.billable_s,
        "sha256": digest.sha256,
        "created_at": digest.created_at,
    }
