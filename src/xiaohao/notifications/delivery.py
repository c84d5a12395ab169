"""Delivers events to customers: at least once, in order within a call, each customer apart from the others.

One loop finds new events (woken by a datagram, and twice a second), writes down what became of tries, and
renews the leases that make this worker the only one to deliver to a customer. The POSTs run beside it, each
a task. What is on its way when the worker is killed stays due in the database and is sent again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, ParamSpec, TypeVar

import structlog

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.log import where
from xiaohao.notifications.lanes import WINDOW, Lane
from xiaohao.notifications.metrics import DeliveryMetrics
from xiaohao.notifications.model import Backlog, Event, Outcome
from xiaohao.notifications.retry import next_try
from xiaohao.notifications.sender import Failure
from xiaohao.notifications.served import GATHER_S, Flight, Served
from xiaohao.notifications.store import Outbox
from xiaohao.notifications.wire import batch_document
from xiaohao.outgoing.network import Network
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.settings import Notifications
from xiaohao.tenants.service import Tenants

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 0.5
#: how old may be what is known of a customer's webhook
_ENDPOINT_S: Final = 2.0
_SKIP_S: Final = 1.0
_LEASE_SLACK_S: Final = 10.0
_RENEW_EVERY_S: Final = 3.0
_IDLE_LANE_S: Final = 60.0
#: how long a delivery may stay unrecorded: what is killed in between is sent twice
_SETTLE_AFTER_S: Final = 0.2
_SETTLE_AT: Final = 200
_BREATH_S: Final = 0.004
_NEW_AT_ONCE: Final = 500
#: POSTs under way at the same time, to all customers together; of them to endpoints that fail to answer
_MOST_AT_ONCE: Final = 1000
_MOST_IN_DOUBT: Final = 500
_LONGEST_PAUSE_S: Final = 1.0

_CUSTOMER: Final = attrgetter("customer_id")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Deliverer:
    """The delivery loop of one worker."""

    def __init__(
        self, database: Database, vault: Vault, settings: Notifications, owner: str, metrics: DeliveryMetrics
    ) -> None:
        """`owner` names this worker in leases: the same after a restart, another on each machine."""
        self._vault = vault
        self._settings = settings
        self._give_up_after_s = settings.give_up_after_h * 3600
        self._metrics = metrics
        self._tenants = Tenants(database, vault)
        self._outbox = Outbox(database.url, owner, database.fence)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._network = Network(settings.allow_private_urls)
        self._wake = asyncio.Event()
        self._stopping = False
        self._after = -1
        self._served: dict[str, Served] = {}
        #: customers to leave alone until a moment of the monotonic clock: another worker's, or without a URL
        self._skipped: dict[str, float] = {}
        self._outcomes: list[Outcome] = []
        self._held: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_doubt = 0
        #: moments of the monotonic clock: when webhooks were last read, and when something is to be done
        self._refreshed_at = self._scan_at = self._settle_at = self._renew_at = 0.0

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    def stop(self) -> None:
        """Make `run` finish what is under way and return."""
        self._stopping = True
        self._wake.set()

    async def backlog(self) -> Backlog:
        """How much waits. Raises DatabaseUnavailable."""
        return await self._in_thread(self._outbox.backlog)

    async def run(self) -> None:
        """Deliver until `stop` is called, whatever happens to the database."""
        try:
            while not self._stopping:
                await self._look_safely()
                await self._rest()
            await self._finish()
        finally:
            for task in self._tasks:
                task.cancel()
            for served in self._served.values():
                served.close()
            self._network.close()
            self._thread.submit(self._outbox.close)
            self._thread.shutdown()

    async def _rest(self) -> None:
        # A breath after each look lets events gather; then until somebody wakes us, or half a second.
        await asyncio.sleep(_BREATH_S)
        alarm = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        alarm.cancel()

    async def _look_safely(self) -> None:
        pause, waiting = 0.1, False
        while True:
            try:
                await self._look()
            except DatabaseUnavailable as error:
                if not waiting:
                    _log.warning("deliveries_wait_for_database", error=str(error))
                waiting = True
            except Exception as error:  # noqa: BLE001 - deliveries go on whatever one customer's event holds
                _log.error("delivery_loop_failed", error=type(error).__name__, where=where(error))
            else:
                if waiting:
                    _log.info("deliveries_go_on")
                return
            if self._stopping:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _look(self) -> None:
        if self._after < 0:
            self._after = await self._in_thread(self._outbox.newest)
        new = await self._in_thread(self._outbox.arrived, self._after, now_us(), _NEW_AT_ONCE)
        await self._get_to_know({event.customer_id for event in new})
        for customer_id, events in groupby(sorted(new, key=_CUSTOMER), key=_CUSTOMER):
            self._accept(customer_id, list(events))
        if new:
            self._after = new[-1].seq
        if len(new) == _NEW_AT_ONCE:
            self._wake.set()
        clock = time.monotonic()
        if clock >= self._scan_at:
            await self._scan()
            self._scan_at = clock + _LOOK_EVERY_S
        if self._held or (self._outcomes and clock >= self._settle_at) or len(self._outcomes) >= _SETTLE_AT:
            await self._settle()
        if clock >= self._renew_at:
            await self._renew()
            self._renew_at = clock + _RENEW_EVERY_S
        for served in self._served.values():
            self._dispatch(served)

    async def _scan(self) -> None:
        """Look for what is due again, and for what a lane had no room for."""
        limits = {}
        customers = await self._in_thread(self._outbox.customers, now_us())
        await self._get_to_know(customers)
        for customer_id in customers:
            served = self._served.get(customer_id)
            if served is not None and self._may_send(served) and (limit := served.to_read()):
                limits[customer_id] = limit
        if limits:
            found = await self._in_thread(self._outbox.due, limits, now_us())
            for customer_id, events in found.items():
                self._accept(customer_id, events)

    def _accept(self, customer_id: str, events: Iterable[Event]) -> None:
        served = self._served.get(customer_id)
        if served is not None and self._may_send(served):
            served.used_at = time.monotonic()
            self._held += served.lane.take_in(events)
            self._dispatch(served)

    async def _get_to_know(self, customer_ids: Iterable[str]) -> None:
        """Learn where events go: of customers not met yet, and now and then of all; in one question.

        Those that nobody else delivers to become ours; where there is no URL, what is due is set aside.
        """
        clock = time.monotonic()
        new = [c for c in customer_ids if c not in self._served and clock >= self._skipped.get(c, 0.0)]
        known = list(self._served) if clock - self._refreshed_at > _ENDPOINT_S else []
        if not new and not known:
            return
        webhooks, unreadable = await self._tenants.webhooks([*new, *known])
        for customer_id in unreadable:
            _log.error("webhook_secret_cannot_be_opened", customer_id=customer_id)
            self._skip(customer_id)
        for customer_id in {*new, *known} - webhooks.keys() - unreadable:
            await self._stop_telling(customer_id)
        await self._take_over([customer_id for customer_id in new if customer_id in webhooks])
        for customer_id, webhook in webhooks.items():
            served = self._served.get(customer_id)
            if served is not None and webhook != served.webhook:
                served.send_to(webhook, self._network)
        if known:
            self._refreshed_at = clock

    async def _take_over(self, customer_ids: list[str]) -> None:
        if not customer_ids:
            return
        until = self._lease_end()
        ours = await self._in_thread(self._outbox.take_leases, customer_ids, now_us(), until)
        for customer_id in customer_ids:
            if customer_id in ours:
                self._served[customer_id] = Served(Lane(customer_id, self._settings.at_once), until)
            else:
                self._skip(customer_id)

    async def _stop_telling(self, customer_id: str) -> None:
        await self._in_thread(self._outbox.set_aside, customer_id)
        self._skip(customer_id)
        if (served := self._served.get(customer_id)) is not None:
            await self._drop(customer_id, served)

    async def _drop(self, customer_id: str, served: Served) -> None:
        """Send no more to a customer; what is on its way ends first."""
        served.drop_waiting()
        served.close()
        if served.lane.is_empty:
            del self._served[customer_id]
            await self._in_thread(self._outbox.release_leases, [customer_id])

    def _skip(self, customer_id: str) -> None:
        self._skipped[customer_id] = time.monotonic() + _SKIP_S

    def _lease_end(self) -> int:
        return now_us() + round((self._settings.timeout_s + _LEASE_SLACK_S) * SECOND)

    def _may_send(self, served: Served) -> bool:
        # A POST that starts now must be over before another worker may take the customer.
        return now_us() + self._settings.timeout_s * SECOND < served.lease_until

    def _dispatch(self, served: Served) -> None:
        while not self._stopping and self._may_send(served) and self._has_room(served):
            passed_over: list[Event] = []
            flight = served.next(passed_over)
            for event in passed_over:
                self._remember(Outcome(event, now_us(), unwanted=True))
            if flight is None:
                break
            task = asyncio.create_task(self._deliver(served, flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if served.gathered:
            asyncio.get_running_loop().call_later(GATHER_S, self._wake.set)

    def _has_room(self, served: Served) -> bool:
        # Endpoints that fail to answer must leave room for those that do, however many of them there are.
        in_doubt_is_full = served.lane.is_struggling and self._in_doubt >= _MOST_IN_DOUBT
        return len(self._tasks) < _MOST_AT_ONCE and not in_doubt_is_full

    async def _deliver(self, served: Served, flight: Flight) -> None:
        in_doubt = served.lane.is_struggling
        self._in_doubt += in_doubt
        failure = await self._try(served, flight)
        self._in_doubt -= in_doubt
        now = now_us()
        if failure is None:
            served.lane.delivered(*flight.events)
            self._metrics.delivered.inc(len(flight.events))
            for event in flight.events:
                self._metrics.seconds.observe((now - event.since) / SECOND)
                self._remember(Outcome(event, now))
        else:
            served.lane.failed(*flight.events, endpoint_at_fault=failure.endpoint_at_fault)
            for event in flight.events:
                again = next_try(
                    event.tries + 1, event.since, now, self._settings.retry_s, self._give_up_after_s
                )
                (self._metrics.given_up if again is None else self._metrics.failed).inc()
                self._remember(Outcome(event, now, failure.error, again))
        if served.lane.more and not served.lane.is_struggling and served.lane.room >= WINDOW // 2:
            self._scan_at = 0.0
            self._wake.set()
        self._dispatch(served)

    async def _try(self, served: Served, flight: Flight) -> Failure | None:
        subscription = served.subscription
        if subscription is None:
            return Failure("the webhook's URL or secret cannot be used", endpoint_at_fault=True)
        try:
            name, body = flight.events[0].id, self._vault.open(flight.events[0].body_sealed)
            if flight.is_batch:
                more = [self._vault.open(event.body_sealed) for event in flight.events[1:]]
                name, body = batch_document([event.id for event in flight.events], [body, *more], now_us())
            return await subscription.post(name, body, self._settings.timeout_s)
        except SecrecyError:
            return Failure("the stored event cannot be opened", endpoint_at_fault=False)
        except Exception as error:  # noqa: BLE001 - the lane must learn the end of each try
            _log.error(
                "delivery_failed",
                event_id=flight.events[0].id,
                error=type(error).__name__,
                where=where(error),
            )
            return Failure("the platform could not send it", endpoint_at_fault=False)

    def _remember(self, outcome: Outcome) -> None:
        if not self._outcomes:
            self._settle_at = time.monotonic() + _SETTLE_AFTER_S
            asyncio.get_running_loop().call_later(_SETTLE_AFTER_S, self._wake.set)
        self._outcomes.append(outcome)
        if len(self._outcomes) == _SETTLE_AT:
            self._wake.set()

    async def _settle(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        held, self._held = self._held, []
        try:
            await self._in_thread(self._outbox.settle, outcomes, held)
        except BaseException:
            self._outcomes = outcomes + self._outcomes
            raise
        for outcome in outcomes:
            self._served[outcome.event.customer_id].lane.recorded(outcome.event)

    async def _renew(self) -> None:
        """Keep the leases of customers with something to do, give back those of idle ones."""
        idle_since = time.monotonic() - _IDLE_LANE_S
        idle = [c for c, s in self._served.items() if s.lane.is_empty and s.used_at < idle_since]
        for customer_id in idle:
            self._served.pop(customer_id).close()
        if idle:
            await self._in_thread(self._outbox.release_leases, idle)
        if self._served:
            until = self._lease_end()
            ours = await self._in_thread(self._outbox.take_leases, list(self._served), now_us(), until)
            for customer_id, served in list(self._served.items()):
                if customer_id in ours:
                    served.lease_until = until
                else:
                    self._lose(customer_id, served)
        self._metrics.customers.set(len(self._served))
        self._metrics.flying.set(len(self._tasks))

    def _lose(self, customer_id: str, served: Served) -> None:
        """Another worker delivers to this customer now: this one was away for too long."""
        _log.warning("delivery_lease_lost", customer_id=customer_id)
        served.lease_until = 0
        served.drop_waiting()
        if served.lane.is_empty:
            self._served.pop(customer_id).close()

    async def _finish(self) -> None:
        """Wait for the POSTs under way, write down what became of them, give the leases back."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.timeout_s + 1)
        try:
            await self._settle()
            if self._served:
                await self._in_thread(self._outbox.release_leases, list(self._served))
        except DatabaseUnavailable:
            _log.warning("deliveries_unrecorded_at_stop", tries=len(self._outcomes))

    async def _in_thread(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *args, **kwargs))
