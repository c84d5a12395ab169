"""The breaker against a slow model that reads its state from everything that ever happened."""

import itertools
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from xiaohao.routing.breaker import FAILURES, LONGEST_OPEN_S, OPEN_S, Breaker, State
from xiaohao.routing.fairness import Places

#: what happens next, and how long after the last
_STEP = st.tuples(
    st.sampled_from(["ask", "answered", "failed", "let_go"]), st.sampled_from([0.0, 0.1, 1.0, 2.0, 7.0, 31.0])
)


@dataclass
class Obvious:
    """Remembers everything and works the state out anew each time, from the table in the module's words."""

    told: list[tuple[str, float]] = field(default_factory=list)

    def replay(self, now: float) -> tuple[State, bool]:
        """The state at this moment, and whether a trial is on its way."""
        row, until, length, on_trial = 0, None, OPEN_S, False
        for what, at in self.told:
            state = self.named(until, at)
            if what == "asked" and state is State.HALF_OPEN:
                on_trial = True
            elif what == "answered":
                row, until, length, on_trial = 0, None, OPEN_S, False
            elif what == "failed" and state is State.CLOSED:
                row += 1
                if row >= FAILURES:
                    until, on_trial = at + length, False
            elif what == "failed" and state is State.HALF_OPEN:
                length = min(2 * length, LONGEST_OPEN_S)
                until, on_trial = at + length, False
            elif what == "let_go" and state is State.HALF_OPEN:
                on_trial = False
        return self.named(until, now), on_trial

    @staticmethod
    def named(until: float | None, at: float) -> State:
        if until is None:
            return State.CLOSED
        return State.OPEN if at < until else State.HALF_OPEN


@given(st.lists(_STEP, max_size=60))
def test_the_breaker_is_as_its_table_says(steps: list[tuple[str, float]]) -> None:
    breaker, obvious, now = Breaker(), Obvious(), 1000.0
    for what, later in steps:
        now += later
        state, on_trial = obvious.replay(now)
        assert breaker.state(now) is state
        if what == "ask":
            let_in = state is State.CLOSED or (state is State.HALF_OPEN and not on_trial)
            assert breaker.admit(now) == let_in
            if let_in:
                obvious.told.append(("asked", now))
            continue
        obvious.told.append((what, now))
        if what == "answered":
            breaker.answered()
        elif what == "failed":
            breaker.failed(now)
        else:
            breaker.let_go(now)
        assert breaker.state(now) is obvious.replay(now)[0]


def test_a_dead_url_is_tried_ever_more_seldom() -> None:
    breaker, now, tries = Breaker(), 0.0, []
    while now < 200:
        if breaker.admit(now):
            tries.append(now)
            breaker.failed(now)
        now += 0.5
    assert tries[:FAILURES] == [0.0, 0.5, 1.0, 1.5, 2.0]
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries[4:])]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=400), st.integers(1, 60))
def test_nobody_takes_all_the_places(steps: list[tuple[str, bool]], limit: int) -> None:
    places, taken = Places(limit), dict.fromkeys("abcdefgh", 0)
    for customer, comes in steps:
        if comes:
            total = sum(taken.values())
            got = places.take(customer)
            assert got == (taken[customer] < 2 * (limit - total))
            taken[customer] += got
        elif taken[customer]:
            places.give_back(customer)
            taken[customer] -= 1
        assert places.total == sum(taken.values()) <= limit


def test_one_alone_and_many() -> None:
    places = Places(150)
    alone = sum(places.take("alone") for _ in range(500))
    assert alone == 100
    for _ in range(2):
        for number in range(100):
            places.take(f"hangs {number}", in_doubt=True)
    assert places.total == 100 + 38
    assert places.take("another")
