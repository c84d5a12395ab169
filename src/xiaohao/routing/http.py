"""Routes: how a customer is asked about calls, which calls it is asked about, and trying it."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field, Strict

from xiaohao.api.auth import AnyKey, CustomerKey
from xiaohao.api.fields import Name, Number, Request, Timestamp
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.recognition import Outcome
from xiaohao.calls.http import RoutingView as DecidedView
from xiaohao.calls.wire import routing_document
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.routing.asking import Attempt
from xiaohao.routing.model import (
    DEADLINE_MS,
    LEAST_DEADLINE_MS,
    LONGEST_KEPT_S,
    LONGEST_WAIT_S,
    Decider,
    Destination,
    Fallback,
    Otherwise,
    Terms,
    Verdict,
)
from xiaohao.routing.service import Again, Routing, Said, Trial
from xiaohao.routing.waiting import Waiting
from xiaohao.tenants.http import Secret, SecretChange, WebhookUrl

#: of what came back, so much is shown
_SHOWN: int = 2000


class DefaultDestination(Request):
    """Where calls go that the customer does not decide."""

    callee: Number
    display: Number | None = Field(None, description="null: the number that was dialled")
    record: bool = True


class RoutingPlan(Request):
    """How to ask. What is not sent is as if it had never been set."""

    url: WebhookUrl | None = Field(description="null: nobody is asked")
    second_url: WebhookUrl | None = Field(
        None, description="Asked, too, when the first has not answered in half of the deadline, or fails"
    )
    deadline_ms: int = Field(
        DEADLINE_MS, ge=LEAST_DEADLINE_MS, description="So long a call waits for the answer"
    )
    everything: bool = Field(
        False,
        description="Ask about calls to all your numbers of which nothing else is said",
    )
    fallbacks: list[Annotated[Fallback, Strict(False)]] = Field(
        [], max_length=len(Fallback), description="What to do without an answer, in this order"
    )
    default: DefaultDestination | None = Field(None, description="For the fallback `default`")
    announcement: Name | None = Field(None, description="Name of a prompt, for the fallback `announcement`")
    keep_answers_s: int = Field(
        0, ge=0, le=LONGEST_KEPT_S, description="Keep the last answer for each pair so long; 0: keep none"
    )


class RoutingSetUp(BaseModel):
    """How a customer is asked."""

    url: str | None
    second_url: str | None
    deadline_ms: int
    longest_deadline_ms: int = Field(description="The operator's limit")
    everything: bool
    fallbacks: list[Fallback]
    default: dict[str, Any] | None
    announcement: str | None
    keep_answers_s: int
    secret: Secret | None = Field(description="What signs the questions; null: nothing was ever set up")
    old_secret_until: Timestamp | None = Field(description="Until then the secret before signs, too")


class DeciderChange(Request):
    """Who decides the calls."""

    routing: Annotated[Decider, Strict(False)] | None = Field(
        description="`ask` the customer about each, or connect by `bindings`; null: as what stands above it"
    )


class DeciderView(BaseModel):
    """Who decides the calls."""

    routing: Decider | None = Field(description="What is said of it itself")
    pool_routing: Decider | None = Field(description="What is said of the number's pool")
    decided_by: Decider = Field(description="What follows")


class TrialRequest(Request):
    """A call to play."""

    caller: Number | None = Field(None, description="null: one who hides their number")
    dialled: Number
    attempt: int = Field(
        1, ge=1, le=1000, description="Which question about the call it is: from 2 on the caller waits"
    )
    waited_ms: int = Field(0, ge=0, le=LONGEST_WAIT_S * 1000, description="For how long, from 2 on")
    queue: Name = Field("queue", description="In which queue, from 2 on")


class AttemptView(BaseModel):
    """One POST to the customer."""

    url: str = Field(description="first or second")
    verdict: Verdict
    took_ms: int
    status: int | None = Field(description="of HTTP")
    problem: str | None
    answer: str | None = Field(description="What came back, as text; its first 2000 characters")


class WaitView(BaseModel):
    """How the caller waits. Of prompts null: what is chosen for the situation."""

    queue: str
    retry_after_s: int = Field(description="After so long you are asked again, give or take a fifth")
    max_wait_s: int = Field(description="As you answered, or the operator's limit")
    prompt: str | None = Field(description="Said first")
    music: str | None = Field(description="Played again and again")
    otherwise: Otherwise = Field(description="What is to be when they have waited long enough")
    otherwise_prompt: str | None


class TrialView(BaseModel):
    """What came of asking about a call that nobody made."""

    is_asked: bool = Field(description="Whether a real call would be asked about")
    bindings_say: Outcome = Field(description="What scheme 1 says about it: `connect`, or why not")
    question: dict[str, Any] = Field(description="What was POSTed")
    attempts: list[AttemptView] = Field(description="In the order of their ends; the last one counts")
    decision: DecidedView
    wait: WaitView | None = Field(description="How the caller would wait, where you let them")
    reason: str | None = Field(description="For which the call would be refused")
    callee: str | None
    displayed: str | None
    prompt: str | None


def router(routing: Routing) -> APIRouter:
    """The routes of this room."""
    routes = api_router("routing")

    @routes.get("/v1/routing")
    async def get_routing(key: CustomerKey) -> RoutingSetUp:
        """How you are asked about calls, and the secret that signs the questions."""
        return _set_up(await routing.terms(str(key.customer_id)), routing)

    @routes.put("/v1/routing")
    async def put_routing(key: CustomerKey, body: RoutingPlan) -> RoutingSetUp:
        """Be asked about calls, otherwise than before, or no more. In force within a second."""
        plan = body.model_dump()
        default = None if body.default is None else Destination(**body.default.model_dump())
        plan |= {"fallbacks": tuple(body.fallbacks), "default": default}
        return _set_up(await routing.plan(str(key.customer_id), Terms(secret="", **plan)), routing)

    @routes.post("/v1/routing/secret")
    async def change_routing_secret(key: CustomerKey, body: SecretChange) -> RoutingSetUp:
        """Sign the questions with another secret from now on."""
        return _set_up(await routing.set_secret(str(key.customer_id), body.secret, body.overlap_s), routing)

    @routes.post("/v1/routing:test", openapi_extra=ONLY_READS)
    async def test_routing(key: CustomerKey, body: TrialRequest) -> TrialView:
        """Play a call against your URL: what is asked, what comes back, and what would become of it."""
        again = again_of(body.attempt, body.queue, body.waited_ms)
        return trial_view(await routing.test(str(key.customer_id), body.caller, body.dialled, again))

    @routes.get("/v1/numbers/{number}/routing")
    async def get_number_routing(key: AnyKey, number: str) -> DeciderView:
        """Who decides the calls of a number."""
        return _decider(await routing.of_number(number, key.customer_id))

    @routes.put("/v1/numbers/{number}/routing")
    async def put_number_routing(key: AnyKey, number: str, body: DeciderChange) -> DeciderView:
        """Say who decides the calls of a number. In force with the next call."""
        return _decider(await routing.set_number(number, body.routing, key.customer_id))

    @routes.get("/v1/pools/{pool_id}/routing")
    async def get_pool_routing(key: AnyKey, pool_id: str) -> DeciderView:
        """Who decides the calls of a pool's numbers."""
        return _decider(await routing.of_pool(pool_id, key.customer_id))

    @routes.put("/v1/pools/{pool_id}/routing")
    async def put_pool_routing(key: AnyKey, pool_id: str, body: DeciderChange) -> DeciderView:
        """Say who decides the calls of a pool's numbers. In force within a second."""
        return _decider(await routing.set_pool(pool_id, body.routing, key.customer_id))

    return routes


def _decider(said: Said) -> DeciderView:
    return DeciderView(routing=said.own, pool_routing=said.pool, decided_by=said.decider)


def _set_up(terms: Terms | None, routing: Routing) -> RoutingSetUp:
    known = terms or Terms(secret="")
    until = known.old_secret_until
    still = until is not None and until > now_us()
    there = known.default
    return RoutingSetUp(
        url=known.url,
        second_url=known.second_url,
        deadline_ms=known.deadline_ms,
        longest_deadline_ms=routing.longest_deadline_ms,
        everything=known.everything,
        fallbacks=list(known.fallbacks),
        default=None
        if there is None
        else {"callee": there.callee, "display": there.display, "record": there.record},
        announcement=known.announcement,
        keep_answers_s=known.keep_answers_s,
        secret=known.secret or None,
        old_secret_until=rfc3339(until) if until is not None and still else None,
    )


def again_of(attempt: int, queue: str, waited_ms: int) -> Again | None:
    """What a trial is told of questions before it; None: there were none."""
    return Again(attempt, queue, waited_ms) if attempt > 1 else None


def trial_view(trial: Trial) -> TrialView:
    """A trial as it is shown; it holds numbers of people, for their customer."""
    decision = trial.decision
    attempts = decision.asked.attempts if decision.asked is not None else ()
    return TrialView(
        is_asked=trial.is_asked,
        bindings_say=trial.outcome,
        question=trial.question,
        attempts=[_attempt(attempt) for attempt in attempts],
        decision=DecidedView(**(routing_document(decision.routed) or {})),
        wait=None if decision.waiting is None else _wait(decision.waiting),
        reason=None if decision.reason is None else decision.reason.value,
        callee=None if decision.way is None else decision.way.callee,
        displayed=None if decision.way is None else decision.way.display,
        prompt=decision.prompt,
    )


def _wait(waiting: Waiting) -> WaitView:
    answer = msgspec.structs.asdict(waiting.answer)
    answer["max_wait_s"] = (waiting.until - waiting.since) // SECOND
    return WaitView(**{name: answer[name] for name in WaitView.model_fields})


def _attempt(attempt: Attempt) -> AttemptView:
    text = attempt.body.decode("utf-8", "replace")[:_SHOWN].replace("\0", "�")
    return AttemptView(
        url=attempt.url,
        verdict=attempt.verdict,
        took_ms=attempt.took_ms,
        status=attempt.status,
        problem=attempt.problem,
        answer=text if attempt.body else None,
    )
