"""How long calls last where the machine's clock is set in the middle of them.

The edge stamps what it sees with the machine's clock. Who sets that by an hour would add an hour to each call
that talks, or take it away. So every later moment of a call is put on the clock of its beginning, as far as
the clock that is never set shows that the other one was. By how much they were apart is written down with the
call, so that a switch that takes it over goes on with that.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from xiaohao.calls.model import Call
from xiaohao.clock import SECOND, now_us

#: less than this is no matter of setting a clock: it is steered, or we heard late
_SET_BY: Final = 2 * SECOND


def _steady_us() -> int:
    return time.monotonic_ns() // 1000


def _boot() -> str:
    """Names the machine's time since it was started: the clock that is never set begins then."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""


class Steady:
    """The clocks of all live calls. Moments in microseconds."""

    def __init__(
        self,
        wall: Callable[[], int] = now_us,
        steady: Callable[[], int] = _steady_us,
        boot: Callable[[], str] = _boot,
    ) -> None:
        self._wall, self._steady, self._boot = wall, steady, boot()
        #: by how much the wall's clock was ahead when a call began
        self._ahead: dict[str, int] = {}

    def begin(self, call: Call) -> None:
        """A call begins, or is heard of for the first time; sets its `clock` where no other switch has."""
        boot, _, ahead = (call.clock or "").partition(" ")
        if not ahead or not boot or boot != self._boot:
            ahead = str(self._wall() - self._steady())
            call.clock = f"{self._boot} {ahead}"
        self._ahead.setdefault(call.id, int(ahead))

    def now(self, call_id: str) -> int:
        """This moment, on the clock of the call's beginning."""
        ahead = self._ahead.get(call_id)
        return self._wall() if ahead is None else self._steady() + ahead

    def at(self, call_id: str, told: int) -> int:
        """A moment that the edge has just told of, on the clock of the call's beginning."""
        if call_id not in self._ahead:
            return told
        expected = self.now(call_id)
        set_by = self._wall() - expected
        # it may have been seen before the clock was set, and be told of after
        if abs(set_by) >= _SET_BY and abs(told - expected) > abs(told - set_by - expected):
            told -= set_by
        # nothing is seen before it happens: the clock was ahead then, and has been put right since
        return told if told - expected < _SET_BY else expected

    def end(self, call_id: str) -> None:
        """A call is over."""
        self._ahead.pop(call_id, None)
