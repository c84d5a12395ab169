"""Which fallback is taken, against a model that is slow and obvious."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xiaohao.calls.model import Call, Reason
from xiaohao.routing.asking import Asked, Attempt
from xiaohao.routing.decision import Asking, Decision, Judge
from xiaohao.routing.judging import Prefixes
from xiaohao.routing.model import Announce, Answer, Connect, Destination, Fallback, Refuse, Terms, Verdict

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


def decide(terms: Terms, verdict: Verdict, answer: Answer | None, memory: Memory, bound: bool) -> Decision:
    call = Call("id", "edge1", 0, DIALLED, CALLER, customer_id="cus_1")
    judge = Judge(Prefixes(("+86",), ("+86900",)), "CN", shown, lambda _, name: name != "missing")
    asking = Asking(call, Desk(terms, verdict, answer), judge, memory, bound, 1.0)
    return asyncio.run(asking.decide())


_LAST: st.SearchStrategy[Answer | None] = st.sampled_from(
    [None, Connect(CALLEE, OURS), Connect(CALLEE, THEIRS), Connect(CALLER), Refuse(), Announce("over")]
)
_DEFAULT = st.sampled_from(
    [None, Destination(HOTLINE), Destination(HOTLINE, OURS), Destination(HOTLINE, THEIRS)]
)


def good(answer: Answer | None) -> bool:
    """Whether it may be carried out, in this small world."""
    if isinstance(answer, Connect):
        return answer.callee != CALLER and answer.display != THEIRS
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
    decision = decide(terms, verdict, None, Memory(last), bound)
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
    ends = [decision.way is not None, decision.as_bound, decision.reason is not None]
    assert sum(ends) == 1


@given(_LAST, st.sampled_from([0, 60]))
def test_a_good_answer_is_kept_and_a_bad_one_is_not(answer: Answer | None, keep_s: int) -> None:
    if answer is None:
        return
    memory = Memory(None)
    terms = Terms("whsec_", "http://x/", fallbacks=(Fallback.ANNOUNCEMENT,), keep_answers_s=keep_s)
    decision = decide(terms, Verdict.ANSWERED, answer, memory, bound=True)
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
    ):
        decision = decide(terms, Verdict.ANSWERED, answer, Memory(None), bound=False)
        assert decision.routed.problem == problem
