"""The policies as a call meets them: what is in memory decides at once, what is counted asks the database.

What is in memory is always there, and in force: a database that is away changes nothing about it. Limits fail
open: a call that cannot be counted in time goes through, because a limit is worth less than a call.
"""

import asyncio
from typing import Final

import structlog

from xiaohao.bindings.model import Role
from xiaohao.calls.model import Call, Reason
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.policies.counting import Claim, Counters
from xiaohao.policies.decision import Counted, Facts, decide, seats_of_waiting
from xiaohao.policies.table import PolicyTable
from xiaohao.secrecy import Vault
from xiaohao.switch import metrics

_log = structlog.get_logger()
#: a call that has waited so long to be counted goes through uncounted, or counted too late
_LONGEST_S: Final = 0.5


class Policing:
    """The policies of one switch."""

    def __init__(self, database: Database, vault: Vault, decision_ms: int) -> None:
        """`decision_ms`: within how much time a call must be decided."""
        self._table = PolicyTable(database)
        self._vault = vault
        self._counters = Counters(database)
        self._patience_s = min(_LONGEST_S, decision_ms / 4000)
        self._seated: set[str] = set()
        self._abandoned: set[asyncio.Task[Counted | None]] = set()

    async def follow(self) -> None:
        """Read what has changed; from then on it is in force. Raises DatabaseUnavailable."""
        await self._table.load()

    async def judge(self, call: Call, display_trunk_id: str | None) -> Reason | None:
        """Why this call is refused; None: it is not. Its customer, callee and displayed number are known."""
        if call.customer_id is None or call.callee is None or call.displayed is None:
            return None
        facts = Facts(
            customer_id=call.customer_id,
            caller=call.caller,
            callee=call.callee,
            dialled=call.dialled,
            displayed=call.displayed,
            role=None if call.role is None else Role(call.role),
            at=call.received_at,
            trunk_in=call.trunk_in,
            trunk_out=display_trunk_id,
        )
        verdict = decide(self._table.index, facts, self._vault.index)
        if verdict.reason is not None or not (verdict.hits or verdict.seats):
            return verdict.reason
        return await self._claim(Claim(call.id, call.received_at, verdict.hits, verdict.seats))

    async def seat(self, call: Call) -> Reason | None:
        """Why this caller may not wait for a callee who is not known yet; None: they may, and are counted."""
        if call.customer_id is None:
            return None
        facts = Facts(
            customer_id=call.customer_id,
            caller=call.caller,
            callee="",
            dialled=call.dialled,
            displayed="",
            role=None,
            at=call.received_at,
            trunk_in=call.trunk_in,
        )
        seats = seats_of_waiting(self._table.index, facts, self._vault.index)
        return await self._claim(Claim(call.id, call.received_at, (), seats)) if seats else None

    async def _claim(self, claim: Claim) -> Reason | None:
        full = await self._count(claim)
        if full is None and claim.seats:
            self._seated.add(claim.call_id)
        return None if full is None else full.reason

    async def _count(self, claim: Claim) -> Counted | None:
        counting = asyncio.ensure_future(self._counted(claim))
        try:
            await asyncio.wait({counting}, timeout=self._patience_s)
        finally:
            if not counting.done():
                self._abandoned.add(counting)
                counting.add_done_callback(self._abandoned.discard)
        if counting.done():
            return counting.result()
        metrics.CALLS_UNCOUNTED.inc()
        _log.warning("call_counted_too_late", call_id=claim.call_id)
        return None

    async def _counted(self, claim: Claim) -> Counted | None:
        try:
            return await self._counters.claim(claim)
        except DatabaseUnavailable as error:
            metrics.CALLS_UNCOUNTED.inc()
            _log.warning("call_not_counted", call_id=claim.call_id, error=str(error))
        except Exception as error:  # noqa: BLE001 – a fault of ours must not keep people from one another
            metrics.CALLS_UNCOUNTED.inc()
            _log.error("call_not_counted", call_id=claim.call_id, error=type(error).__name__)
        return None

    def release(self, call_id: str) -> None:
        """A call is over."""
        if call_id in self._seated:
            self._seated.discard(call_id)
            self._counters.release(call_id)

    async def close(self) -> None:
        """Write what waits."""
        await self._counters.close()
