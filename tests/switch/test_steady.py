"""Calls last as long as they last, whatever is done to the machine's clock meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.calls.model import Call
from xiaohao.clock import SECOND
from xiaohao.switch.steady import Steady

HOUR = 3600 * SECOND
NOON = 1_795_492_800_000_000


class Clocks:
    """The clock on the wall, which may be set, and the one that nobody can set."""

    def __init__(self) -> None:
        self.wall, self.steady, self.boot = NOON, 5 * SECOND, "first"

    def pass_(self, us: int) -> None:
        self.wall += us
        self.steady += us


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def steady_of(clocks: Clocks) -> Steady:
    return Steady(lambda: clocks.wall, lambda: clocks.steady, lambda: clocks.boot)


def call(name: str) -> Call:
    return Call(name, "edge1", NOON, "+8617000000001")


@pytest.mark.parametrize("set_by", [HOUR, -HOUR, 24 * HOUR, -600 * SECOND])
def test_a_clock_that_is_set_while_somebody_talks(clocks: Clocks, set_by: int) -> None:
    steady = steady_of(clocks)
    steady.begin(call("a"))
    clocks.pass_(5 * SECOND)
    answered = steady.at("a", clocks.wall)
    clocks.pass_(30 * SECOND)
    clocks.wall += set_by
    clocks.pass_(30 * SECOND)
    assert steady.at("a", clocks.wall) - answered == 60 * SECOND
    steady.begin(call("b"))
    clocks.pass_(SECOND)
    assert steady.at("b", clocks.wall) == clocks.wall
    steady.end("a")
    assert steady.at("a", clocks.wall) == clocks.wall


def test_what_was_seen_before_and_is_told_after(clocks: Clocks) -> None:
    steady = steady_of(clocks)
    steady.begin(call("a"))
    clocks.pass_(20 * SECOND)
    seen = clocks.wall
    clocks.pass_(3 * SECOND)
    clocks.wall -= HOUR
    assert steady.at("a", seen) == seen


def test_what_was_seen_on_a_clock_that_is_right_again_is_no_later_than_now(clocks: Clocks) -> None:
    steady = steady_of(clocks)
    steady.begin(call("a"))
    clocks.pass_(20 * SECOND)
    seen = clocks.wall + HOUR
    clocks.pass_(8 * SECOND)
    assert steady.at("a", seen) == clocks.wall


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_another_switch_takes_over_after_the_clock_was_set(clocks: Clocks, set_by: int) -> None:
    talk = call("a")
    steady_of(clocks).begin(talk)
    clocks.pass_(10 * SECOND)
    clocks.wall += set_by
    clocks.pass_(10 * SECOND)
    another = steady_of(clocks)
    another.begin(talk)
    assert another.now("a") == another.at("a", clocks.wall) == NOON + 20 * SECOND
    clocks.boot, clocks.steady = "second", 3 * SECOND  # its clock began anew: what was noted says nothing
    begun_anew = steady_of(clocks)
    begun_anew.begin(talk)
    assert begun_anew.at("a", clocks.wall) == clocks.wall


@given(
    lasted=st.integers(0, 7200 * SECOND),
    late=st.integers(0, 20 * SECOND),
    set_by=st.one_of(st.just(0), st.integers(600 * SECOND, HOUR), st.integers(-HOUR, -600 * SECOND)),
)
def test_exact_however_late_it_is_told(lasted: int, late: int, set_by: int) -> None:
    """To the microsecond, as the edge saw it, where nobody sets a clock and where somebody does."""
    clocks = Clocks()
    steady = steady_of(clocks)
    steady.begin(call("a"))
    clocks.wall += set_by
    clocks.pass_(lasted)
    seen = clocks.wall
    clocks.pass_(late)
    assert steady.at("a", seen) == NOON + lasted
