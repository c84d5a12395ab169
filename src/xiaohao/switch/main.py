"""The switch's process: everything wired by hand, in one place."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from xiaohao import log
from xiaohao.announcer.media import Player
from xiaohao.announcer.service import Announcer
from xiaohao.announcer.store import MARK as UNKNOWN_CALLERS
from xiaohao.announcer.strangers import Strangers
from xiaohao.bindings.service import Bindings
from xiaohao.calls.journal import CallJournal, JournalWriter
from xiaohao.calls.model import HANG_UP, HANG_UP_BINDING, Reason
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.edge import kamailio, rtpengine, wire
from xiaohao.edge.addresses import listeners
from xiaohao.edge.evapi import EdgeConnection
from xiaohao.edge.ng import Ng, NgError
from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.ivr.service import Dialogues
from xiaohao.ivr.store import MARK as GRAPHS
from xiaohao.policies.store import MARK as POLICIES
from xiaohao.prompts.service import Prompts
from xiaohao.prompts.store import MARK as PROMPTS
from xiaohao.routing.store import MARK as ROUTING
from xiaohao.routing.table import routing_table
from xiaohao.runtime.peak import Peak, Processors
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings, host_port
from xiaohao.switch import http, metrics
from xiaohao.switch.admission import Governor, Watch
from xiaohao.switch.carriers import Carriers
from xiaohao.switch.chores import again_and_again, patiently
from xiaohao.switch.custody import Custody, Pulse
from xiaohao.switch.edge_memory import EdgeMemory
from xiaohao.switch.following import Following
from xiaohao.switch.hangup import HangingUp
from xiaohao.switch.lookup import COMMANDS, lookup_for
from xiaohao.switch.media import MediaWatch, identity_of, or_later
from xiaohao.switch.on_the_spot import OnTheSpot
from xiaohao.switch.policing import Policing
from xiaohao.switch.release import Release
from xiaohao.switch.space import Space
from xiaohao.switch.steps import Tools
from xiaohao.switch.switchboard import Switchboard
from xiaohao.switch.trunk_table import ListsWait, TrunkTable
from xiaohao.trunks.service import Trunks
from xiaohao.trunks.store import MARK as TRUNKS

_log = structlog.get_logger()

_CONFIRM_S = 0.1
#: evapi reads 32 KiB at a time and loses what it read where that ends within a line's length
_CONFIRMED_AT_ONCE = 200
#: between two looks at what has been changed or commanded
_LOOK_S = 0.2
_SHOW_S = 0.5
#: the edge is told again and again that we are here: one lost word must not stop all calls
_READY_S = 1.0
_RECONCILE_S = 30.0
_MEMORY_S = 1.0
#: new calls between two words to the edge, from which on calls are what fills the machine
_MANY_CALLS = 100
#: new calls a second that come in where the edge is short of memory
_FEW_CALLS = 5.0
#: the journal's thread must not keep the interpreter from an INVITE for Python's usual 5 ms
_THREADS_TURN_S = 0.001


class Switch:
    """One switch and its edge."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        vault = vault_of(settings)
        self._database = Database(settings.database.url, vault.key_id)
        self._journal = CallJournal(self._database, vault)
        self._waker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._waker.setblocking(False)
        self._writer = JournalWriter(self._journal, after_commit=self._wake_worker)
        self._lookup = lookup_for(self._database.url)
        reached = listeners(settings.edge)
        carriers = Carriers(ways={way: each.shown for way, each in reached.items()})
        self._rpc, self._ng = Rpc(settings.edge.rpc), Ng(settings.media.ng)
        self._edge = EdgeConnection(self._on_signal, self._on_up, self._on_down)
        self._space = Space(settings)
        on_the_spot = OnTheSpot(Bindings(self._database, vault), settings.calls.decision_ms)
        self._prompts = Prompts(self._database, Path(settings.prompts.folder))
        shown, has_prompt = self._lookup.shown, self._prompts.has
        self._routing = routing_table(settings, self._database, vault, shown, has_prompt)
        self._strangers, self._dialogues = Strangers(self._database, vault), Dialogues(self._database, vault)
        policing = self._policing = Policing(self._database, vault, settings.calls.decision_ms)
        self._database.at_close(policing.close)
        tools = Tools(
            *(settings, vault, self._lookup, carriers, on_the_spot.give_y, policing.judge, policing.release),
            self._routing,
            seat=policing.seat,
            hotline=self._strangers.hotline,
            may_record=self._space.is_enough,
        )
        self.switchboard = Switchboard(tools, self._writer, self._edge.send)
        player = Player(self._ng, Path(settings.runtime_folder) / "reels")
        self._announcer = Announcer(
            settings, self._prompts, player, self.switchboard, self._strangers, self._dialogues
        )
        self.switchboard.announcer = self._announcer
        self.hanging_up = HangingUp(self.switchboard, self._rpc, self._start)
        self.switchboard.on_media_failed = self._media_failed
        self.switchboard.release_media = self._release = Release(settings.media.ng)
        folder = kamailio.folder(settings)
        self._trunks = TrunkTable(Trunks(self._database, vault), carriers, self._rpc, folder)
        self._following = Following(
            {
                TRUNKS: self._change_trunks,
                POLICIES: policing.follow,
                ROUTING: self._routing.load,
                PROMPTS: self._prompts.load,
                UNKNOWN_CALLERS: self._strangers.load,
                GRAPHS: self._dialogues.load,
            }
        )
        self._media = MediaWatch(
            self._ng,
            lambda: identity_of(rtpengine.pid_file(settings)),
            self.switchboard.with_media,
            self._media_lost,
        )
        self._governor = Governor()
        self._watch: Watch | None = None
        if udp := reached.get("udp") or reached.get("udp6"):
            self._watch = Watch(
                udp.here,
                kamailio.probe_user(settings),
                self._governor,
                lambda: self._ready,
                self._limit_calls,
            )
        self._custody = Custody(self.switchboard, self._edge.send, self._release_media)
        self._pulse, self._peak, self._ready = Pulse(folder / "alive"), Peak(settings), False
        self._processors, self._invited = Processors(), 0
        self._memory = EdgeMemory(self._rpc)
        #: until when the edge lived that had those calls of which we do not know yet whether they still live
        self._died_at = self._pulse.last()
        self._taking_over: asyncio.Task[None] | None = None
        #: no decision takes longer, so that an older call is in the edge's memory or nowhere
        self._settled_s = settings.calls.decision_ms / 1000 + 1
        self._tasks: set[asyncio.Task[None]] = set()

    # What the edge says

    def _on_signal(self, said: wire.Signal) -> None:
        if isinstance(said, wire.Told):
            self._custody.told(said)
        elif isinstance(said, wire.Banned):
            metrics.STRANGERS_BANNED.inc()
            _log.warning("stranger_banned", source=said.source)
        elif isinstance(said, wire.TargetHealth):
            self._trunks.set_health(said.uri, said.up)
            _log.warning("trunk_target", target=said.uri, up=said.up)
        elif isinstance(said, wire.StoodStill):
            _log.warning("switch_stood_still")
            self._start(self._catch_up())
        elif isinstance(said, wire.Stopping):
            self.hanging_up.everything()
        elif isinstance(said, wire.TurnedAway):
            metrics.CALLS_TURNED_AWAY.inc(said.calls)
            _log.warning("calls_turned_away", calls=said.calls)
        else:
            if isinstance(said, wire.Invite):
                self._governor.admitted()
                self._invited += 1
            self.switchboard.signal(said)

    def _on_up(self) -> None:
        metrics.EDGE_CONNECTED.set(1)
        self._taking_over = self._start(self._take_over(now_us()))

    def _on_down(self) -> None:
        metrics.EDGE_CONNECTED.set(0)
        if self._taking_over is not None:
            self._taking_over.cancel()
        self._custody.edge_is_gone()
        self._ready = False
        if self._died_at is None:
            self._pulse.beat()
            self._died_at = now_us()
        _log.warning("edge_lost")

    async def _take_over(self, connected_at: int) -> None:
        """After every (re)connection: the edge's calls are ours again, then new ones may come."""
        while True:
            try:
                await self._trunks.push()
                break
            except ListsWait as error:
                _log.warning("trunks_wait_for_the_clock", error=str(error))
                break
            except RpcError as error:
                _log.warning("edge_not_ready", error=str(error))
                await asyncio.sleep(0.2)
        settled = round(self._settled_s * SECOND)
        if not await self._custody.compare(connected_at - settled, self._died_at):
            self._edge.close()
            return
        self._ready = True
        self._following.again(TRUNKS)
        self._show_ready()
        _log.info("switch_ready", live_calls=len(self.switchboard.calls))
        await asyncio.sleep(self._settled_s)
        if await self._custody.compare(connected_at, self._died_at):
            self._died_at = None
        await self._read_health()
        await or_later(self._media.check_answered())

    def _show_ready(self) -> None:
        limit = self._governor.limit
        if self._memory.is_short:
            limit = min(limit or _FEW_CALLS, _FEW_CALLS)
        self._edge.send(wire.ready(self._trunks.callers_with_password, limit))

    def _limit_calls(self, calls_per_second: float | None) -> None:
        metrics.CALLS_PER_SECOND_LIMIT.set(calls_per_second or 0)
        self._show_ready()

    # What the platform does to calls

    def _media_died(self, call_id: str) -> None:
        self.switchboard.end_call(call_id, Reason.DEAD_MEDIA)

    def _media_lost(self, call_id: str) -> None:
        self.switchboard.end_call(call_id, Reason.MEDIA_LOST)

    def _media_failed(self, signal: wire.MediaFailed) -> None:
        self._start(self._look_at_media(signal))

    async def _look_at_media(self, signal: wire.MediaFailed) -> None:
        try:
            known = await self._media.check(signal.call_id)
        except NgError:
            return  # the next look at rtpengine finds what has become of the call
        if known and signal.at_first:
            # it was not rtpengine's fault: nobody hears anything, nor will
            self.switchboard.end_call(signal.call_id, Reason.MEDIA_UNAVAILABLE)

    def _release_media(self, call_ids: list[str]) -> None:
        self._start(self._media.release(call_ids))

    # What it does all the time

    async def _confirm(self) -> None:
        confirmed = self.switchboard.take_unconfirmed()
        if confirmed:
            await self._writer.drain()
            for start in range(0, len(confirmed), _CONFIRMED_AT_ONCE):
                self._edge.send(wire.stored(confirmed[start : start + _CONFIRMED_AT_ONCE]))
                await asyncio.sleep(_CONFIRM_S)
        metrics.JOURNAL_REJECTED.set(self._writer.rejected)
        metrics.CALLS_LIVE.set(len(self.switchboard.calls))

    async def _look_around(self) -> None:
        """What has been commanded or changed since the last look, in this database that many write."""
        looked_at = now_us() / SECOND
        news = await self._lookup.news()
        self._following.look(news)
        if self._following.is_current(POLICIES):
            metrics.POLICIES_IN_FORCE.set(looked_at)
        if self._following.is_current(TRUNKS) and self._trunks.is_pushed:
            metrics.TRUNKS_IN_FORCE.set(looked_at)
        if news.get(COMMANDS):
            await self._obey()

    async def _obey(self) -> None:
        for subject, command in await self._journal.take_commands():
            if command == HANG_UP:
                self.switchboard.end_call(subject, Reason.PLATFORM_HUNG_UP)
            elif command == HANG_UP_BINDING:
                self.switchboard.end_calls_of(subject, Reason.PLATFORM_HUNG_UP)

    async def _change_trunks(self) -> None:
        await self._trunks.load()
        if self._ready and not self._trunks.is_pushed:
            await self._trunks.push_changes()
            self._show_ready()

    async def _live_on(self) -> None:
        # not where the journal is waited for: that is when it counts
        metrics.JOURNAL_DEPTH.set(self._writer.depth)
        if self._ready:
            self._show_ready()
        invited, self._invited = self._invited, 0
        is_crowded = self._processors.are_full() and invited >= _MANY_CALLS
        if is_crowded or self._governor.limit is not None:
            self._peak.goes_on()
        if self._ready and self._died_at is None:
            self._pulse.beat()

    async def _look_at_memory(self) -> None:
        """Let hardly a new call in where the edge's memory runs out."""
        self._space.is_enough()  # shown also where nobody calls
        if self._ready and await self._memory.look():
            self._show_ready()

    async def _look_for_lost_calls(self) -> None:
        if self._ready:
            settled = now_us() - round(self._settled_s * SECOND)
            if not await self._custody.compare(settled, self._died_at):
                self._edge.close()
            await or_later(self._media.check_answered())

    async def _catch_up(self) -> None:
        """Learn what the edge did not tell while we stood still."""
        await self._look_for_lost_calls()
        await self._read_health()

    async def _read_health(self) -> None:
        """The edge tells of changes only while it hears from us."""
        with contextlib.suppress(RpcError):
            await self._trunks.read_health()

    def _wake_worker(self) -> None:
        # where nobody listens the worker looks by itself
        with contextlib.suppress(OSError):
            self._waker.sendto(b"!", host_port(self._settings.worker.wake))

    # Its own life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises WrongMasterKey."""
        await self._lookup.open()
        await patiently(self._database.agree)
        for load in (self._trunks.load, self._policing.follow, self._routing.load):
            await patiently(load)
        self.switchboard.adopt(await patiently(self._journal.live))
        app = http.application(lambda: self._ready, self.hanging_up.is_done, self._media_died)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, *host_port(self._settings.switch.listen)).start()
        await self._announcer.open()
        self._start(self._edge.keep(*host_port(self._settings.edge.evapi)))
        self._start(self._media.run())
        self._start(self._release.run())
        if self._watch is not None:
            self._start(self._watch.run())
        self._start(again_and_again(_CONFIRM_S, self._confirm))
        self._start(again_and_again(_LOOK_S, self._look_around))
        self._start(self._prompts.prepare())
        self._start(again_and_again(_SHOW_S, self._prompts.keep_up))
        self._start(again_and_again(_SHOW_S, self._routing.keep_up))
        self._start(again_and_again(_READY_S, self._live_on))
        # apart from the word that we are here: an edge that answers late must not make that late, too
        self._start(again_and_again(_MEMORY_S, self._look_at_memory))
        self._start(again_and_again(_RECONCILE_S, self._look_for_lost_calls, first_s=_RECONCILE_S))
        await stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._announcer.close()
        self._edge.close()
        self._release.close()
        left = await self._writer.close()
        if left:
            _log.error("journal_not_written", changes=left)
        await runner.cleanup()
        await self._routing.close()
        await self._lookup.close()
        if self._watch is not None:
            self._watch.close()
        self._rpc.close()
        self._ng.close()
        await self._database.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def run(settings: Settings) -> None:
    """Run the switch until SIGTERM or SIGINT. SIGUSR1: end every call, and go on."""
    log.configure(settings.log_level)
    sys.setswitchinterval(_THREADS_TURN_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    switch = Switch(settings)
    loop.add_signal_handler(signal.SIGUSR1, switch.hanging_up.everything)
    await switch.run(stop)
