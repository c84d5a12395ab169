"""Suspicions of fraud: the worker reads each CDR once and counts by caller, or by the number displayed.

What it counts is in its memory; after a restart, or when a rule was changed, the CDRs of the longest window
are read again. Several workers come to the same suspicion: the first one to write it raises the alarm.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import RowMapping

from xiaohao.clock import SECOND, now_us, rfc3339_or_none
from xiaohao.database.engine import Database
from xiaohao.database.horizon import horizon
from xiaohao.database.schema import cdrs
from xiaohao.ids import ordered_id
from xiaohao.notifications.service import announce_fraud
from xiaohao.notifications.wire import FraudEventData
from xiaohao.policies import alarm_store, store
from xiaohao.policies.model import EVERYBODY, Fraud, Per, Rule, SetBy
from xiaohao.policies.table import rule_of
from xiaohao.secrecy import Vault

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 500
#: subjects of one rule that nobody has heard of for a window are forgotten when there are so many
_SUBJECTS: Final = 10_000


@dataclass(slots=True)
class Tally:
    """The calls of one subject within a window."""

    calls: deque[tuple[int, str, bool, bool]] = field(default_factory=deque)
    others: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    short: int = 0

    def add(self, at: int, other: str, answered: bool, short: bool) -> None:
        """A call to `other` has ended."""
        self.calls.append((at, other, answered, short))
        self.others[other] += 1
        self.answered += answered
        self.short += short

    def forget(self, before: int) -> None:
        """Leave out what came in before the window."""
        while self.calls and self.calls[0][0] <= before:
            _, other, answered, short = self.calls.popleft()
            self.others[other] -= 1
            if not self.others[other]:
                del self.others[other]
            self.answered -= answered
            self.short -= short

    def suspicion(self, rule: Fraud) -> dict[str, float] | None:
        """What was counted, where it is suspicious."""
        count = len(self.calls)
        found: dict[str, float] = {"calls": count, "numbers": len(self.others), "answered": self.answered}
        found["short"] = self.short
        suspicious = rule.numbers is not None and len(self.others) >= rule.numbers
        if count >= rule.least_calls:
            if rule.answer_ratio is not None and self.answered <= rule.answer_ratio * count:
                suspicious = True
            if (
                rule.short_ratio is not None
                and self.answered
                and self.short >= rule.short_ratio * self.answered
            ):
                suspicious = True
        return found if suspicious else None


class FraudWatch:
    """Looks at CDRs as they come. One per worker; `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._revision = -1
        self._rules: list[Rule] = []
        self._tallies: dict[str, dict[bytes, Tally]] = {}
        self._seq: int | None = None

    async def look(self) -> int:
        """Read the CDRs that have come, raise alarms; says how many. Raises DatabaseUnavailable."""
        await self._load()
        if not self._rules:
            self._seq = None
            return 0
        since = self._clock() - max(_spec(rule).window_s for rule in self._rules) * SECOND
        alarms = 0
        while True:
            async with self._database.read() as connection:
                until = await horizon(connection, cdrs)
                if self._seq is None:
                    self._seq = await alarm_store.first_cdr(connection, since) - 1
                page = await alarm_store.cdrs_after(connection, self._seq, until, since, _AT_ONCE)
            for row in page:
                alarms += await self._count(row)
                self._seq = row["seq"]
            if len(page) < _AT_ONCE:
                return alarms

    async def _load(self) -> None:
        async with self._database.read() as connection:
            revision = (await store.revisions(connection)).rules
            if revision == self._revision:
                return
            rows = await store.all_rules(connection)
        rules = sorted((r for r in map(rule_of, rows) if isinstance(r.spec, Fraud)), key=lambda r: r.id)
        if rules != self._rules:
            self._rules, self._tallies, self._seq = rules, {rule.id: {} for rule in rules}, None
        self._revision = revision

    async def _count(self, row: RowMapping) -> int:
        now = self._clock()
        alarms = 0
        for rule in self._rules:
            spec = _spec(rule)
            if rule.customer_id not in (EVERYBODY, row["customer_id"]):
                continue
            if rule.number is not None and rule.number != row["dialled"]:
                continue
            subject, other = self._subject(spec.per, row)
            if subject is None or other is None:
                continue
            tallies = self._tallies[rule.id]
            if len(tallies) > _SUBJECTS:
                self._forget_silent(tallies, now - spec.window_s * SECOND)
            tally = tallies.setdefault(subject, Tally())
            talked = None if row["answered_at"] is None else row["ended_at"] - row["answered_at"]
            short = talked is not None and talked < spec.short_s * SECOND
            tally.add(row["received_at"], other, talked is not None, short)
            tally.forget(now - spec.window_s * SECOND)
            found = tally.suspicion(spec)
            if found is not None:
                alarms += await self._raise(rule, subject, self._sealed_of(spec.per, row), found, now)
        return alarms

    def _subject(self, per: Per, row: Mapping[Any, Any]) -> tuple[bytes | None, str | None]:
        if per is Per.CALLER:
            return row["caller_key"], row["dialled"]
        displayed, callee = row["displayed"], row["callee_key"]
        return None if displayed is None else self._vault.index(displayed), callee and callee.hex()

    def _sealed_of(self, per: Per, row: Mapping[Any, Any]) -> bytes:
        sealed: bytes = row["caller_sealed"] if per is Per.CALLER else self._vault.seal(str(row["displayed"]))
        return sealed

    @staticmethod
    def _forget_silent(tallies: dict[bytes, Tally], before: int) -> None:
        for subject in [s for s, tally in tallies.items() if not tally.calls or tally.calls[-1][0] <= before]:
            del tallies[subject]

    async def _raise(
        self, rule: Rule, subject: bytes, sealed: bytes, found: dict[str, float], now: int
    ) -> int:
        spec = _spec(rule)
        async with self._database.read() as connection:
            if await alarm_store.is_quiet(connection, rule.id, subject, now):
                return 0
        alarm_id = ordered_id("alm")
        blocked_until = now + spec.block_s * SECOND if spec.block_s else None
        async with self._database.begin() as connection:
            await store.begin_change(connection)
            if await alarm_store.is_quiet(connection, rule.id, subject, now):
                return 0  # another worker was faster
            await alarm_store.add(
                connection,
                {
                    "id": alarm_id,
                    "rule_id": rule.id,
                    "set_by": rule.set_by.value,
                    "customer_id": rule.customer_id,
                    "number": rule.number,
                    "per": spec.per.value,
                    "subject_key": subject,
                    "subject_sealed": sealed,
                    "at": now,
                    "quiet_until": now + max(spec.window_s, spec.block_s) * SECOND,
                    "found": msgspec.json.encode(found).decode(),
                    "blocked_until": blocked_until,
                },
            )
            if rule.set_by is SetBy.CUSTOMER or rule.customer_id != EVERYBODY:
                data = FraudEventData(
                    alarm_id=alarm_id,
                    rule_id=rule.id if rule.set_by is SetBy.CUSTOMER else None,
                    per=spec.per.value,
                    subject=self._vault.open(sealed),
                    found=found,
                    blocked_until=rfc3339_or_none(blocked_until),
                )
                await announce_fraud(connection, self._vault, rule.customer_id, data, now)
        _log.warning("fraud_suspected", alarm_id=alarm_id, rule_id=rule.id, per=spec.per.value, **found)
        return 1


def _spec(rule: Rule) -> Fraud:
    assert isinstance(rule.spec, Fraud)  # noqa: S101 – others are not kept
    return rule.spec
