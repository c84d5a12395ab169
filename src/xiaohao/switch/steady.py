"""How long calls last where the machine's clock is set in the middle of them.

The edge stamps what it sees with the machine's clock. Who sets that by an hour would add an hour to each call
that talks, or take it away. So every later moment of a call is put on the clock of its beginning, as far as
the clock that is never set shows that the other one was.
"""

import time
from collections.abc import Callable
from typing import Final

from xiaohao.clock import SECOND, now_us

#: less than this is no matter of setting a clock: it is steered, or we heard late
_SET_BY: Final = 2 * SECOND


def _steady_us() -> int:
    return time.monotonic_ns() // 1000


class Steady:
    """The clocks of all live calls. Moments in microseconds."""

    def __init__(self, wall: Callable[[], int] = now_us, steady: Callable[[], int] = _steady_us) -> None:
        self._wall, self._steady = wall, steady
        self._begun: dict[str, tuple[int, int]] = {}

    def begin(self, call_id: str) -> None:
        """A call begins, or is heard of for the first time."""
        self._begun.setdefault(call_id, (self._wall(), self._steady()))

    def at(self, call_id: str, told: int) -> int:
        """A moment that the edge has just told of, on the clock of the call's beginning."""
        begun = self._begun.get(call_id)
        if begun is None:
            return told
        wall, steady = begun
        expected = wall + self._steady() - steady
        set_by = self._wall() - expected
        # it may have been seen before the clock was set, and be told of after
        if abs(set_by) < _SET_BY or abs(told - expected) <= abs(told - set_by - expected):
            return told
        return told - set_by

    def end(self, call_id: str) -> None:
        """A call is over."""
        self._begun.pop(call_id, None)
