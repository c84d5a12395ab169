"""How many calls are let in: a machine is played that can carry so many, and its queue."""

import random
from dataclasses import dataclass, field

import pytest

from xiaohao.switch.admission import Delay, Governor

PROBE_S = 0.05


@dataclass
class Machine:
    """Carries `capacity` calls a second; what is let in beyond that waits."""

    capacity: float
    governor: Governor = field(default_factory=Governor)
    now_s: float = 0.0
    waiting: float = 0.0

    def offer(self, rate: float, seconds: float) -> list[float]:
        """Offer so many calls a second; gives the calls carried in each second."""
        carried = []
        for _ in range(round(seconds)):
            done = 0.0
            for _ in range(round(1 / PROBE_S)):
                limit = self.governor.limit
                let_in = round(min(rate, rate if limit is None else limit) * PROBE_S)
                for _ in range(let_in):
                    self.governor.admitted()
                self.waiting += let_in
                served = min(self.waiting, self.capacity * PROBE_S)
                self.waiting -= served
                done += served
                self.now_s += PROBE_S
                self.governor.waited(0.002 + self.waiting / self.capacity, self.now_s)
            carried.append(done)
        return carried


@pytest.mark.parametrize("capacity", [60, 200, 800])
def test_nine_tenths_are_carried_under_overload(capacity: float) -> None:
    """Twice as many calls as the machine can carry: nearly as many as it can are, and few wait long."""
    machine = Machine(capacity)
    machine.offer(capacity / 2, 5)
    machine.offer(capacity * 2, 5)
    carried = machine.offer(capacity * 2, 60)
    assert sum(carried) / len(carried) >= 0.9 * capacity
    assert machine.waiting / capacity < 0.3


def test_nothing_is_limited_that_can_be_carried() -> None:
    """A load below what the machine can carry meets no limit, and after an overload none remains."""
    machine = Machine(200)
    machine.offer(150, 30)
    assert machine.governor.limit is None
    machine.offer(400, 20)
    assert machine.governor.limit is not None
    machine.offer(20, 60)
    assert machine.governor.limit is None


def test_a_single_pause_is_no_overload() -> None:
    """The machine stands still for a moment, as a virtual one may: the calls after it are let in."""
    governor = Governor()
    for tick in range(100):
        governor.admitted()
        governor.waited(0.4 if tick % 10 in (5, 6) else 0.003, tick * PROBE_S)
    assert governor.limit is None


def test_a_queue_is_let_run_dry() -> None:
    """While requests wait, hardly a call is let in; then nearly as many as came through."""
    governor = Governor()
    now = 0.0
    for _ in range(40):
        for _ in range(10):
            governor.admitted()
        now += PROBE_S
        governor.waited(0.002, now)
    for _ in range(3):
        now += PROBE_S
        governor.waited(0.15, now)
    assert governor.limit == 10
    limit = governor.waited(0.03, now + PROBE_S)
    assert limit is not None
    assert 170 <= limit <= 200


def test_the_delay_of_unanswered_probes_grows() -> None:
    """The oldest probe that can still be answered says how long requests wait; a lost one is forgotten."""
    delay = Delay()
    assert delay.now(0.0) == 0.0
    delay.sent("1", 0.0)
    delay.sent("2", 0.1)
    assert delay.now(0.2) == pytest.approx(0.2)
    delay.answered("2", 0.25)  # the first is lost
    delay.answered("1", 0.26)
    delay.answered("never sent", 0.26)
    assert delay.now(0.3) == pytest.approx(0.15)
    delay.sent("3", 0.3)
    assert delay.now(0.9) == pytest.approx(0.6)
    delay.sent("4", 0.95)
    delay.answered("4", 0.951)
    assert delay.now(1.0) == pytest.approx(0.001)
    delay.forget()
    assert delay.now(2.0) == 0.0


def test_some_calls_are_always_let_in() -> None:
    """However long the edge takes: a few calls show when it is better."""
    governor = Governor()
    for tick in range(1000):
        governor.waited(0.5, tick * PROBE_S)
    assert governor.limit is not None
    assert governor.limit >= 10


def test_a_new_edge_begins_without_a_limit() -> None:
    """What was learnt of a dead edge says nothing of the next one."""
    machine = Machine(50)
    machine.offer(200, 10)
    machine.governor.forget()
    assert machine.governor.limit is None


def test_any_delays_keep_the_limit_sane() -> None:
    """Whatever delays are measured, the limit stays above the least and goes when little comes."""
    chance = random.Random(7)
    governor = Governor()
    for tick in range(5000):
        for _ in range(chance.randrange(40)):
            governor.admitted()
        limit = governor.waited(chance.choice((0.001, 0.05, 0.13, 0.5)), tick * PROBE_S)
        assert limit is None or 10 <= limit <= 40 / PROBE_S * 4 + 20
