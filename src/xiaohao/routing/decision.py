"""Decides a call whose customer is to be asked: asks, judges the answer, falls back."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from xiaohao.calls.model import Call, Reason, Routed
from xiaohao.clock import now_us, rfc3339
from xiaohao.routing import wire
from xiaohao.routing.asking import Asked
from xiaohao.routing.judging import NotAllowed, Prefixes, Way, way_of, wish_of
from xiaohao.routing.model import (
    Announce,
    Answer,
    Connect,
    Fallback,
    Queue,
    RefusalReason,
    Refuse,
    Terms,
    Verdict,
)

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
    """What becomes of the call: it goes this `way`, as it is bound, or nowhere for this `reason`.

    `prompt` is the name of what the caller hears then, `told_as` why a customer refuses.
    """

    routed: Routed
    way: Way | None = None
    as_bound: bool = False
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


@dataclass(slots=True)
class Asking:
    """One call whose customer is asked. `is_bound`: scheme 1 would connect it."""

    call: Call
    desk: Asks
    judge: Judge
    answers: Remembers
    is_bound: bool
    budget_s: float
    test: bool = False

    async def decide(self) -> Decision:
        """Ask, and decide. Raises DatabaseUnavailable."""
        terms = self.desk.terms
        budget_ms = min(terms.deadline_ms, round(self.budget_s * 1000))
        name, body = self.question(budget_ms)
        asked = await self.desk.ask(name, body, self.budget_s)
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

    def question(self, within_ms: int) -> tuple[str, str]:
        """The id of the question and its JSON."""
        call = self.call
        data = wire.QuestionData(
            call.id,
            call.caller,
            call.dialled,
            rfc3339(call.received_at),
            call.binding_id,
            call.order_ref,
            within_ms,
            self.test,
        )
        return wire.question(data, now_us())

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
                return self._decision(decided_by, answer, asked, reason=Reason.QUEUE_MISSING)
            case Refuse():
                reason = Reason.CUSTOMER_REFUSED
                return self._decision(decided_by, answer, asked, reason=reason, told_as=answer.reason)

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
        elif what.get("prompt"):
            action = "announce"
        routed = Routed(
            str(decided_by),
            action,
            (verdict or asked.verdict).value,
            asked.took_ms,
            None if last is None else last.url,
            problem,
        )
        order_ref, user_data = (None, None) if answer is None else (answer.order_ref, answer.user_data)
        return Decision(routed, asked=asked, order_ref=order_ref, user_data=user_data, **what)
