"""What can be done with a customer's own routing: setting it up, saying what asks, and trying it.

Where a `customer_id` says who asks, None is the operator, who sees everything; what is not a customer's own
is for it as if it were not there.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings.lookup_store import recognised
from xiaohao.bindings.recognition import LegMatch, Outcome
from xiaohao.calls.model import Call
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found, validation_failed
from xiaohao.numbers.model import canonical
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.rules import check_url, checked_secret, new_secret
from xiaohao.policies.decision import Facts
from xiaohao.policies.explaining import Explaining
from xiaohao.prompts.model import NOTHING, SITUATIONS
from xiaohao.prompts.store import playable
from xiaohao.routing import store
from xiaohao.routing.asking import Desk
from xiaohao.routing.decision import Asking, Decision, Judge
from xiaohao.routing.fairness import Places
from xiaohao.routing.judging import NotAllowed, Way, way_of, wish_of
from xiaohao.routing.memory import LastAnswers
from xiaohao.routing.model import BESIDE_MS, LEAST_DEADLINE_MS, Connect, Decider, Fallback, Queue, Terms
from xiaohao.routing.table import is_bound, judge_of
from xiaohao.routing.waiting import Waiting, until
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

_terms_of = msgspec.json.Decoder(Terms).decode
_CALLS: Final = "one call"


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a number or pool, and what follows: who decides its calls."""

    own: Decider | None
    pool: Decider | None
    everything: bool

    @property
    def decider(self) -> Decider:
        """Who decides: the number's own word comes before its pool's, that before its customer's."""
        return self.own or self.pool or (Decider.ASK if self.everything else Decider.BINDINGS)


@dataclass(frozen=True, slots=True)
class Trial:
    """A call that was only played. `is_asked`: a real one would be asked about."""

    is_asked: bool
    outcome: Outcome
    question: dict[str, Any] = field(repr=False)
    decision: Decision = field(repr=False)


@dataclass(frozen=True, slots=True)
class Again:
    """A call that is played as if its caller had waited so long: this is question number `attempt`."""

    attempt: int
    queue: str
    waited_ms: int

    def waiting(self, call: Call, longest_s: int) -> Waiting:
        """How the caller waits."""
        since, answer = call.received_at - self.waited_ms * 1000, Queue(self.queue)
        over = until(since, answer, longest_s)
        return Waiting(answer, since, over, self.attempt - 1, call.binding_id, call.order_ref)


class Routing:
    """Scheme 2 as customers set it up. `clock` gives microseconds since the epoch."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        settings: Settings,
        clock: Callable[[], int] = now_us,
        explaining: Explaining | None = None,
    ) -> None:
        """`explaining`: the process's own, for the calls that are played."""
        self._explaining = explaining or Explaining(database, vault, clock)
        self._database, self._vault, self._settings, self._clock = database, vault, settings, clock
        self._judge = judge_of(settings, self._shown)

    @property
    def longest_deadline_ms(self) -> int:
        """The longest deadline that leaves time to decide."""
        return max(self._settings.calls.decision_ms - BESIDE_MS, LEAST_DEADLINE_MS)

    async def terms(self, customer_id: str) -> Terms | None:
        """How a customer is asked; None where nothing was ever set up."""
        async with self._database.read() as connection:
            return await self._terms(connection, customer_id)

    async def plan(self, customer_id: str, wanted: Terms) -> Terms:
        """Ask a customer so from now on; the secrets of `wanted` do not count, those that there are stay.

        Raises Refusal: `validation_failed`.
        """
        await self._check(customer_id, wanted)
        async with self._database.begin() as connection:
            named = wanted.announcement
            if named is not None and named not in await _prompts(connection, customer_id):
                raise validation_failed("announcement", "there is no prompt of this name")
            version = await store.begin_change(connection)
            old = await self._terms(connection, customer_id)
            secret = new_secret() if old is None else old.secret
            terms = msgspec.structs.replace(
                wanted,
                secret=secret,
                old_secret=None if old is None else old.old_secret,
                old_secret_until=None if old is None else old.old_secret_until,
            )
            await self._put(connection, customer_id, terms, version)
            if old is not None and old.keep_answers_s != terms.keep_answers_s:
                # which of two was the later answer is told by when it ends
                await store.forget_answers(connection, customer_id)
        return terms

    async def set_secret(self, customer_id: str, secret: str | None = None, overlap_s: int = 0) -> Terms:
        """Sign with `secret`, or a new random one; for `overlap_s` seconds the one before signs, too.

        Raises Refusal: `validation_failed`.
        """
        text = new_secret() if secret is None else checked_secret(secret)
        async with self._database.begin() as connection:
            version = await store.begin_change(connection)
            old = await self._terms(connection, customer_id)
            terms = Terms(text)
            if old is not None:
                until = self._clock() + overlap_s * SECOND
                kept = (old.secret, until) if overlap_s else (None, None)
                terms = msgspec.structs.replace(
                    old, secret=text, old_secret=kept[0], old_secret_until=kept[1]
                )
            await self._put(connection, customer_id, terms, version)
        return terms

    async def of_number(self, number: str, customer_id: str | None = None) -> Said:
        """Who decides the calls of a number. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            return await self._of_number(connection, number, customer_id)

    async def set_number(self, number: str, decider: Decider | None, customer_id: str | None = None) -> Said:
        """Say who decides the calls of a number; None: as its pool, or its customer's other numbers.

        Raises Refusal: `not_found`, `routing_not_set_up`.
        """
        async with self._database.begin() as connection:
            await self._of_number(connection, number, customer_id)
            row = await store.number(connection, canonical(number) or "")
            if row is not None and decider is Decider.ASK:
                await self._check_set_up(connection, row["customer_id"])
            await store.put_number(connection, canonical(number) or "", decider, self._clock())
            return await self._of_number(connection, number, customer_id)

    async def of_pool(self, pool_id: str, customer_id: str | None = None) -> Said:
        """Who decides the calls of a pool's numbers. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            return (await self._of_pool(connection, pool_id, customer_id))[0]

    async def set_pool(self, pool_id: str, decider: Decider | None, customer_id: str | None = None) -> Said:
        """The same for all numbers of a customer's pool of which nothing else is said.

        Raises Refusal: `not_found`, `routing_not_set_up`, `pool_is_shared`.
        """
        async with self._database.begin() as connection:
            _, owner = await self._of_pool(connection, pool_id, customer_id)
            if owner is None:
                raise conflict("pool_is_shared", "The pool is shared", "It is nobody's to be asked about.")
            if decider is Decider.ASK:
                await self._check_set_up(connection, owner)
            version = await store.begin_change(connection)
            await store.put_pool(connection, pool_id, owner, decider, version)
            return (await self._of_pool(connection, pool_id, customer_id))[0]

    async def test(
        self, customer_id: str, caller: str | None, dialled: str, again: Again | None = None
    ) -> Trial:
        """Play a call against the customer's URL: nobody's phone rings, and nothing is kept.

        `again`: as if it had been asked before. Raises Refusal: `not_found` (the number is not the
        customer's), `routing_not_set_up`.
        """
        number, now = canonical(dialled) or "", self._clock()
        async with self._database.read() as connection:
            match = await recognised(connection, self._vault, caller or None, number, now)
            if match.customer_id != customer_id:
                raise not_found("number")
            terms = await self._terms(connection, customer_id)
            said = await store.number(connection, number)
            prompts = await _prompts(connection, customer_id)
        if terms is None or terms.url is None:
            raise _not_set_up()
        is_asked = match.outcome is Outcome.ROUTING_MISSING
        if said is not None and match.door is Outcome.CONNECT:
            is_asked = is_asked or _said(said, terms).decider is Decider.ASK
        judging = replace(self._judge, has_prompt=lambda _, name: name in prompts)
        call = Call(str(uuid.uuid4()), "", now, number, caller, customer_id=customer_id)
        call.binding_id, call.order_ref = match.binding_id, match.order_ref
        return await self._play(call, match, terms, is_asked, judging, again)

    async def _play(
        self,
        call: Call,
        match: LegMatch,
        terms: Terms,
        is_asked: bool,
        judging: Judge,
        again: Again | None,
    ) -> Trial:
        customer_id = str(call.customer_id)
        network = Network(self._settings.notifications.allow_private_urls)
        desk = Desk(customer_id, terms, network, Places(1))
        answers = LastAnswers(self._database, self._vault)
        budget_s = terms.deadline_ms / 1000
        bound = is_bound(match, call.caller)
        waiting = None if again is None else again.waiting(call, judging.longest_wait_s)
        asking = Asking(call, desk, judging, answers, bound, budget_s, test=True, waiting=waiting)
        try:
            _, text = asking.question(terms.deadline_ms)
            decision = await asking.decide()
        finally:
            desk.close()
            network.close()
        if decision.way is not None:
            decision = await self._policed(call, decision, decision.way)
        return Trial(is_asked, match.outcome, msgspec.json.decode(text), decision)

    async def _policed(self, call: Call, decision: Decision, way: Way) -> Decision:
        facts = Facts(
            customer_id=call.customer_id or "",
            caller=call.caller,
            callee=way.callee,
            dialled=call.dialled,
            displayed=way.display,
            role=None,
            at=call.received_at,
            trunk_out=way.display_trunk_id,
        )
        reason = (await self._explaining.explain(facts)).reason
        if reason is None:
            return decision
        return replace(decision, reason=reason, routed=decision.routed.refused_by(reason.value))

    async def _check(self, customer_id: str, wanted: Terms) -> None:
        allow_private = self._settings.notifications.allow_private_urls
        check_url("url", wanted.url, allow_private=allow_private)
        check_url("second_url", wanted.second_url, allow_private=allow_private)
        if wanted.second_url is not None and wanted.second_url == wanted.url:
            raise validation_failed("second_url", "must be another one than url")
        if wanted.second_url is not None and wanted.url is None:
            raise validation_failed("second_url", "goes together with url")
        if not LEAST_DEADLINE_MS <= wanted.deadline_ms <= self.longest_deadline_ms:
            limits = f"{LEAST_DEADLINE_MS} and {self.longest_deadline_ms}"
            raise validation_failed("deadline_ms", f"must be between {limits}")
        if len(set(wanted.fallbacks)) < len(wanted.fallbacks):
            raise validation_failed("fallbacks", "must be different ones")
        needs = {
            Fallback.LAST_ANSWER: ("keep_answers_s", wanted.keep_answers_s),
            Fallback.DEFAULT: ("default", wanted.default),
            Fallback.ANNOUNCEMENT: ("announcement", wanted.announcement),
        }
        for fallback in wanted.fallbacks:
            name, given = needs.get(fallback, ("", True))
            if not given:
                raise validation_failed(name, f"is needed by the fallback {fallback.value}")
        await self._check_default(customer_id, wanted)

    async def _check_default(self, customer_id: str, wanted: Terms) -> None:
        there = wanted.default
        if there is None:
            return
        answer = Connect(there.callee, there.display)
        try:
            # which number is dialled, and shown where none is named, is not known yet
            wish = wish_of(answer, None, _CALLS, self._judge.prefixes, self._judge.region)
            if there.display is not None:
                row = await self._shown(wish.display, wish.callee)
                way_of(answer, wish, row, customer_id, _CALLS, self._clock())
        except NotAllowed as error:
            part, _, problem = str(error).partition(": ")
            raise validation_failed(f"default.{part}", problem) from None
        if there.display is None and await self._shown(wish.callee, wish.callee) is not None:
            raise validation_failed("default.callee", "is a number of the platform, not a person's")

    async def _shown(self, display: str, callee: str) -> Sequence[Any] | None:
        async with self._database.read() as connection:
            return await store.shown(connection, display, callee)

    async def _terms(self, connection: AsyncConnection, customer_id: str | None) -> Terms | None:
        sealed = None if customer_id is None else await store.find(connection, customer_id)
        return None if sealed is None else _terms_of(self._vault.open(sealed))

    async def _put(self, connection: AsyncConnection, customer_id: str, terms: Terms, version: int) -> None:
        sealed = self._vault.seal(msgspec.json.encode(terms).decode())
        await store.put(connection, customer_id, sealed, version, self._clock())

    async def _check_set_up(self, connection: AsyncConnection, customer_id: str | None) -> None:
        terms = await self._terms(connection, customer_id)
        if terms is None or terms.url is None:
            raise _not_set_up()

    async def _of_number(self, connection: AsyncConnection, number: str, customer_id: str | None) -> Said:
        row = await store.number(connection, canonical(number) or "")
        if row is None or (customer_id is not None and row["customer_id"] != customer_id):
            raise not_found("number")
        return _said(row, await self._terms(connection, row["customer_id"]))

    async def _of_pool(
        self, connection: AsyncConnection, pool_id: str, customer_id: str | None
    ) -> tuple[Said, str | None]:
        row = await store.pool(connection, pool_id)
        if row is None or (customer_id is not None and row["customer_id"] != customer_id):
            raise not_found("pool")
        terms = await self._terms(connection, row["customer_id"])
        own = None if row["routing"] is None else Decider(row["routing"])
        return Said(own, None, terms is not None and terms.everything), row["customer_id"]


async def _prompts(connection: AsyncConnection, customer_id: str) -> set[str]:
    """What a customer may have played, by name."""
    return await playable(connection, customer_id) | SITUATIONS | {NOTHING}


def _said(row: Any, terms: Terms | None) -> Said:
    own = None if row["routing"] is None else Decider(row["routing"])
    pool = None if row["pool_routing"] is None else Decider(row["pool_routing"])
    return Said(own, pool, terms is not None and terms.everything)


def _not_set_up() -> Exception:
    return conflict(
        "routing_not_set_up",
        "Routing is not set up",
        "Say with PUT /v1/routing which URL is asked about calls.",
    )
