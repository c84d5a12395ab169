"""Whatever comes in whatever order, twice or not at all, with restarts between: each call has its one end."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from xiaohao.calls.model import Call, Party, Reason
from xiaohao.switch import owners

from .doubles import (
    CALLER,
    CITY,
    CUSTOMER,
    MOBILE,
    NOBODYS,
    OTHER,
    OURS,
    STRANGER,
    EdgeDouble,
    JournalDouble,
    Life,
    LookupDouble,
    kinds,
    switchboard,
)

_CALLS = [(OURS, CALLER), (OURS, CALLER), (OURS, STRANGER), (NOBODYS, CALLER)]
#: what may happen next, the everyday more often than the rest
_OFTEN = ["call", "ring", "answer", "hang_up", "deliver", "deliver", "deliver", "confirm"]
_SELDOM = [
    "deliver_twice",
    "lose",
    "give_up_undecided",
    "platform_hangs_up",
    "reconcile",
    "database_away",
    "database_slow",
    "database_back",
    "switch_restarts",
    "kamailio_restarts",
]
#: what happens, to which of those it can happen to, and in which of two ways
_STEP = st.tuples(st.sampled_from(_OFTEN * 3 + _SELDOM), st.integers(0, 99), st.booleans())


class World:
    """Phones, an edge and a database around one switchboard after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.edge, self.journal, self.lookup = EdgeDouble(), JournalDouble(), LookupDouble()
        #: every call that phones ever made, and those of them that Kamailio took with it
        self.made: dict[str, Life] = {}
        self.went_down: set[str] = set()
        self.board, self.carriers = switchboard(self.lookup, self.journal, self.edge)
        #: where in the journal this switchboard began, and what is certainly stored
        self.began_at = self.stored = 0

    def do(self, action: Callable[[], Any]) -> None:
        async def run() -> None:
            action()
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(run())

    def some(self, pick: int, state: str) -> Life | None:
        found = [life for life in self.edge.lives.values() if life.state == state]
        return found[pick % len(found)] if found else None

    # Phones

    def call(self, pick: int, _flag: bool) -> None:
        life = self.edge.invite(*_CALLS[pick % len(_CALLS)])
        self.made[life.id] = life

    def ring(self, pick: int, over_other: bool) -> None:
        life = self.some(pick, "connected")
        if life and life.ringing is None and life.answered is None:
            self.edge.ring(life, OTHER if over_other else MOBILE)

    def answer(self, pick: int, over_other: bool) -> None:
        life = self.some(pick, "connected")
        if life and life.answered is None and life.asked_to_end is None:
            self.edge.answer(life, OTHER if over_other else MOBILE)

    def hang_up(self, pick: int, by_callee: bool) -> None:
        life = self.some(pick, "connected")
        if life is None:
            return
        if life.asked_to_end:
            self.edge.finish(life, Party.PLATFORM, life.asked_to_end, 480)
        elif life.answered:
            who = Party.CALLEE if by_callee else Party.CALLER
            self.edge.finish(life, who, Reason(f"{who.value}_hung_up"))
        elif by_callee:
            self.edge.finish(life, Party.CALLEE, None, 486)
        else:
            self.edge.finish(life, Party.CALLER, Reason.CALLER_CANCELLED, 487)

    def give_up_undecided(self, pick: int, cancelled: bool) -> None:
        life = self.some(pick, "undecided")
        if life and cancelled:
            self.edge.finish(life, Party.CALLER, Reason.CALLER_CANCELLED, 487)
        elif life:
            self.edge.finish(life, Party.PLATFORM, Reason.SWITCH_UNAVAILABLE, 503)

    def platform_hangs_up(self, pick: int, _flag: bool) -> None:
        if self.board.calls:
            call_id = list(self.board.calls)[pick % len(self.board.calls)]
            self.do(lambda: self.board.end_call(call_id, Reason.PLATFORM_HUNG_UP))

    # The way between

    def deliver(self, pick: int, in_order: bool) -> None:
        if self.edge.flying:
            signal = self.edge.flying.pop(0 if in_order else pick % len(self.edge.flying))
            self.do(lambda: self.board.signal(signal))

    def deliver_twice(self, pick: int, _flag: bool) -> None:
        if self.edge.flying:
            signal = self.edge.flying[pick % len(self.edge.flying)]
            self.do(lambda: self.board.signal(signal))

    def lose(self, pick: int, _flag: bool) -> None:
        if self.edge.flying:
            del self.edge.flying[pick % len(self.edge.flying)]

    def reconcile(self, _pick: int = 0, _flag: bool = False) -> None:
        self.do(self.board.forget_named)
        for signal in self.edge.telling():
            self.do(lambda signal=signal: self.board.signal(signal))
        for life in self.edge.lives.values():
            if life.is_live:
                call = self.board.calls[life.id]
                known = call.ringing_at is not None, call.answered_at is not None
                assert known == (life.ringing is not None, life.answered is not None)
        lost = self.board.lost_calls(self.edge.tick())
        assert set(lost) <= self.went_down
        for call_id in lost:
            self.do(lambda call_id=call_id: self.board.lose(call_id, self.edge.tick(), Reason.EDGE_LOST))

    def confirm(self, _pick: int, _flag: bool) -> None:
        confirmed = self.board.take_unconfirmed()
        self.stored = len(self.journal.changes)
        assert set(confirmed) <= set(self.journal.ends())
        if confirmed:
            self.edge.hear("K|" + "|".join(confirmed))

    # What breaks

    def database_away(self, _pick: int, _flag: bool) -> None:
        self.lookup.away = True

    def database_slow(self, _pick: int, _flag: bool) -> None:
        self.do(self.lookup.answering.clear)

    def database_back(self, _pick: int = 0, _flag: bool = False) -> None:
        self.lookup.away = False
        self.do(self.lookup.answering.set)

    def switch_restarts(self, unwritten: int, _flag: bool) -> None:
        self.check_this_life()
        end = max(self.stored, len(self.journal.changes) - unwritten % 6)
        del self.journal.changes[end:]
        self.stored = self.began_at = end
        self.edge.flying.clear()  # the connection is another one
        self.stop_tasks()
        self.board, self.carriers = switchboard(self.lookup, self.journal, self.edge)
        self.do(lambda: self.board.adopt(self.journal.live()))
        self.reconcile()

    def kamailio_restarts(self, _pick: int, _flag: bool) -> None:
        self.went_down |= self.edge.lives.keys() - self.edge.confirmed
        self.edge.restart()

    def stop_tasks(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.do(lambda: None)

    # What must hold

    def check_this_life(self) -> None:
        """No switchboard says anything of a call that it has ended, nor anything twice or out of order."""
        order = ["began", "ringing", "answered", "ended", "traced"]
        told = self.journal.changes[self.began_at :]
        for call_id in {change.call.id for change in told}:
            places = [order.index(kind) for kind in kinds(told, call_id)]
            assert places == sorted(set(places)), kinds(told, call_id)

    def end(self) -> None:
        """Everything works again and everybody hangs up: what is in the books?"""
        self.database_back()
        for _ in self.made:
            self.give_up_undecided(0, cancelled=False)
            self.hang_up(0, by_callee=False)
        for _ in range(2):
            self.reconcile()
        self.check_this_life()
        assert not self.board.calls
        assert [self.carriers.calls_on(trunk.id) for trunk in (CITY, MOBILE, OTHER)] == [0, 0, 0]
        ends = self.journal.ends()
        for call_id, life in self.made.items():
            if call_id in ends:
                self.check_cdr(life, ends[call_id])
            else:
                assert call_id in self.went_down  # nobody but Kamailio knew of it

    def check_cdr(self, life: Life, cdr: Call) -> None:
        event(f"{cdr.reason}")
        moments = [m for m in (cdr.received_at, cdr.ringing_at, cdr.answered_at, cdr.ended_at) if m]
        assert moments == sorted(moments)
        assert cdr.received_at == life.received_at
        told = {"began", "ended"} | ({"answered"} if cdr.answered_at else set())
        # that it rang is not told after it was answered
        assert told <= set(kinds(self.journal.changes, life.id))
        if cdr.reason is Reason.EDGE_LOST:
            assert life.id in self.went_down
            return
        end = life.end
        assert end is not None
        assert (cdr.ended_by, cdr.ended_at) == (end.by, end.at)
        assert cdr.reason is (end.reason or Reason.CALLEE_BUSY)
        assert cdr.ringing_at == (life.ringing and life.ringing.at)
        assert cdr.answered_at == (life.answered and life.answered.at)
        assert cdr.customer_id == (CUSTOMER if life.dialled == OURS else None)
        if life.answered is not None:
            by_other = life.answered.tries != []
            assert cdr.trunk_out == (OTHER.id if by_other else MOBILE.id)
            assert len(cdr.tries) == 1 + by_other


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, min_size=30, max_size=120))
def test_every_call_ends_once(story: list[tuple[str, int, bool]]) -> None:
    """Any story of phones, a bad connection and restarts ends with one CDR for each call, and a true one."""
    pause, owners._PAUSE_S = owners._PAUSE_S, 0.0  # type: ignore[misc]
    loop = asyncio.new_event_loop()
    world = World(loop)
    try:
        for verb, pick, flag in story:
            getattr(world, verb)(pick, flag)
        world.end()
    finally:
        owners._PAUSE_S = pause  # type: ignore[misc]
        world.stop_tasks()
        loop.close()
