"""The switch's process: everything wired by hand, in one place."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from aiohttp import web

from xiaohao import log
from xiaohao.calls.journal import CallJournal, JournalWriter
from xiaohao.calls.model import Reason
from xiaohao.clock import now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.edge import kamailio, wire
from xiaohao.edge.evapi import EdgeConnection
from xiaohao.edge.ng import Ng
from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings, host_port
from xiaohao.switch import http, metrics
from xiaohao.switch.carriers import Carriers
from xiaohao.switch.hangup import hang_up
from xiaohao.switch.lookup import lookup_for
from xiaohao.switch.media import MediaWatch
from xiaohao.switch.steps import Tools
from xiaohao.switch.switchboard import Switchboard
from xiaohao.switch.trunk_table import TrunkTable
from xiaohao.trunks.service import Trunks

_log = structlog.get_logger()
_T = TypeVar("_T")

_CONFIRM_S = 0.1
_COMMANDS_S = 0.2
_TRUNKS_S = 1.0
_RECONCILE_S = 30.0


class Switch:
    """One switch and its edge."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        vault = Vault(settings.master_key())
        self._database = Database(settings.database.url)
        self._journal = CallJournal(self._database, vault)
        self._waker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._waker.setblocking(False)
        self._writer = JournalWriter(self._journal, after_commit=self._wake_worker)
        self._lookup = lookup_for(self._database.url)
        listeners = kamailio.listeners(settings)
        address = settings.edge.advertise or next(iter(listeners.values()))[0]
        carriers = Carriers(edge_address=address)
        self._rpc, self._ng = Rpc(settings.edge.rpc), Ng(settings.media.ng)
        self._edge = EdgeConnection(self._on_signal, self._on_up, self._on_down)
        tools = Tools(settings, vault, self._lookup, carriers)
        self.switchboard = Switchboard(tools, self._writer, self._edge.send)
        self.switchboard.on_dialogs = self._hang_up
        folder = kamailio.folder(settings)
        self._trunks = TrunkTable(Trunks(self._database, vault), carriers, self._rpc, folder)
        self._media = MediaWatch(self._ng, lambda: self.switchboard.calls, self._media_lost)
        self._told, self._ready = asyncio.Event(), False
        self._down_at: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # What the edge says

    def _on_signal(self, said: wire.Signal) -> None:
        if isinstance(said, wire.Told):
            self._told.set()
        elif isinstance(said, wire.Banned):
            metrics.STRANGERS_BANNED.inc()
            _log.warning("stranger_banned", source=said.source)
        elif isinstance(said, wire.TargetHealth):
            self._trunks.set_health(said.uri, said.up)
            _log.warning("trunk_target", target=said.uri, up=said.up)
        else:
            self.switchboard.signal(said)

    def _on_up(self) -> None:
        metrics.EDGE_CONNECTED.set(1)
        self._start(self._take_over())

    def _on_down(self) -> None:
        metrics.EDGE_CONNECTED.set(0)
        self._ready, self._down_at = False, now_us()
        _log.warning("edge_lost")

    async def _take_over(self) -> None:
        """After every (re)connection: the edge's calls are ours again, then new ones may come."""
        connected_at, down_at = now_us(), self._down_at
        while self._edge.connected:
            try:
                await self._trunks.push()
                break
            except RpcError as error:
                _log.warning("edge_not_ready", error=str(error))
                await asyncio.sleep(0.2)
        await self._reconcile(connected_at, down_at, ready=True)

    async def _reconcile(self, before: int, ended_at: int | None, ready: bool = False) -> None:
        self.switchboard.forget_named()
        self._told.clear()
        self._edge.send(wire.tell_all())
        try:
            await asyncio.wait_for(self._told.wait(), 10)
        except TimeoutError:
            _log.warning("edge_did_not_tell")
            self._edge.close()
            return
        if ready:
            self._edge.send(wire.ready(self._trunks.callers_with_password))
            self._ready = True
            _log.info("switch_ready", live_calls=len(self.switchboard.calls))
        # An INVITE that was just being decided is not among the live ones yet, or ends by its own time limit.
        await asyncio.sleep(self._settings.calls.decision_ms / 1000 + 1)
        if not self._edge.connected:
            return
        for call_id in self.switchboard.lost_calls(before):
            self.switchboard.lose(call_id, ended_at or now_us(), Reason.EDGE_LOST)
            await self._media.forget(call_id)

    # What the platform does to calls

    def _hang_up(self, dialogs: wire.Dialogs, reason: Reason) -> None:
        cause = 102 if reason is Reason.MAX_DURATION else 31
        self._start(hang_up(self._rpc, dialogs, cause))

    def _media_died(self, call_id: str) -> None:
        self.switchboard.end_call(call_id, Reason.DEAD_MEDIA)

    def _media_lost(self, call_id: str) -> None:
        self.switchboard.end_call(call_id, Reason.MEDIA_LOST)

    # What it does all the time

    async def _confirm(self) -> None:
        confirmed = self.switchboard.take_unconfirmed()
        if confirmed:
            await self._writer.drain()
            for start in range(0, len(confirmed), 200):
                self._edge.send(wire.stored(confirmed[start : start + 200]))
        metrics.JOURNAL_DEPTH.set(self._writer.depth)
        metrics.CALLS_LIVE.set(len(self.switchboard.calls))

    async def _obey(self) -> None:
        for call_id, command in await self._journal.take_commands():
            if command == "hang_up":
                self.switchboard.end_call(call_id, Reason.PLATFORM_HUNG_UP)

    async def _follow_trunks(self) -> None:
        await self._trunks.load()
        if self._ready and not self._trunks.is_pushed:
            await self._trunks.push()
            self._edge.send(wire.ready(self._trunks.callers_with_password))

    async def _look_for_lost_calls(self) -> None:
        if self._ready:
            await self._reconcile(now_us(), None)

    def _wake_worker(self) -> None:
        # where nobody listens the worker looks by itself
        with contextlib.suppress(OSError):
            self._waker.sendto(b"!", host_port(self._settings.worker.wake))

    # Its own life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        await self._lookup.open()
        await self._patiently(self._trunks.load)
        self.switchboard.adopt(await self._patiently(self._journal.live))
        runner = web.AppRunner(http.application(lambda: self._ready, self._media_died), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, *host_port(self._settings.switch.listen)).start()
        self._start(self._edge.keep(*host_port(self._settings.edge.evapi)))
        self._start(self._media.run())
        self._start(_again_and_again(_CONFIRM_S, self._confirm))
        self._start(_again_and_again(_COMMANDS_S, self._obey))
        self._start(_again_and_again(_TRUNKS_S, self._follow_trunks))
        self._start(_again_and_again(_RECONCILE_S, self._look_for_lost_calls, first_s=_RECONCILE_S))
        await stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._edge.close()
        left = await self._writer.close()
        if left:
            _log.error("journal_not_written", changes=left)
        await runner.cleanup()
        await self._lookup.close()
        self._rpc.close()
        self._ng.close()
        await self._database.close()

    async def _patiently(self, action: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await action()
            except DatabaseUnavailable as error:
                _log.warning("database_away", error=str(error))
                await asyncio.sleep(0.5)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _again_and_again(
    pause_s: float, action: Callable[[], Awaitable[None]], first_s: float = 0.0
) -> None:
    await asyncio.sleep(first_s)
    while True:
        try:
            await action()
        except (DatabaseUnavailable, RpcError) as error:
            _log.warning("switch_chore_put_off", chore=action.__name__, error=str(error))
        except Exception as error:  # noqa: BLE001 – one chore's fault must not end the others
            _log.error("switch_chore_failed", chore=action.__name__, error=type(error).__name__)
        await asyncio.sleep(pause_s)


async def run(settings: Settings) -> None:
    """Run the switch until SIGTERM or SIGINT."""
    log.configure(settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Switch(settings).run(stop)
