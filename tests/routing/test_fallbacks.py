"""Which fallback is taken, against a model that is slow and obvious."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xiaohao.calls.model import Call, Reason
from xiaohao.routing.asking import Asked, Attempt
from xiaohao.routing.decision import Asking, Decision, Judge
from xiaohao.routing.judging import Prefixes
from xiaohao.routing.model import (
    Announce,
    Answer,
    Connect,
    Destination,
    Fallback,
    Otherwise,
    Queue,
    Refuse,
    Terms,
    Verdict,
)
from xiaohao.routing.waiting import Waiting

CALLER, CALLEE, HOTLINE = "+8613800000001", "+8613900000002", "+861085000000"
DIALLED, OURS, THEIRS = "+861062000001", "+8617000000001", "+8617000000002"
FAILED = [v for v in Verdict if v not in (Verdict.ANSWERED, Verdict.NOT_ALLOWED)]


async def shown(display: str, _callee: str) -> Sequence[Any] | None:
    """The inventory: three numbers, of which one is another customer's."""
    owner = {DIALLED: "cus_1", OURS: "cus_1", THEIRS: "cus_2"}.get(display)
    if owner is None:
        return None
    return (owner, None, "available", display, "available", 1, "none", None, "trk_1", 0)


class Desk:
    """Somebody who gives this answer, or none for this reason."""

    def __init__(self, terms: Terms, verdict: Verdict, answer: Answer | None) -> None:
        self.terms, self._verdict, self._answer = terms, verdict, answer

    async def ask(self, _name: str, _body: str, _budget_s: float) -> Asked:
        attempt = Attempt("first", self._verdict, 7, 200, self._answer)
        return Asked(self._verdict, 7, (attempt,))


class Memory:
    """Keeps one answer."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer, self.kept = answer, list[Answer]()

    def remember(self, _c: str, _d: str, _p: str | None, answer: Answer, _keep_s: int) -> None:
        self.kept.append(answer)

    async def find(self, _c: str, _d: str, _p: str | None) -> Answer | None:
        return self.answer


def asking_of(
    terms: Terms,
    verdict: Verdict,
    answer: Answer | None,
    memory: Memory,
    bound: bool,
    waiting: Waiting | None = None,
) -> Asking:
    call = Call("id", "edge1", 0, DIALLED, CALLER, customer_id="cus_1")
    judge = Judge(Prefixes(("+86",), ("+86900",)), "CN", shown, lambda _, name: name != "missing")
    return Asking(call, Desk(terms, verdict, answer), judge, memory, bound, 1.0, waiting=waiting)


def decide(asking: Asking) -> Decision:
    return asyncio.run(asking.decide())


_LAST: st.SearchStrategy[Answer | None] = st.sampled_from(
    [None, Connect(CALLEE, OURS), Connect(CALLEE, THEIRS), Connect(CALLER), Refuse(), Announce("over"),
     Queue("night"), Queue("night", music="missing")]
)  # fmt: skip
_DEFAULT = st.sampled_from(
    [None, Destination(HOTLINE), Destination(HOTLINE, OURS), Destination(HOTLINE, THEIRS)]
)


def good(answer: Answer | None) -> bool:
    """Whether it may be carried out, in this small world."""
    if isinstance(answer, Connect):
        return answer.callee != CALLER and answer.display != THEIRS
    if isinstance(answer, Queue):
        return answer.music != "missing"
    return answer is not None


@given(
    st.permutations(list(Fallback)), st.integers(0, 4), _LAST, _DEFAULT, st.booleans(),
    st.sampled_from([0, 60]), st.sampled_from(FAILED),
)  # fmt: skip
def test_the_first_that_leads_anywhere_is_taken(
    order: list[Fallback],
    count: int,
    last: Answer | None,
    default: Destination | None,
    bound: bool,
    keep_s: int,
    verdict: Verdict,
) -> None:
    fallbacks = tuple(order[:count])
    terms = Terms(
        "whsec_",
        "http://x/",
        fallbacks=fallbacks,
        default=default,
        announcement="sorry",
        keep_answers_s=keep_s,
    )
    decision = decide(asking_of(terms, verdict, None, Memory(last), bound))
    possible = {
        Fallback.LAST_ANSWER: keep_s > 0 and good(last),
        Fallback.BINDING: bound,
        Fallback.DEFAULT: default is not None and default.display != THEIRS,
        Fallback.ANNOUNCEMENT: True,
    }
    taken = next((fallback for fallback in fallbacks if possible[fallback]), None)
    assert decision.routed.decided_by == (taken.value if taken else "nobody")
    assert decision.routed.verdict == verdict.value
    assert decision.as_bound == (taken is Fallback.BINDING)
    match taken:
        case None:
            missing = verdict is Verdict.NOT_SET_UP
            assert decision.reason is (Reason.ROUTING_MISSING if missing else Reason.ROUTING_FAILED)
        case Fallback.ANNOUNCEMENT:
            assert (decision.reason, decision.prompt) == (Reason.ROUTING_FAILED, "sorry")
        case Fallback.DEFAULT:
            assert default is not None
            assert decision.way is not None
            assert (decision.way.callee, decision.way.display) == (HOTLINE, default.display or DIALLED)
        case Fallback.LAST_ANSWER:
            assert (decision.way is not None) == isinstance(last, Connect)
            assert (decision.waiting is not None) == isinstance(last, Queue)
    waits = decision.waiting is not None
    ends = [decision.way is not None, decision.as_bound, waits, decision.reason is not None]
    assert sum(ends) == 1


@given(_LAST, st.sampled_from([0, 60]))
def test_a_good_answer_is_kept_and_a_bad_one_is_not(answer: Answer | None, keep_s: int) -> None:
    if answer is None:
        return
    memory = Memory(None)
    terms = Terms("whsec_", "http://x/", fallbacks=(Fallback.ANNOUNCEMENT,), keep_answers_s=keep_s)
    decision = decide(asking_of(terms, Verdict.ANSWERED, answer, memory, bound=True))
    assert memory.kept == ([answer] if keep_s and good(answer) else [])
    if not good(answer):
        # no fallback: the customer has decided, and may not have that
        assert decision.reason is Reason.ROUTING_ANSWER_REFUSED
        assert decision.routed.verdict == "not_allowed"
        assert decision.routed.problem
        assert "+86" not in decision.routed.problem


def test_every_fault_of_an_answer_has_its_word() -> None:
    terms = Terms("whsec_", "http://x/")
    for answer, problem in (
        (Connect("what"), "callee: is no telephone number"),
        (Connect(CALLEE, "what"), "display: is no telephone number"),
        (Connect("+85223456789"), "callee: calls to numbers that begin so are not allowed"),
        (Connect(CALLER), "callee: is the caller"),
        (Connect(CALLEE, "+861062999999"), "display: is not one of your numbers"),
        (Connect(CALLEE, THEIRS), "display: is not one of your numbers"),
        (Announce("missing"), "prompt: there is none of this name"),
        (Queue("night", prompt="missing"), "prompt: there is none of this name"),
        (Queue("night", music="missing"), "music: there is none of this name"),
        (Queue("night", otherwise_prompt="missing"), "otherwise_prompt: there is none of this name"),
    ):
        decision = decide(asking_of(terms, Verdict.ANSWERED, answer, Memory(None), bound=False))
        assert decision.routed.problem == problem


NIGHT = Queue("night", otherwise_prompt="try later")


@given(_LAST, st.sampled_from([*FAILED, None]))
def test_who_waits_goes_on_waiting_unless_the_customer_says_something(
    answer: Answer | None, failure: Verdict | None
) -> None:
    """No fallback is taken, whatever fails; each answer counts as it would for a call that has just come."""
    if (answer is None) == (failure is None):
        return
    terms = Terms("whsec_", "http://x/", fallbacks=(Fallback.BINDING, Fallback.ANNOUNCEMENT))
    now = time.time_ns() // 1000
    waiting = Waiting(NIGHT, now - 2_500_000, now + 57_500_000, 2)
    said = None if failure else answer
    decision = decide(asking_of(terms, failure or Verdict.ANSWERED, said, Memory(None), True, waiting))
    assert (decision.routed.attempt, decision.routed.waited_ms // 100) == (3, 25)
    if said is None:
        assert decision.waiting == Waiting(NIGHT, waiting.since, waiting.until, 3)
        assert (decision.routed.action, decision.routed.decided_by) == ("queue", "nobody")
    elif isinstance(said, Queue) and good(said):
        assert decision.waiting is not None
        assert (decision.waiting.answer, decision.waiting.since) == (said, waiting.since)
    else:
        assert decision.waiting is None
        assert (decision.way is not None) == (isinstance(said, Connect) and good(said))


@given(st.sampled_from(Otherwise), _DEFAULT, st.booleans())
def test_what_is_after_the_waiting(otherwise: Otherwise, default: Destination | None, bound: bool) -> None:
    terms = Terms("whsec_", "http://x/", fallbacks=(Fallback.BINDING,), default=default)
    waiting = Waiting(Queue("night", otherwise=otherwise, otherwise_prompt="try later"), 0, 1, 4)
    asking = asking_of(terms, Verdict.ANSWERED, None, Memory(None), bound, waiting)
    asked = Asked(Verdict.NO_ANSWER, 800)
    decision = asyncio.run(asking.give_up(waiting, asked, Reason.QUEUE_TIMEOUT))
    assert (decision.routed.attempt, decision.routed.verdict) == (4, "no_answer")
    if otherwise is Otherwise.BINDING and bound:
        assert decision.as_bound
    elif otherwise is Otherwise.DEFAULT and default is not None and default.display != THEIRS:
        assert decision.way is not None
    else:
        assert (decision.reason, decision.prompt) == (Reason.QUEUE_TIMEOUT, "try later")
        assert decision.routed.decided_by == "nobody"
