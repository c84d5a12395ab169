"""The worker's part of tracing: SIP messages from the edges go into the database, and old ones out of it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector as MetricsCollector

from xiaohao.calls.service import live_call_ids
from xiaohao.clock import SECOND, now_us
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.edge import kamailio
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.settings import Settings
from xiaohao.trace import store
from xiaohao.trace.collector import Group
from xiaohao.trace.listener import Listener
from xiaohao.trace.packing import PackingError, pack_messages, unpack_messages
from xiaohao.trace.sip import call_id_of

_log = structlog.get_logger(__name__)

_DAY: Final = 86_400 * SECOND
_ROWS_AT_ONCE: Final = 200


class Keeping:
    """Keeps SIP messages, where `trace.sip` is on, and forgets what is too old in any case."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        settings: Settings,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database, self._vault, self._settings, self._clock = database, vault, settings.trace, clock
        self._key = kamailio.hep_key(vault).encode()
        self._direct = Direct(database.url, fence=database.fence)
        self._insert = store.messages_insert(self._direct.dialect)
        self._listener: Listener | None = None
        self._knows_live_calls = False
        if registry is not None and settings.trace.sip:
            registry.register(_Counts(self))

    def start(self) -> None:
        """Begin to listen, where that is wanted. Raises OSError where the address is taken."""
        if self._settings.sip:
            wanted = self._settings
            self._listener = Listener(wanted.listen, self._key, wanted.sample, wanted.homer)
            self._listener.start()

    @property
    def listener(self) -> Listener | None:
        """The listener, where there is one."""
        return self._listener

    async def _learn_live_calls(self, listener: Listener) -> None:
        """Which callers' Call-IDs belong to the calls that began before this process."""
        async with self._database.read() as connection:
            rows = await store.messages_of(connection, await live_call_ids(connection))
        for row in rows:
            with contextlib.suppress(PackingError, SecrecyError):
                for message in unpack_messages(row["messages_sealed"], self._vault):
                    if message.caller_side:
                        listener.know(call_id_of(message.text), row["call_id"])
                        break

    async def write_due(self, everything: bool = False) -> int:
        """Write what has come; gives the number of messages. Raises DatabaseUnavailable: it is kept."""
        if self._listener is None:
            return 0
        if not self._knows_live_calls:
            await self._learn_live_calls(self._listener)
            self._knows_live_calls = True
        written = 0
        groups = self._listener.take_due(everything)
        while groups:
            some, groups = groups[:_ROWS_AT_ONCE], groups[_ROWS_AT_ONCE:]
            try:
                await asyncio.to_thread(self._write, some)
            except DatabaseUnavailable:
                self._listener.put_back(some + groups)
                raise
            written += sum(len(group.messages) for group in some)
        return written

    def _write(self, groups: list[Group]) -> None:
        rows = []
        for group in groups:
            messages = sorted(group.messages, key=lambda message: message.at)
            at = messages[0].at if messages else self._clock()
            rows.append((group.call_id, at, len(messages), group.cut, pack_messages(messages, self._vault)))
        with self._direct.write() as cursor:
            self._insert.run(cursor, rows)

    async def forget_old(self) -> int:
        """Take away what is older than `trace.retention_days`; gives the number of rows.

        Raises DatabaseUnavailable.
        """
        before = _first_id_of(self._clock() - self._settings.retention_days * _DAY)
        total = 0
        while True:
            async with self._database.begin() as connection:
                taken = await store.forget(connection, before)
            total += taken
            if not taken:
                break
            await asyncio.sleep(0)
        async with self._database.begin() as connection:
            await store.forget_failures(connection)
        return total

    async def close(self) -> None:
        """Stop listening and write what is left."""
        if self._listener is not None:
            self._listener.close()
            try:
                await self.write_due(everything=True)
            except DatabaseUnavailable:
                _log.error("sip_messages_not_written")
        self._direct.close()


class _Counts(MetricsCollector):
    """What the listener counts, as Prometheus wants it."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping

    def collect(self) -> list[CounterMetricFamily]:
        """prometheus-client: the present values."""
        kept = CounterMetricFamily("xiaohao_trace_messages", "SIP messages kept")
        lost = CounterMetricFamily(
            "xiaohao_trace_messages_lost", "SIP messages that were not kept", labels=("why",)
        )
        if self._keeping.listener is not None:
            count, reasons = self._keeping.listener.counts()
            kept.add_metric((), count)
            for why, number in sorted(reasons.items()):
                lost.add_metric((why,), number)
        return [kept, lost]


def _first_id_of(at: int) -> str:
    """No call of this moment or later has an id before this one; the ids of earlier calls come before it."""
    seconds = str(max(at, 0) // SECOND).zfill(10)
    return f"{seconds[:8]}-{seconds[8:10]}"
