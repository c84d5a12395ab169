"""Decides a call whose customer is to be asked: asks, judges the answer, falls back."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from msgspec import structs

from xiaohao.calls.model import Call, Reason, Routed
from xiaohao.clock import now_us, rfc3339
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.routing import wire
from xiaohao.routing.asking import Asked
from xiaohao.routing.judging import NotAllowed, Prefixes, Way, way_of, wish_of
from xiaohao.routing.model import (
    WAIT_S,
    Announce,
    Answer,
    Connect,
    Fallback,
    Otherwise,
    Queue,
    RefusalReason,
    Refuse,
    Terms,
    Verdict,
)
from xiaohao.routing.waiting import Waiting, until

CUSTOMER: Final = "customer"
NOBODY: Final = "nobody"


class Asks(Protocol):
    """A customer who is asked: `asking.Desk`."""

    terms: Terms

    async def ask(self, name: str, body: str, budget_s: float) -> Asked:
        """Ask; never raises."""


class Remembers(Protocol):
    """The last answers: `memory.LastAnswers`."""

    def remember(
        self, customer_id: str, dialled: str, caller: str | None, answer: Answer, keep_s: int
    ) -> None:
        """Keep an answer."""

    async def find(self, customer_id: str, dialled: str, caller: str | None) -> Answer | None:
        """The answer kept for a pair."""


#: the inventory's row of a number to display, and whether the callee is one of the platform's
Shown = Callable[[str, str], Awaitable[Sequence[Any] | None]]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the call: it goes this `way`, as it is bound, waits, or goes nowhere for this `reason`.

    `prompt` is the name of what the caller hears then, `told_as` why a customer refuses.
    """

    routed: Routed
    way: Way | None = None
    as_bound: bool = False
    waiting: Waiting | None = None
    reason: Reason | None = None
    prompt: str | None = None
    told_as: RefusalReason | None = None
    order_ref: str | None = None
    user_data: str | None = field(default=None, repr=False)
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """What answers are judged by."""

    prefixes: Prefixes
    region: str
    shown: Shown
    #: whether a customer has a prompt of this name
    has_prompt: Callable[[str, str], bool] = lambda customer_id, name: True
    #: nobody waits longer
    longest_wait_s: int = WAIT_S


@dataclass(slots=True)
class Asking:
    """One call whose customer is asked. `is_bound`: scheme 1 would connect it.

    `waiting`: the customer was asked before, and the caller waits since then.
    """

    call: Call
    desk: Asks
    judge: Judge
    answers: Remembers
    is_bound: bool
    budget_s: float
    test: bool = False
    waiting: Waiting | None = None

    @property
    def attempt(self) -> int:
        """Which question about the call it is."""
        return 1 if self.waiting is None else self.waiting.asked + 1

    async def decide(self) -> Decision:
        """Ask, and decide. Raises DatabaseUnavailable."""
        terms = self.desk.terms
        budget_ms = min(terms.deadline_ms, round(self.budget_s * 1000))
        name, body = self.question(budget_ms)
        asked = await self.desk.ask(name, body, self.budget_s)
        if asked.answer is None and self.waiting is not None:
            # a caller who waits does so until the customer can be asked again
            return self._wait(NOBODY, None, asked)
        if asked.answer is None:
            return await self._fall_back(terms, asked)
        try:
            decision = await self._carry_out(asked.answer, CUSTOMER, asked)
        except NotAllowed as error:
            return self._decision(
                CUSTOMER, asked.answer, asked, verdict=Verdict.NOT_ALLOWED, problem=str(error),
                reason=Reason.ROUTING_ANSWER_REFUSED,
            )  # fmt: skip
        if terms.keep_answers_s and not self.test:
            call = self.call
            self.answers.remember(
                str(call.customer_id), call.dialled, call.caller, asked.answer, terms.keep_answers_s
            )
        return decision

    async def give_up(self, waiting: Waiting, asked: Asked, reason: Reason) -> Decision:
        """The caller may not wait, or no longer, for this reason: what the answer says that is to be then."""
        answer, decision = waiting.answer, None
        if answer.otherwise is not Otherwise.ANNOUNCEMENT:
            with suppress(DatabaseUnavailable):
                decision = await self._try(Fallback(answer.otherwise.value), self.desk.terms, asked)
        if decision is None:
            prompt = answer.otherwise_prompt
            decision = self._decision(NOBODY, None, asked, reason=reason, prompt=prompt)
        told = {"attempt": waiting.asked, "waited_ms": waiting.waited_ms(now_us())}
        return replace(decision, routed=structs.replace(decision.routed, **told))

    def question(self, within_ms: int) -> tuple[str, str]:
        """The id of the question and its JSON."""
        call, waiting, now = self.call, self.waiting, now_us()
        bound = waiting or call
        data = wire.QuestionData(
            call.id,
            call.caller,
            call.dialled,
            rfc3339(call.received_at),
            bound.binding_id,
            bound.order_ref,
            within_ms,
            self.test,
            self.attempt,
            None if waiting is None else waiting.answer.queue,
            0 if waiting is None else waiting.waited_ms(now),
            None if waiting is None else waiting.left_ms(now),
        )
        return wire.question(data, now)

    async def _fall_back(self, terms: Terms, asked: Asked) -> Decision:
        for fallback in terms.fallbacks:
            decision = await self._try(fallback, terms, asked)
            if decision is not None:
                return decision
        reason = Reason.ROUTING_MISSING if asked.verdict is Verdict.NOT_SET_UP else Reason.ROUTING_FAILED
        return self._decision(NOBODY, None, asked, reason=reason)

    async def _try(self, fallback: Fallback, terms: Terms, asked: Asked) -> Decision | None:
        call = self.call
        answer: Answer | None = None
        match fallback:
            case Fallback.BINDING:
                return self._decision(fallback, None, asked, as_bound=True) if self.is_bound else None
            case Fallback.ANNOUNCEMENT:
                return self._decision(
                    fallback, None, asked, reason=Reason.ROUTING_FAILED, prompt=terms.announcement
                )
            case Fallback.DEFAULT if terms.default is not None:
                there = terms.default
                answer = Connect(there.callee, there.display, record=there.record)
            case Fallback.LAST_ANSWER if terms.keep_answers_s:
                answer = await self.answers.find(str(call.customer_id), call.dialled, call.caller)
        if answer is None:
            return None
        try:
            return await self._carry_out(answer, fallback, asked)
        except NotAllowed:
            return None  # what was right once, or when it was set, is not any more

    async def _carry_out(self, answer: Answer, decided_by: str, asked: Asked) -> Decision:
        match answer:
            case Connect():
                return self._decision(decided_by, answer, asked, way=await self._way(answer))
            case Announce():
                if not self.judge.has_prompt(str(self.call.customer_id), answer.prompt):
                    raise NotAllowed("prompt: there is none of this name")
                reason = Reason.CUSTOMER_ANNOUNCED
                return self._decision(decided_by, answer, asked, reason=reason, prompt=answer.prompt)
            case Queue():
                return self._wait(decided_by, answer, asked)
            case Refuse():
                reason = Reason.CUSTOMER_REFUSED
                return self._decision(decided_by, answer, asked, reason=reason, told_as=answer.reason)

    def _wait(self, decided_by: str, answer: Queue | None, asked: Asked) -> Decision:
        call, longest_s = self.call, self.judge.longest_wait_s
        for name in () if answer is None else ("prompt", "music", "otherwise_prompt"):
            prompt = getattr(answer, name)
            if prompt is not None and not self.judge.has_prompt(str(call.customer_id), prompt):
                raise NotAllowed(f"{name}: there is none of this name")
        if self.waiting is not None:
            waiting = self.waiting.again(self.attempt, answer, longest_s)
        else:
            assert answer is not None  # noqa: S101 – nobody begins to wait without one
            now = now_us()
            end = until(now, answer, longest_s)
            waiting = Waiting(answer, now, end, binding_id=call.binding_id, order_ref=call.order_ref)
        return self._decision(decided_by, answer, asked, waiting=waiting)

    async def _way(self, answer: Connect) -> Way:
        call, judge = self.call, self.judge
        wish = wish_of(answer, call.caller, call.dialled, judge.prefixes, judge.region)
        row = await judge.shown(wish.display, wish.callee)
        return way_of(answer, wish, row, str(call.customer_id), call.dialled, now_us())

    def _decision(
        self,
        decided_by: str,
        answer: Answer | None,
        asked: Asked,
        *,
        verdict: Verdict | None = None,
        problem: str | None = None,
        **what: Any,
    ) -> Decision:
        last = asked.last
        if problem is None and last is not None:
            problem = last.problem
        action = "refuse" if answer is None else type(answer).__name__.lower()
        if what.get("as_bound"):
            action = "connect"
        elif what.get("waiting"):
            action = "queue"
        elif what.get("prompt"):
            action = "announce"
        routed = Routed(
            str(decided_by),
            action,
            (verdict or asked.verdict).value,
            asked.took_ms,
            None if last is None else last.url,
            problem,
            self.attempt,
            0 if self.waiting is None else self.waiting.waited_ms(now_us()),
        )
        order_ref, user_data = (None, None) if answer is None else (answer.order_ref, answer.user_data)
        return Decision(routed, asked=asked, order_ref=order_ref, user_data=user_data, **what)
