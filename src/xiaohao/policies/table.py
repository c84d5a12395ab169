"""Keeps the policies in memory as the database has them: what has changed is read, and nothing else.

One watches for the mark that moves with every change. Entries are read in parts, so that a list of a hundred
thousand holds no call up.
"""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import RowMapping

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.policies import alarm_store, store
from xiaohao.policies.calendar import DayKind
from xiaohao.policies.index import EntryRow, Index
from xiaohao.policies.model import Rule, SetBy, Spec

_AT_ONCE: Final = 500
_RULES_AT_ONCE: Final = 50
_NOTHING: Final = store.Revisions(0, 0, 0)
_decode_spec = msgspec.json.Decoder(Spec).decode


class PolicyTable:
    """The policies of one process. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock
        self.index = Index()
        self._revisions = _NOTHING
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> bool:
        """Read what has changed; says whether anything has. Raises DatabaseUnavailable."""
        async with self._one_at_a_time:
            async with self._database.read() as connection:
                now = await store.revisions(connection)
            known = self._revisions
            if now.every == known.every:
                return False
            index = self.index
            if now.purged > known.every or now.every < known.every:
                # what was removed while we were away, or before we came, may not be there to be read
                index, known = Index(), _NOTHING
            if now.rules != known.rules:
                await self._read_rules(index)
            await self._read_entries(index, known.every, now.every)
            self.index, self._revisions = index, now
            return True

    async def _read_rules(self, index: Index) -> None:
        async with self._database.read() as connection:
            rows = await store.all_rules(connection)
            days = await store.days(connection)
            blocks = await alarm_store.blocks(connection, self._clock())
        rules: list[Rule] = []
        for start in range(0, len(rows), _RULES_AT_ONCE):
            rules += map(rule_of, rows[start : start + _RULES_AT_ONCE])
            await asyncio.sleep(0)
        index.take_days({date.fromisoformat(row["day"]): DayKind(row["kind"]) for row in days})
        index.take_rules(rules)
        index.take_blocks(blocks)

    async def _read_entries(self, index: Index, revision: int, until: int) -> None:
        # what is written while we read has a greater revision, and comes with it the next time
        revision, after = revision + 1, ""
        while revision <= until:
            async with self._database.read() as connection:
                rows = await store.changed_entries(connection, revision, after, _AT_ONCE)
            found = [EntryRow(*row) for row in rows]
            index.take_entries(found)
            if len(found) < _AT_ONCE:
                return
            revision, after = found[-1].revision, found[-1].id
            await asyncio.sleep(0)


def rule_of(row: RowMapping) -> Rule:
    """A rule out of its row."""
    return Rule(
        id=row["id"],
        set_by=SetBy(row["set_by"]),
        customer_id=row["customer_id"],
        name=row["name"],
        number=row["number"],
        enabled=row["enabled"],
        spec=_decode_spec(row["spec"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
