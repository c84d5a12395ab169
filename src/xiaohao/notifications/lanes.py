"""What waits to be delivered, in memory: a lane for each customer, and in it each call's events in order.

Nothing here speaks to the network or the database. The rules that live here:

* the events of a call go one after the other, in the order of their sequence; one that failed holds back the
  later ones of the same call only;
* a customer has at most `Lane.limit` POSTs under way. The limit begins low, halves when the endpoint fails to
  answer properly and grows by one with each success, so that a dead endpoint soon costs one connection;
* several events may go in one POST (a flight): they are gathered first, and land together.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from xiaohao.notifications.model import Event

#: events that a lane keeps in memory; the rest waits in the database
WINDOW: Final = 256
#: POSTs to one customer at the same time, unless the operator says otherwise
MOST_AT_ONCE: Final = 32
#: the same for an endpoint of which nothing is known yet
FIRST_AT_ONCE: Final = 4


@dataclass(slots=True)
class _Call:
    """The events of one call that memory knows of; all of them are still due in the database."""

    waiting: deque[Event] = field(default_factory=deque)
    flying: Event | None = None
    #: sequences delivered, of which the database has not been told yet
    delivered: set[int] = field(default_factory=set)
    #: one failed, and the database has not been told yet: nothing of this call may go
    failed: bool = False

    def knows(self, sequence: int) -> bool:
        return (
            sequence in self.delivered
            or (self.flying is not None and self.flying.sequence == sequence)
            or any(event.sequence == sequence for event in self.waiting)
        )

    def earlier_than(self, sequence: int) -> int:
        known = [*self.delivered, *(event.sequence for event in self.waiting)]
        if self.flying is not None:
            known.append(self.flying.sequence)
        return sum(one < sequence for one in known)

    @property
    def known(self) -> int:
        return len(self.waiting) + len(self.delivered) + (self.flying is not None) + self.failed

    @property
    def is_idle(self) -> bool:
        return not self.waiting and self.flying is None and not self.delivered and not self.failed


class Lane:
    """The deliveries to one customer."""

    def __init__(self, customer_id: str, most_at_once: int = MOST_AT_ONCE) -> None:
        self.customer_id = customer_id
        self._most = most_at_once
        self.limit = float(min(FIRST_AT_ONCE, most_at_once))
        #: POSTs under way
        self.flying = 0
        #: whether the last one failed through the endpoint's fault
        self.is_struggling = False
        #: whether the database holds more than the window let in
        self.more = False
        self._calls: dict[str, _Call] = {}
        self._ready: deque[str] = deque()
        self._waiting = 0
        self._gathered = 0

    @property
    def may_fly(self) -> bool:
        """Whether the limit allows one more POST."""
        return self.flying < int(self.limit)

    @property
    def room(self) -> int:
        """How many events more may be taken in."""
        return max(WINDOW - self._waiting - self._gathered - self.flying, 0)

    @property
    def waiting(self) -> int:
        """How many events could go if the limit allowed it."""
        return self._waiting

    @property
    def known(self) -> int:
        """How many events memory knows of that are still due in the database."""
        return sum(call.known for call in self._calls.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this customer is in memory."""
        return not self._calls

    def take_in(self, events: Iterable[Event]) -> list[Event]:
        """Queue events that the database says are due, except those known already.

        Gives back those that must wait for an earlier event of their call that is not in memory.
        """
        held = []
        for event in sorted(events, key=lambda event: event.sequence):
            call = self._calls.get(event.call_id)
            if call is not None and (call.failed or call.knows(event.sequence)):
                continue
            if event.before > (0 if call is None else call.earlier_than(event.sequence)):
                held.append(event)
            elif self.room == 0:
                self.more = True
            else:
                self._queue(event)
        return held

    def _queue(self, event: Event) -> None:
        call = self._calls.setdefault(event.call_id, _Call())
        if not call.waiting and call.flying is None:
            self._ready.append(event.call_id)
        call.waiting.append(event)
        self._waiting += 1

    def next(self) -> Event | None:
        """The event to deliver now; None when nothing may go."""
        if not self._ready or not self.may_fly:
            return None
        call = self._calls[self._ready.popleft()]
        call.flying = call.waiting.popleft()
        self._waiting -= 1
        self.flying += 1
        return call.flying

    def gather(self, event: Event) -> None:
        """An event that `next` gave out waits for others to go in one POST with it."""
        self.flying -= 1
        self._gathered += 1

    def launch(self, gathered: Sequence[Event]) -> None:
        """Events that were gathered go, in one POST."""
        self._gathered -= len(gathered)
        self.flying += 1

    def delivered(self, *flight: Event) -> None:
        """The events of one POST have arrived."""
        self.pass_over(*flight)
        self.is_struggling = False
        self.limit = min(self.limit + 1, self._most)

    def pass_over(self, *flight: Event) -> None:
        """Events that `next` gave out are done with: what follows them may go."""
        self.flying -= 1
        for event in flight:
            call = self._calls[event.call_id]
            call.flying = None
            call.delivered.add(event.sequence)
            if call.waiting:
                self._ready.append(event.call_id)

    def failed(self, *flight: Event, endpoint_at_fault: bool) -> None:
        """The events of one POST have not arrived: the calls' later ones leave memory with them."""
        self.flying -= 1
        for event in flight:
            call = self._calls[event.call_id]
            call.flying, call.failed = None, True
            self._waiting -= len(call.waiting)
            call.waiting.clear()
        self.is_struggling = endpoint_at_fault
        if endpoint_at_fault:
            self.limit = max(self.limit / 2, 1.0)

    def recorded(self, event: Event) -> None:
        """The database has been told what became of an event."""
        call = self._calls[event.call_id]
        if event.sequence in call.delivered:
            call.delivered.discard(event.sequence)
        else:
            call.failed = False
        self._forget_if_idle(event.call_id, call)

    def _forget_if_idle(self, call_id: str, call: _Call) -> None:
        if call.is_idle:
            del self._calls[call_id]

    def drop_waiting(self, gathered: Sequence[Event] = ()) -> None:
        """Forget what has not been sent, what was gathered too: somebody else delivers to this customer."""
        for event in gathered:
            self._calls[event.call_id].flying = None
        self._gathered = 0
        self._ready.clear()
        self._waiting = 0
        for call_id, call in list(self._calls.items()):
            call.waiting.clear()
            self._forget_if_idle(call_id, call)
