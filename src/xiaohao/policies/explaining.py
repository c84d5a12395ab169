"""What the policies would say of a call, and why, without counting it."""

from collections.abc import Callable
from dataclasses import dataclass

from xiaohao.calls.model import Reason
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import not_found
from xiaohao.policies import counting_store, store
from xiaohao.policies.decision import Counted, Facts, Finding, decide
from xiaohao.policies.model import SetBy
from xiaohao.policies.table import PolicyTable
from xiaohao.secrecy import Vault


@dataclass(frozen=True, slots=True)
class Standing:
    """How a limit stands: `count` calls are counted, `most` are allowed."""

    set_by: SetBy
    rule_id: str
    what: str
    count: int
    most: int
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reason by which the call would be refused (None: it would not), and everything that had a say."""

    reason: Reason | None
    findings: list[Finding]
    limits: list[Standing]


class Explaining:
    """Plays calls against the policies. One per process; it keeps them in memory as a switch does."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._table = PolicyTable(database)

    async def explain(self, facts: Facts) -> Explanation:
        """What would become of this call. Raises Refusal: `not_found`."""
        await self._table.load()
        async with self._database.read() as connection:
            if not await store.customer_exists(connection, facts.customer_id):
                raise not_found("customer")
            verdict = decide(self._table.index, facts, self._vault.index)
            limits = []
            for counted in verdict.hits:
                since = counted.limit.since(facts.at)
                count = await counting_store.hits_since(connection, counted.subject, since)
                limits.append(_standing(counted, count, 1))
            for counted in verdict.seats:
                count = await counting_store.seats_now(connection, counted.subject, facts.at)
                wanted = {seat.place for seat in verdict.seats if seat.subject == counted.subject}
                limits.append(_standing(counted, count, len(wanted)))
        reason = verdict.reason or next((limit.reason for limit in limits if limit.reason), None)
        return Explanation(reason, verdict.findings, limits)

    async def barred(self, customer_id: str, callee: str) -> Reason | None:
        """Why anybody's call to this callee would be refused now, by the rules for all of the customer's
        numbers and whatever is counted; None: it would not.
        """
        await self._table.load()
        facts = Facts(customer_id, None, callee, "", "", None, self._clock())
        return decide(self._table.index, facts, self._vault.index).reason


def _standing(counted: Counted, count: int, needed: int) -> Standing:
    limit = counted.limit
    what = f"{limit.per.value} at a time" if limit.every is None else f"{limit.per.value} per {limit.every}"
    reason = counted.reason if count + needed > limit.most else None
    return Standing(counted.set_by, limit.rule_id, what, count, limit.most, reason)
