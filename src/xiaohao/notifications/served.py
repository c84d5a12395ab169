"""A customer that this worker delivers to: where its events go, and which of them go next in one POST."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from xiaohao.notifications.lanes import WINDOW, Lane
from xiaohao.notifications.model import Event, Kind
from xiaohao.notifications.sender import Subscription
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.signed import Unusable
from xiaohao.tenants.model import Webhook

#: how long the first CDR of a batch waits for others
GATHER_S: Final = 1.0
#: events at hand for an endpoint that fails to answer
_FEW: Final = 16
_READ_EVERY_S: Final = 2.0
#: after so many tries an event goes in a POST of its own: another one in its batch may be what the customer
#: cannot take
_ALONE_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class Flight:
    """Events that go in one POST: one by itself, or a batch (of one or more)."""

    events: list[Event]
    is_batch: bool = False


@dataclass(slots=True)
class Served:
    """`subscription` None: the URL or the secret cannot be used."""

    lane: Lane
    lease_until: int
    webhook: Webhook | None = None
    subscription: Subscription | None = None
    #: moments of the monotonic clock: when there was something to deliver, and when it was looked for
    used_at: float = 0.0
    read_at: float = 0.0
    gathered: list[Event] = field(default_factory=list)
    gathered_at: float = 0.0

    def to_read(self) -> int:
        """How many events should be read from the database now; 0: none, there is enough to do.

        Reading costs the others: an endpoint that fails to answer needs few at hand, and one that has some is
        looked at again only so often, for what has become due meanwhile.
        """
        lane, now = self.lane, time.monotonic()
        if lane.is_struggling:
            wanted = _FEW - lane.waiting
        else:
            wanted = lane.room
            if lane.more and wanted < WINDOW // 2:
                wanted = 0
        is_short = lane.more or (lane.waiting == 0 and not lane.is_struggling)
        if wanted <= 0 or not (is_short or now - self.read_at >= _READ_EVERY_S):
            return 0
        self.read_at, lane.more = now, False
        return wanted + lane.known

    def send_to(self, webhook: Webhook, network: Network) -> None:
        """Send there from now on."""
        self.close()
        self.webhook = webhook
        with suppress(Unusable):
            self.subscription = Subscription(webhook.url, webhook.secrets, network)

    def wants(self, event: Event) -> bool:
        """Whether this event is to be POSTed; one that was asked for again always is."""
        kinds = None if self.webhook is None else self.webhook.kinds
        return kinds is None or event.replayed or event.kind in kinds

    def next(self, passed_over: list[Event]) -> Flight | None:
        """What goes now; None where nothing may. Events that nobody wants are added to `passed_over`."""
        while True:
            if self._batch_is_due and self.lane.may_fly:
                flight, self.gathered = Flight(self.gathered, is_batch=True), []
                self.lane.launch(flight.events)
                return flight
            event = self.lane.next()
            if event is None:
                return None
            if not self.wants(event):
                self.lane.pass_over(event)
                passed_over.append(event)
            elif self._batch_size <= 1 or event.kind != Kind.CDR_CREATED:
                return Flight([event])
            elif event.tries >= _ALONE_AFTER:
                return Flight([event], is_batch=True)
            else:
                self._gather(event)

    @property
    def _batch_size(self) -> int:
        return 1 if self.webhook is None else self.webhook.cdr_batch

    @property
    def _batch_is_due(self) -> bool:
        waited = time.monotonic() - self.gathered_at >= GATHER_S
        return bool(self.gathered) and (waited or len(self.gathered) >= self._batch_size)

    def _gather(self, event: Event) -> None:
        if not self.gathered:
            self.gathered_at = time.monotonic()
        self.lane.gather(event)
        self.gathered.append(event)

    def drop_waiting(self) -> None:
        """Forget what has not been sent."""
        self.lane.drop_waiting(self.gathered)
        self.gathered = []

    def close(self) -> None:
        """Close idle connections and send nothing more."""
        if self.subscription is not None:
            self.subscription.close()
        self.webhook = self.subscription = None
