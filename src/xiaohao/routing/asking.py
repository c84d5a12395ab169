"""Asks a customer about a call: within a deadline, at a second URL where the first is slow, and not at all
where that has just proved to be of no use.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from xiaohao.clock import now_us
from xiaohao.outgoing.connection import Answer as Reply
from xiaohao.outgoing.connection import NotHttp, TooLong
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.signed import SignedEndpoint, Unusable, in_words
from xiaohao.routing import wire
from xiaohao.routing.breaker import Breaker
from xiaohao.routing.fairness import Places
from xiaohao.routing.model import AT_FAULT, LONGEST_ANSWER, Answer, Terms, Verdict
from xiaohao.routing.wire import NotUnderstood

FIRST: Final = "first"
SECOND: Final = "second"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. `body` is what came, `problem` what was wrong, in words that may quote the body."""

    url: str
    verdict: Verdict
    took_ms: int
    status: int | None = None
    answer: Answer | None = None
    problem: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def is_at_fault(self) -> bool:
        """Whether it says that the endpoint is down or overloaded."""
        overloaded = self.status is not None and (self.status >= 500 or self.status in (408, 429))
        return self.verdict in AT_FAULT or (self.verdict is Verdict.BAD_STATUS and overloaded)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking; `attempts` in the order of their ends."""

    verdict: Verdict
    took_ms: int
    attempts: tuple[Attempt, ...] = ()

    @property
    def last(self) -> Attempt | None:
        """The attempt that decided."""
        return self.attempts[-1] if self.attempts else None

    @property
    def answer(self) -> Answer | None:
        """What the customer answers."""
        return self.last.answer if self.last is not None and self.verdict is Verdict.ANSWERED else None


class Target:
    """One URL of a customer."""

    def __init__(self, name: str, url: str, secrets: tuple[str, ...], network: Network) -> None:
        self.name, self.breaker = name, Breaker()
        self._url, self._network = url, network
        self.sign(secrets)

    def sign(self, secrets: tuple[str, ...]) -> None:
        """Sign with these from now on."""
        self._secrets = secrets
        self._endpoint: SignedEndpoint | None = None
        try:
            self._endpoint = SignedEndpoint(self._url, secrets, self._network)
        except Unusable as error:
            self._unusable = str(error)

    async def post(self, name: str, body: str, timeout_s: float) -> Attempt:
        """POST the question; whatever comes of it."""
        began = time.monotonic()
        reply: Reply | None = None
        read: Answer | None = None
        verdict, problem = Verdict.ANSWERED, None
        try:
            if self._endpoint is None:
                verdict, problem = Verdict.NO_CONNECTION, self._unusable
            else:
                reply = await self._endpoint.post(name, body, timeout_s, LONGEST_ANSWER)
                verdict, problem = _judged(reply.status)
            if reply is not None and problem is None:
                read = wire.read_answer(reply.body)
        except (OSError, NotHttp, TooLong) as error:
            kinds = ((TimeoutError, Verdict.NO_ANSWER), (OSError, Verdict.NO_CONNECTION))
            verdict = next((v for kind, v in kinds if isinstance(error, kind)), Verdict.NOT_UNDERSTOOD)
            problem = in_words(error)
        except NotUnderstood as error:
            verdict, problem = Verdict.NOT_UNDERSTOOD, str(error)
        took = round((time.monotonic() - began) * 1000)
        status, said = (None, b"") if reply is None else (reply.status, reply.body)
        return Attempt(self.name, verdict, took, status, read, problem, said)

    def close(self) -> None:
        """Close the connections that are idle."""
        if self._endpoint is not None:
            self._endpoint.close()


def _late(url: str, waited_s: float) -> Attempt:
    return Attempt(url, Verdict.NO_ANSWER, round(waited_s * 1000), problem="no answer in time")


def _judged(status: int) -> tuple[Verdict, str | None]:
    if 200 <= status < 300:
        return Verdict.ANSWERED, None
    redirect = ", and redirects are not followed" if 300 <= status < 400 else ""
    return Verdict.BAD_STATUS, f"HTTP {status}{redirect}"


class Desk:
    """A customer who is asked."""

    def __init__(
        self,
        customer_id: str,
        terms: Terms,
        network: Network,
        places: Places,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds, for the breakers."""
        self.customer_id, self._network, self._places, self._clock = customer_id, network, places, clock
        self._targets: list[Target] = []
        self.change(terms)

    def change(self, terms: Terms) -> None:
        """Ask by other terms from now on; what is known of a URL that stays is kept."""
        self.terms, now = terms, now_us()
        self._secrets = terms.secrets(now)
        old = {target._url: target for target in self._targets}
        self._targets = []
        for name, url in ((FIRST, terms.url), (SECOND, terms.second_url)):
            if url is None:
                continue
            target = Target(name, url, self._secrets, self._network)
            if url in old:
                target.breaker = old[url].breaker
            self._targets.append(target)
        for target in old.values():
            target.close()

    def states(self) -> dict[str, Breaker]:
        """The breakers of the URLs, by name."""
        return {target.name: target.breaker for target in self._targets}

    def close(self) -> None:
        """Close the connections that are idle."""
        for target in self._targets:
            target.close()

    async def ask(self, name: str, body: str, budget_s: float) -> Asked:
        """Ask; never raises, and takes no longer than the customer's deadline, nor than `budget_s`."""
        if not self._targets:
            return Asked(Verdict.NOT_SET_UP, 0)
        if self.terms.secrets(now_us()) != self._secrets:
            self.change(self.terms)  # the old secret's time is over
        now = self._clock()
        targets = [target for target in self._targets if target.breaker.admit(now)]
        if not targets:
            return Asked(Verdict.BREAKER_OPEN, 0)
        in_doubt = targets[0].breaker.in_doubt
        if not self._places.take(self.customer_id, in_doubt):
            for target in targets:
                target.breaker.let_go(now)
            return Asked(Verdict.TOO_MANY, 0)
        try:
            return await self._ask(targets, name, body, min(self.terms.deadline_ms / 1000, budget_s))
        finally:
            self._places.give_back(self.customer_id, in_doubt)

    async def _ask(self, targets: list[Target], name: str, body: str, patience_s: float) -> Asked:
        began = time.monotonic()
        asked_at = dict.fromkeys(targets, 0.0)
        flying: dict[asyncio.Task[Attempt], Target] = {}
        waiting, ended, answered = list(targets), [], False

        def left() -> float:
            return max(began + patience_s - time.monotonic(), 0.001)

        while not answered and (waiting or flying):
            is_half_over = time.monotonic() - began >= patience_s / 2
            if waiting and (not flying or is_half_over):
                target = waiting.pop(0)
                asked_at[target] = time.monotonic()
                flying[asyncio.ensure_future(target.post(name, body, left()))] = target
            pause = began + patience_s / 2 - time.monotonic() if waiting else left() + 0.05
            done = await self._first_of(flying, waiting, pause)
            for task in done:
                target, attempt = flying.pop(task), task.result()
                ended.append(attempt)
                answered = self._take_note(target, attempt) or answered
            if not done and not waiting:
                break  # each POST has a deadline of its own: this cannot happen, and must not hang a call
        took = round((time.monotonic() - began) * 1000)
        ended += self._call_off(flying, asked_at, patience_s)
        if answered:
            ended.append(ended.pop(next(i for i, one in enumerate(ended) if one.answer is not None)))
        for target in waiting:
            target.breaker.let_go(self._clock())  # it was not needed
        if not ended:
            ended.append(_late(FIRST, patience_s))
        return Asked(ended[-1].verdict, took, tuple(ended))

    async def _first_of(
        self, flying: dict[asyncio.Task[Attempt], Target], waiting: list[Target], pause_s: float
    ) -> set[asyncio.Task[Attempt]]:
        """The attempts that have ended within so long. Whoever gives up asking blames nobody for it."""
        try:
            done, _ = await asyncio.wait(flying, timeout=max(pause_s, 0), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for task in flying:
                task.cancel()
            for target in (*flying.values(), *waiting):
                target.breaker.let_go(self._clock())
            raise
        return done

    def _take_note(self, target: Target, attempt: Attempt) -> bool:
        if attempt.is_at_fault:
            target.breaker.failed(self._clock())
        elif attempt.verdict is Verdict.ANSWERED:
            target.breaker.answered()
        else:
            target.breaker.let_go(self._clock())
        return attempt.verdict is Verdict.ANSWERED

    def _call_off(
        self, flying: dict[asyncio.Task[Attempt], Target], asked_at: dict[Target, float], patience_s: float
    ) -> list[Attempt]:
        """End what another URL was faster than; who had half of the deadline and said nothing has failed."""
        given_up = []
        for task, target in flying.items():
            task.cancel()
            waited = time.monotonic() - asked_at[target]
            if waited >= patience_s / 2:
                target.breaker.failed(self._clock())
                given_up.append(_late(target.name, waited))
            else:
                target.breaker.let_go(self._clock())
        return given_up
