"""Callers who wait until their customer says whom to call: how long, when it is asked again, and how many of
them there may be at once. Moments are microseconds since the epoch.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from xiaohao.clock import SECOND
from xiaohao.routing import metrics
from xiaohao.routing.model import Queue

#: callers who came at the same moment are asked about at different ones, more so with each question
_EARLIEST: Final = 0.8
_SPREAD: Final = 0.4


@dataclass(frozen=True, slots=True)
class Waiting:
    """One caller who waits.

    `answer` is what the customer said last that has them wait, `asked` how often it was asked about the call.
    `binding_id` and `order_ref` are of the binding that caller and number have.
    """

    answer: Queue
    since: int
    until: int
    asked: int = 1
    binding_id: str | None = None
    order_ref: str | None = None

    def again(self, asked: int, answer: Queue | None, longest_s: int) -> "Waiting":
        """The same after the customer was asked once more; None: it did not say anything."""
        if answer is None:
            return replace(self, asked=asked)
        return replace(self, asked=asked, answer=answer, until=until(self.since, answer, longest_s))

    def waited_ms(self, now: int) -> int:
        """For how long."""
        return max(now - self.since, 0) // 1000

    def left_ms(self, now: int) -> int:
        """For how long they may still wait."""
        return max(self.until - now, 0) // 1000

    def is_over(self, now: int) -> bool:
        """Whether they have waited as long as they may."""
        return now >= self.until

    def pause_s(self, now: int, draw: float) -> float:
        """Until the customer is asked again, or the time is over; `draw` is from 0 to 1, by lot."""
        pause_s = self.answer.retry_after_s * (_EARLIEST + _SPREAD * draw)
        return max(min(pause_s, (self.until - now) / SECOND), 0.0)


def until(since: int, answer: Queue, longest_s: int) -> int:
    """When somebody who waits since then by this answer has waited long enough, on this platform."""
    return since + min(answer.max_wait_s, longest_s) * SECOND


class WaitingRoom:
    """Who waits now, by customer: one of them must not take all that the edge has for callers who listen."""

    def __init__(self, most: int) -> None:
        """`most`: of one customer's callers."""
        self._most = most
        self._of: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def enter(self, customer_id: str, call_id: str) -> bool:
        """Let a caller wait; False where too many do. Whoever is here already stays."""
        if call_id in self._of:
            return True
        if self._count[customer_id] >= self._most:
            return False
        self._of[call_id] = customer_id
        self._change(customer_id, 1)
        return True

    def leave(self, call_id: str) -> None:
        """A caller waits no longer; nothing where they did not."""
        customer_id = self._of.pop(call_id, None)
        if customer_id is not None:
            self._change(customer_id, -1)

    def _change(self, customer_id: str, by: int) -> None:
        self._count[customer_id] += by
        metrics.CALLS_WAITING.labels(customer_id).set(self._count[customer_id])
        if not self._count[customer_id]:
            del self._count[customer_id]
