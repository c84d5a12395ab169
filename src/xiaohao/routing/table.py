"""The switch's side of scheme 2: which customers are asked about which numbers, as the database has it."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from xiaohao.bindings.recognition import LegMatch, Outcome
from xiaohao.calls.model import Call, Reason, Routed
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.remembered import RememberingNetwork
from xiaohao.routing import metrics, store
from xiaohao.routing.asking import Asked, Desk
from xiaohao.routing.breaker import State
from xiaohao.routing.decision import Asking, Decision, Judge, Shown
from xiaohao.routing.fairness import Places
from xiaohao.routing.judging import Prefixes
from xiaohao.routing.memory import LastAnswers
from xiaohao.routing.model import BESIDE_MS, Decider, Terms, Verdict
from xiaohao.routing.waiting import Waiting, WaitingRoom
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.settings import Settings

_log = structlog.get_logger(__name__)

#: name servers that say nothing hold so many threads at the most, each only while one is waited for
_LOOKUPS_AT_ONCE = 256
_terms_of = msgspec.json.Decoder(Terms).decode


def is_bound(match: LegMatch, caller: str | None) -> bool:
    """Whether scheme 1 would connect this call, or ask the caller whom they mean."""
    if match.outcome is Outcome.NO_Y_FREE:
        return caller is not None
    return match.outcome in (Outcome.CONNECT, Outcome.EXTENSION_NEEDED)


class RoutingTable:
    """Who is asked, and the asking."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        network: Network,
        judge: Judge,
        decision_ms: int,
        most_waiting: int,
        clock: Callable[[], float] = time.monotonic,
        room: WaitingRoom | None = None,
    ) -> None:
        """`most_waiting`: questions under way at once, of all customers; `clock` is for the breakers.

        `room`: for callers who wait; None: for one of each customer.
        """
        self._database, self._vault, self._network, self._judge = database, vault, network, judge
        self._decision_us = decision_ms * 1000
        self._places, self._clock = Places(most_waiting), clock
        self._room = room or WaitingRoom(1)
        self._version = 0
        self._desks: dict[str, Desk] = {}
        #: by pool: its customer, and who decides
        self._pools: dict[str, tuple[str, Decider]] = {}
        self.answers = LastAnswers(database, vault)

    async def load(self) -> None:
        """Learn what has changed. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            version = await store.mark(connection)
            if version == self._version:
                return
            # what comes in between the two is read again the next time
            terms = await store.changed(connection, self._version)
            pools = await store.changed_pools(connection, self._version)
        for row in terms:
            self._change(row["customer_id"], row["terms_sealed"])
        for row in pools:
            self._pools.pop(row["pool_id"], None)
            if row["routing"] is not None:
                self._pools[row["pool_id"]] = (row["customer_id"], Decider(row["routing"]))
        self._version = version

    def _change(self, customer_id: str, sealed: bytes) -> None:
        try:
            terms = _terms_of(self._vault.open(sealed))
        except (SecrecyError, msgspec.DecodeError):
            _log.error("routing_cannot_be_opened", customer_id=customer_id)
            return
        self.answers.forget(customer_id)
        desk = self._desks.get(customer_id)
        if desk is None:
            self._desks[customer_id] = Desk(customer_id, terms, self._network, self._places, self._clock)
        else:
            desk.change(terms)

    def asks(self, match: LegMatch) -> bool:
        """Whether the customer of the number dialled is to be asked about this call."""
        if match.door is not Outcome.CONNECT:
            return False
        if match.outcome is Outcome.ROUTING_MISSING:
            return True  # a binding of mode x
        if not self._desks or match.customer_id is None:
            return False
        if match.routing is not None:
            return match.routing == Decider.ASK
        owner, decider = self._pools.get(match.pool_id or "", (None, None))
        if decider is not None and owner == match.customer_id:
            return decider is Decider.ASK
        desk = self._desks.get(match.customer_id)
        return desk is not None and desk.terms.everything

    async def decide(self, call: Call, match: LegMatch, waiting: Waiting | None = None) -> Decision | None:
        """Ask the customer of this call, and decide; None where nothing is set up to ask.

        `waiting`: it was asked before, and the caller waits. Raises DatabaseUnavailable.
        """
        asking = self._asking(call, match, waiting)
        if asking is None:
            return None
        decision = await asking.decide()
        waits = decision.waiting
        if waits is not None and not self._room.enter(str(call.customer_id), call.id):
            asked = decision.asked or _before(decision.routed)
            decision = await asking.give_up(waits, asked, Reason.QUEUE_FULL)
        self._count(decision, str(call.customer_id))
        return decision

    async def give_up(self, call: Call, match: LegMatch, waiting: Waiting) -> Decision | None:
        """A caller has waited as long as they may: what is to be then; None as above."""
        asking = self._asking(call, match, waiting)
        if asking is None or call.routing is None:
            return None
        return await asking.give_up(waiting, _before(call.routing), Reason.QUEUE_TIMEOUT)

    def leave(self, call_id: str) -> None:
        """The caller waits no longer; nothing where they did not."""
        self._room.leave(call_id)

    def _asking(self, call: Call, match: LegMatch, waiting: Waiting | None) -> Asking | None:
        desk = self._desks.get(call.customer_id or "")
        if desk is None:
            return None
        left_us = self._decision_us
        if waiting is None:  # else nobody waits for the decision but the caller, who is told so
            left_us = min(call.received_at + left_us - BESIDE_MS * 1000 - now_us(), left_us)
        bound = is_bound(match, call.caller)
        budget_s = max(left_us / SECOND, 0.05)
        return Asking(call, desk, self._judge, self.answers, bound, budget_s, waiting=waiting)

    def _count(self, decision: Decision, customer: str) -> None:
        routed = decision.routed
        if decision.asked is not None and decision.asked.attempts:
            metrics.SECONDS.labels(customer).observe(routed.took_ms / 1000)
        metrics.ASKED.labels(customer, routed.verdict).inc()
        metrics.DECIDED.labels(customer, routed.decided_by).inc()

    async def keep_up(self) -> None:
        """Once in a while: show the state, write answers. Raises DatabaseUnavailable."""
        self._show()
        await self.answers.write()

    def _show(self) -> None:
        now = self._clock()
        for customer, desk in self._desks.items():
            for name, breaker in desk.states().items():
                metrics.BREAKER.labels(customer, name).set(breaker.state(now) is not State.CLOSED)
        metrics.WAITING.set(self._places.total)

    async def close(self) -> None:
        """Close all connections, and write down what is not."""
        for desk in self._desks.values():
            desk.close()
        await asyncio.sleep(0)
        self._network.close()


def _before(routed: Routed) -> Asked:
    """What came of asking the last time."""
    return Asked(Verdict(routed.verdict), routed.took_ms)


def judge_of(
    settings: Settings, shown: Shown, has_prompt: Callable[[str, str], bool] = lambda customer_id, name: True
) -> Judge:
    """What answers are judged by on this platform."""
    limits = settings.routing
    prefixes = Prefixes(tuple(limits.callee_prefixes), tuple(limits.forbidden_prefixes))
    return Judge(prefixes, settings.calls.region, shown, has_prompt, limits.longest_wait_s)


def routing_table(
    settings: Settings,
    database: Database,
    vault: Vault,
    shown: Shown,
    has_prompt: Callable[[str, str], bool],
) -> RoutingTable:
    """The table of a switch."""
    allow_private = settings.notifications.allow_private_urls
    network = RememberingNetwork(allow_private, lookups_at_once=_LOOKUPS_AT_ONCE)
    # what waits for customers leaves room at the edge for the calls that wait for nobody
    most = max(settings.edge.undecided_calls * 3 // 4, 1)
    judge = judge_of(settings, shown, has_prompt)
    room = WaitingRoom(settings.routing.waiting_calls)
    return RoutingTable(database, vault, network, judge, settings.calls.decision_ms, most, room=room)
