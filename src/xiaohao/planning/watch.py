"""The worker's look at the pools, once an hour: samples, metrics, and a word to whose pool runs out."""

from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from xiaohao.clock import CHINA, SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.notifications.service import announce_pool
from xiaohao.notifications.wire import PoolEventData
from xiaohao.planning import store
from xiaohao.planning.model import DAY_S, Standing, Usage
from xiaohao.planning.trend import DAYS, days_left
from xiaohao.planning.wire import usage_document
from xiaohao.secrecy import Vault

_log = structlog.get_logger(__name__)

_HOUR: Final = 3600 * SECOND
_DAY: Final = DAY_S * SECOND
#: samples are kept for some days longer than the trend needs them
_KEPT: Final = 3 * DAYS * _DAY
_OFFSET: Final = int(CHINA.utcoffset(None).total_seconds()) * SECOND
_STATES: Final = ("usable", "assigned", "used", "resting", "free")


class PoolWatch:
    """Counts every pool when an hour has begun. Several workers may do so: a sample is stored once.

    `warning_days`: a pool that will be exhausted sooner is reported to its customer, once a day.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        warning_days: float,
        registry: CollectorRegistry,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database = database
        self._vault = vault
        self._warning_days = warning_days
        self._clock = clock
        self._hour = -1
        # An operator who reads metrics knows pools by their ids; there are few of them.
        self._left = Gauge(
            "xiaohao_pool_days_left",
            "Days until a pool is exhausted at the trend of the last days; +Inf: it does not grow",
            ("pool",),
            registry=registry,
        )
        self._numbers = Gauge(
            "xiaohao_pool_numbers", "Numbers of a pool", ("pool", "state"), registry=registry
        )
        self._peak = Gauge(
            "xiaohao_pool_peak",
            "The most numbers of a pool that one person holds",
            ("pool",),
            registry=registry,
        )

    async def look(self) -> dict[str, Usage]:
        """Count the pools if that has not been done in this hour; gives what was found, by pool."""
        now = self._clock()
        hour = now // _HOUR
        if hour == self._hour:
            return {}
        standings: dict[str, Standing] = {}
        async with self._database.read() as connection:
            owners = await store.pools_to_watch(connection)
            for pool_id in owners:
                standings[pool_id] = await store.standing(connection, pool_id, now)
        async with self._database.begin() as connection:
            await store.add_samples(connection, hour * _HOUR, standings)
            await store.forget_samples(connection, now - _KEPT)
        async with self._database.read() as connection:
            samples = await store.samples(connection, now - DAYS * _DAY)
        found = {
            pool_id: Usage(one, now, days_left(samples.get(pool_id, []), one.needed, one.usable, now))
            for pool_id, one in standings.items()
        }
        await self._warn(found, owners, now)
        self._show(found)
        self._hour = hour
        return found

    async def _warn(self, found: dict[str, Usage], owners: dict[str, str | None], now: int) -> None:
        today = (now + _OFFSET) // _DAY
        for pool_id, usage in found.items():
            # A pool without any number is a plan of the operator's, and no trend.
            if usage.days_left is None or usage.days_left > self._warning_days or not usage.standing.total:
                continue
            _log.warning("pool_running_out", pool=pool_id, days_left=round(usage.days_left, 1))
            customer_id = owners[pool_id]
            if customer_id is None:
                continue
            told = PoolEventData(**usage_document(pool_id, usage))
            async with self._database.begin() as connection:
                await announce_pool(connection, self._vault, customer_id, today, told, now)

    def _show(self, found: dict[str, Usage]) -> None:
        for gauge in (self._left, self._numbers, self._peak):
            gauge.clear()
        for pool_id, usage in found.items():
            left = float("inf") if usage.days_left is None else usage.days_left
            self._left.labels(pool_id).set(left)
            self._peak.labels(pool_id).set(usage.standing.peak)
            for state in _STATES:
                self._numbers.labels(pool_id, state).set(getattr(usage.standing, state))
