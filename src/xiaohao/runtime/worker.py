"""The worker's process: everything that may be late, wired by hand in one place.

Deliveries have a thread of their own for their SQL and every chore has a task of its own, so that none waits
for another. Each lives through a database that is away and through errors of a single piece of work.
"""

import asyncio
import contextlib
import math
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    ProcessCollector,
    generate_latest,
)

from xiaohao import log
from xiaohao.audit.service import Audit
from xiaohao.billing.closing import Closing
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import Reratings
from xiaohao.bindings.service import Bindings
from xiaohao.calls.retention import Retention
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.database.errors import WrongMasterKey
from xiaohao.digests.service import Digests
from xiaohao.log import where
from xiaohao.notifications.delivery import Deliverer
from xiaohao.notifications.feed import Feed
from xiaohao.notifications.metrics import DeliveryMetrics
from xiaohao.notifications.wake import listen
from xiaohao.numbers.service import Numbers
from xiaohao.planning.watch import PoolWatch
from xiaohao.policies.fraud import FraudWatch
from xiaohao.policies.sweeping import Sweeping
from xiaohao.recordings.conversions import Conversions
from xiaohao.recordings.keeping import Removal
from xiaohao.recordings.metrics import RecordingMetrics
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings, host_port
from xiaohao.trace.keeping import Keeping
from xiaohao.verifications.service import Verifications

_log = structlog.get_logger(__name__)

#: a binding ends on time by itself; the sweep only says so in the tables
_SWEEP_S: Final = 5.0
_BACKLOG_S: Final = 10.0
_FORGET_S: Final = 600.0
_CLOCK_S: Final = 2.0
#: who sets a clock sets it by more than this
_CLOCK_SET_S: Final = 60.0
_PULL_INS: Final = 5
_DIGESTS_S: Final = 15.0
_TRACES_S: Final = 0.5
_FORGET_TRACES_S: Final = 900.0
#: looks whether an hour has begun; then the pools are counted
_POOLS_S: Final = 60.0
#: a capture is complete moments after its call's end, and the customer waits for the recording
_CAPTURES_S: Final = 0.3
#: who asked for a deletion is told at once that nobody can hear it; this removes what is left
_REMOVAL_S: Final = 2.0
#: a customer whose money is used up is stopped within a second
_RATING_S: Final = 0.4
_CLOSING_S: Final = 60.0
_FRAUD_S: Final = 1.0
_POLICIES_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 30.0
_NICENESS: Final = 10


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        vault = vault_of(settings)
        self._database = Database(settings.database.url, vault.key_id)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._failures = Counter(
            "xiaohao_worker_chore_failures", "Chores that failed", ("chore",), registry=self._registry
        )
        self._metrics = DeliveryMetrics(self._registry)
        # The listening address makes the name unique on a machine, and the same after a restart.
        owner = f"{socket.gethostname()} {settings.worker.listen}"
        self._deliverer = Deliverer(self._database, vault, settings.notifications, owner, self._metrics)
        self._feed = Feed(self._database, vault)
        self._cdrs = Retention(self._database, Audit(self._database, vault), settings.calls.cdr_days)
        self._digests = Digests(self._database, vault, settings.notifications.digest_after_s)
        self._bindings = Bindings(self._database, vault)
        self._owner = owner
        self._rater = Rater(self._database, vault)
        #: by how much the wall's clock is ahead of the one that is never set; infinite: not looked at yet
        self._clock_ahead = math.inf
        self._pull_ins = 0
        self._closing = Closing(self._database, Rater(self._database, vault), settings.billing.seller)
        self._reratings = Reratings(self._database, Rater(self._database, vault))
        self._rated = Counter("xiaohao_calls_rated", "CDRs that were rated", registry=self._registry)
        self._numbers = Numbers(self._database, vault)
        self._verifications = Verifications(self._database, vault)
        self._traces = Keeping(self._database, vault, settings, self._registry)
        self._conversions = Conversions(self._database, vault, settings)
        self._pools = PoolWatch(self._database, vault, settings.worker.pool_warning_days, self._registry)
        self._fraud = FraudWatch(self._database, vault)
        self._policies = Sweeping(self._database)
        self._alarms = Counter("xiaohao_fraud_alarms", "Suspicions of fraud", registry=self._registry)
        self._removal = Removal(self._database, settings)
        self._recordings = RecordingMetrics(self._registry)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish the deliveries under way.

        Raises OSError where an address is taken, WrongMasterKey.
        """
        await self._agree()
        runner = web.AppRunner(self._application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, *host_port(self._settings.worker.listen)).start()
        self._traces.start()
        waking = await listen(self._settings.worker.wake, self._deliverer.wake)
        deliveries = asyncio.create_task(self._deliverer.run())
        chores = [asyncio.create_task(chore) for chore in self._chores()]
        _log.info("worker_ready")
        await _first(stop, deliveries)
        waking.close()
        for chore in chores:
            chore.cancel()
        self._deliverer.stop()
        await asyncio.gather(*chores, return_exceptions=True)
        try:
            await deliveries
        finally:
            await runner.cleanup()
            await self._conversions.close()
            await self._traces.close()
            await self._database.close()

    async def _agree(self) -> None:
        try:
            await self._database.agree()
        except WrongMasterKey:
            raise
        except DatabaseUnavailable:
            return  # each connection is asked again when it can be made

    def _chores(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._again_and_again(_SWEEP_S, self._sweep),
            self._again_and_again(_SWEEP_S, self._resume_numbers),
            self._again_and_again(_SWEEP_S, self._expire_verifications),
            self._again_and_again(_BACKLOG_S, self._measure),
            self._again_and_again(_CAPTURES_S, self._convert),
            self._again_and_again(_REMOVAL_S, self._remove_recordings),
            self._again_and_again(_SWEEP_S, self._measure_recordings),
            self._again_and_again(_RATING_S, self._rate),
            self._again_and_again(_CLOSING_S, self._close),
            self._again_and_again(_POOLS_S, self._watch_pools),
            self._again_and_again(_CLOCK_S, self._look_at_the_clock),
            self._again_and_again(_FORGET_S, self._forget),
            self._again_and_again(_FORGET_S, self._forget_cdrs),
            self._again_and_again(_FRAUD_S, self._watch_fraud),
            self._again_and_again(_POLICIES_S, self._tidy_policies),
            self._again_and_again(_DIGESTS_S, self._make_digests),
            self._again_and_again(_TRACES_S, self._write_traces),
            self._again_and_again(_FORGET_TRACES_S, self._forget_traces),
        ]

    async def _make_digests(self) -> None:
        if await self._digests.make_due():
            self._deliverer.wake()

    async def _watch_fraud(self) -> None:
        alarms = await self._fraud.look()
        self._alarms.inc(alarms)
        if alarms:
            self._deliverer.wake()

    async def _tidy_policies(self) -> None:
        await self._policies.sweep()

    async def _forget(self) -> None:
        await self._feed.forget_old(self._settings.notifications.retention_days)

    async def _look_at_the_clock(self) -> None:
        """What was put off before the clock was set back would wait for as long as it was set back."""
        ahead = time.time() - time.monotonic()
        if ahead <= self._clock_ahead - _CLOCK_SET_S:
            # several times, because others may see it a moment later and go by the old one until then
            self._pull_ins = _PULL_INS
            if not math.isinf(self._clock_ahead):
                _log.warning("clock_was_set_back", by_s=round(self._clock_ahead - ahead))
        self._clock_ahead = ahead
        if not self._pull_ins:
            return
        notifications = self._settings.notifications
        longest_s = 2 * max(notifications.retry_s) + notifications.timeout_s + _CLOCK_SET_S
        events, recordings = await self._feed.pull_in(longest_s), await self._conversions.pull_in()
        self._pull_ins -= 1
        if events or recordings:
            _log.warning("pulled_in", events=events, recordings=recordings)
            self._deliverer.wake()

    async def _forget_cdrs(self) -> None:
        await self._cdrs.forget_old()

    async def _write_traces(self) -> None:
        await self._traces.write_due()

    async def _forget_traces(self) -> None:
        await self._traces.forget_old()

    async def _resume_numbers(self) -> None:
        if await self._numbers.sweep():
            self._deliverer.wake()

    async def _expire_verifications(self) -> None:
        await self._verifications.sweep()

    async def _sweep(self) -> None:
        await self._bindings.sweep()

    async def _watch_pools(self) -> None:
        await self._pools.look()

    async def _convert(self) -> None:
        self._recordings.ready.inc(await self._conversions.convert_due())

    async def _remove_recordings(self) -> None:
        self._recordings.deleted.inc(await self._removal.sweep())

    async def _measure_recordings(self) -> None:
        work = self._conversions
        self._recordings.show(await work.backlog(), work.gate.was_open, work.cut_off, len(work.strays))

    async def _rate(self) -> None:
        self._rated.inc(await self._rater.rate_due())

    async def _close(self) -> None:
        await self._reratings.go_on()
        await self._closing.close_due(self._owner, self._settings.billing.close_after_h)

    async def _measure(self) -> None:
        backlog = await self._deliverer.backlog()
        self._metrics.due.set(backlog.due)
        oldest = now_us() if backlog.oldest_due_at is None else backlog.oldest_due_at
        self._metrics.oldest.set(max(now_us() - oldest, 0) / SECOND)

    async def _again_and_again(self, every_s: float, chore: Callable[[], Awaitable[None]]) -> None:
        """Do a chore every so many seconds, for ever; after a failure ever later, up to half a minute."""
        name = chore.__name__.strip("_")
        pause = every_s
        while True:
            try:
                await chore()
            except DatabaseUnavailable as error:
                _log.warning("chore_put_off", chore=name, error=str(error))
                pause = min(pause * 2, max(_LONGEST_PAUSE_S, every_s))
            except Exception as error:  # noqa: BLE001 - one chore's fault must not end the others
                self._failures.labels(name).inc()
                _log.error("chore_failed", chore=name, error=type(error).__name__, where=where(error))
                pause = min(pause * 2, max(_LONGEST_PAUSE_S, every_s))
            else:
                pause = every_s
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - workers should not march in step

    def _application(self) -> web.Application:
        async def healthz(_request: web.Request) -> web.Response:
            return web.json_response({"status": "ok"})

        async def metrics(_request: web.Request) -> web.Response:
            return web.Response(
                body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
            )

        app = web.Application()
        app.router.add_get("/healthz", healthz)
        app.router.add_get("/metrics", metrics)
        return app


async def _first(stop: asyncio.Event, deliveries: asyncio.Task[None]) -> None:
    """Wait for `stop`, or for the end of the deliveries, which nothing but a fault of ours can bring."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((stopped, deliveries), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped


def stand_back() -> None:
    """Leave the machine to the calls: all that this process does may be late.

    Linux weighs processes of different sessions by their session's niceness where sched_autogroup is on, see
    sched(7), and by their own elsewhere.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), _NICENESS))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}\n")


async def run(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT; deliveries under way are finished first.

    Raises OSError where a listening address is taken, SettingsError.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.configure(settings.log_level)
    stand_back()
    await Worker(settings).run(stop)
