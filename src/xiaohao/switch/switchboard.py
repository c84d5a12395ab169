"""Every live call: what the edge signals becomes its state, its events and its one CDR.

Signals may come in any order, twice, late, or after a restart for calls that this process never saw.
"""

import asyncio
import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from xiaohao.bindings.model import judge
from xiaohao.calls.journal import CallBegan, CallEnded, CallMoved, JournalWriter
from xiaohao.calls.model import Call, Party, Reason, State, Try
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.edge import wire
from xiaohao.secrecy import SecrecyError
from xiaohao.switch import carriers as trunking
from xiaohao.switch import metrics
from xiaohao.switch.causes import REFUSALS, not_answered
from xiaohao.switch.steps import STEPS, Passage, Refused, Tools

_log = structlog.get_logger()

#: ends remembered so that one told twice is recognised; a day of calls is not needed for that
_REMEMBERED: Final = 20_000


class Switchboard:
    """The calls of one edge."""

    def __init__(self, tools: Tools, journal: JournalWriter, send: Callable[[str], None]) -> None:
        self._tools, self._journal, self._send = tools, journal, send
        self._settings = tools.settings
        self.calls: dict[str, Call] = {}
        self._ended: dict[str, None] = {}
        self._unconfirmed: list[str] = []
        self._longest: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: calls that the edge has named since the last reconnection
        self._named: set[str] = set()
        self.on_dialogs: Callable[[wire.Dialogs, Reason], None] = lambda dialogs, reason: None
        self._asked_to_end: dict[str, Reason] = {}
        #: calls that wait for our decision, with the end that came before it
        self._undecided: dict[str, wire.Ended | None] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            wire.Invite: self._invite,
            wire.Ringing: self._ringing,
            wire.Answered: self._answered,
            wire.Ended: self._end,
            wire.Live: self._live,
            wire.Dialogs: self._dialogs,
        }

    def signal(self, signal: wire.Signal) -> None:
        """Take one signal of the edge. Signals that are not about a call are not for here."""
        self._handlers[type(signal)](signal)

    # A new call

    def _invite(self, invite: wire.Invite) -> None:
        call = Call(invite.call_id, self._settings.edge.id, invite.at, dialled=invite.dialled[:32])
        self.calls[call.id] = call
        self._undecided[call.id] = None
        self._start(self._decide(Passage(invite, call)))

    async def _decide(self, passage: Passage) -> None:
        invite, call = passage.invite, passage.call
        reason: Reason | None = None
        with metrics.DECISION_SECONDS.time():
            try:
                for step in STEPS:
                    await step(passage, self._tools)
            except Refused as refused:
                reason = refused.reason
            except DatabaseUnavailable:
                reason = Reason.PLATFORM_ERROR
            except Exception as error:  # noqa: BLE001 – a fault of ours must end as a refusal, not as a silent phone
                _log.error("decision_failed", call_id=call.id, error=type(error).__name__)
                reason = Reason.PLATFORM_ERROR
            if reason is not None:
                call.record = False
            sealed = self._sealed(call)
            if reason is None:
                limits = self._settings.calls
                self._send(
                    wire.connect(
                        invite.transaction, call.id, limits.ring_s * 1000, limits.trunk_silence_ms,
                        sealed, call.record, passage.legs,
                    )
                )  # fmt: skip
            else:
                how = REFUSALS[reason]
                self._send(
                    wire.refuse(invite.transaction, how.sip_code, how.phrase, how.q850_cause, reason, sealed)
                )
        self._tools.carriers.occupy(call.trunk_in)
        self._tools.carriers.occupy(call.trunk_out)
        self._journal.put(CallBegan(call))
        if early_end := self._undecided.pop(call.id, None):
            self._finish(call, early_end)

    # Its life

    def _ringing(self, signal: wire.Ringing) -> None:
        call = self.calls.get(signal.call_id)
        if call is None or call.ringing_at is not None:
            return
        call.ringing_at = signal.at
        self._move_to_trunk(call, signal.trunk_group)
        if call.state is State.RECEIVED:
            call.state = State.RINGING
            self._journal.put(CallMoved(call))

    def _answered(self, signal: wire.Answered) -> None:
        call = self.calls.get(signal.call_id)
        if call is None or call.answered_at is not None:
            return
        call.answered_at, call.state = signal.at, State.ANSWERED
        call.tries = [
            *self._named_tries(signal.tries),
            Try(self._trunk_id(signal.trunk_group), signal.try_at),
        ]
        self._move_to_trunk(call, signal.trunk_group)
        metrics.CALLS_ANSWERED.inc()
        self._journal.put(CallMoved(call))
        self._limit(call)

    def _limit(self, call: Call) -> None:
        if call.max_duration_s and call.answered_at and call.id not in self._longest:
            left = (call.answered_at - now_us()) / SECOND + call.max_duration_s
            self._longest[call.id] = asyncio.get_running_loop().call_later(
                max(left, 0), self.end_call, call.id, Reason.MAX_DURATION
            )

    def end_call(self, call_id: str, reason: Reason) -> None:
        """The platform ends a live call; nothing happens where it has ended by itself."""
        if call_id in self.calls:
            self._asked_to_end[call_id] = reason
            self._send(wire.end_call(call_id, reason))

    def _dialogs(self, dialogs: wire.Dialogs) -> None:
        reason = self._asked_to_end.pop(dialogs.call_id, Reason.PLATFORM_HUNG_UP)
        self.on_dialogs(dialogs, reason)

    # Its end

    def _end(self, signal: wire.Ended) -> None:
        if signal.call_id in self._ended:
            self._unconfirmed.append(signal.call_id)
            return
        if signal.call_id in self._undecided:
            # the caller gave up, or the edge did, while we were thinking
            self._undecided[signal.call_id] = signal
            return
        call = self.calls.get(signal.call_id)
        if call is not None or signal.sealed:
            self._finish(call or self._opened(signal.call_id, signal.sealed) or self._bare(signal), signal)
        else:
            self._remember(signal.call_id)
            self._start(self._end_of_unknown(signal))

    def _finish(self, call: Call, signal: wire.Ended) -> None:
        call.ringing_at = call.ringing_at or signal.ringing_at
        call.answered_at = call.answered_at or signal.answered_at
        if signal.tries and not call.tries:
            call.tries = self._named_tries(signal.tries)
        reason, cause = signal.reason, signal.q850_cause
        if reason is None:
            reason, cause = not_answered(signal.sip_code or 0, cause)
        sip_code = signal.sip_code if call.answered_at is None else 200
        self._close(call, signal.at, signal.by, reason, sip_code, cause)
        self._unconfirmed.append(call.id)

    async def _end_of_unknown(self, signal: wire.Ended) -> None:
        """The edge refused a call alone, undecided. Its CDR belongs to whose number was dialled."""
        call = self._bare(signal)
        trunk = self._tools.carriers.trunk_of(signal.trunk_group)
        if trunk is not None:
            region = self._settings.calls.region
            call.trunk_in = trunk.id
            call.dialled = trunking.number_dialled(signal.dialled, trunk, region) or call.dialled
            call.caller = trunking.number_of_caller(signal.caller, trunk, region)
            key = self._tools.vault.index(call.caller) if call.caller else b""
            try:
                match = judge(await self._tools.lookup.find(key, call.dialled), call.received_at)
                call.customer_id, call.binding_id = match.customer_id, match.binding_id
            except DatabaseUnavailable:
                # the edge tells this end again, because it is not confirmed
                self._ended.pop(signal.call_id, None)
                return
        self._ended.pop(signal.call_id, None)
        self._journal.put(CallBegan(call))
        self._finish(call, signal)

    def _close(
        self, call: Call, at: int, by: Party, reason: Reason, sip_code: int | None, cause: int | None
    ) -> None:
        call.state, call.ended_at, call.ended_by = State.ENDED, max(at, call.received_at), by
        call.reason, call.sip_code, call.q850_cause = reason, sip_code, cause
        if self.calls.pop(call.id, None) is not None:
            self._tools.carriers.release(call.trunk_in)
            self._tools.carriers.release(call.trunk_out)
        if timer := self._longest.pop(call.id, None):
            timer.cancel()
        self._asked_to_end.pop(call.id, None)
        self._remember(call.id)
        metrics.CALLS_ENDED.labels(reason.value).inc()
        recorded = call.record and call.callee is not None and reason is not Reason.MEDIA_UNAVAILABLE
        self._journal.put(CallEnded(call, recorded))

    def take_unconfirmed(self) -> list[str]:
        """Ends put into the journal since the last time; confirm them to the edge once they are stored."""
        taken, self._unconfirmed = self._unconfirmed, []
        return taken

    # Reconnection

    def adopt(self, calls: list[Call]) -> None:
        """Take calls that an earlier switch left in the database without a CDR."""
        for call in calls:
            if call.id not in self.calls and call.id not in self._ended:
                self._take_in(call)

    def _take_in(self, call: Call) -> None:
        self.calls[call.id] = call
        self._tools.carriers.occupy(call.trunk_in)
        self._tools.carriers.occupy(call.trunk_out)

    def _live(self, signal: wire.Live) -> None:
        self._named.add(signal.call_id)
        if signal.call_id in self._ended:
            return
        call = self.calls.get(signal.call_id)
        if call is None:
            call = self._opened(signal.call_id, signal.sealed)
            if call is None:
                return
            self._take_in(call)
            self._journal.put(CallBegan(call))
        if signal.ringing_at and call.ringing_at is None:
            call.ringing_at = signal.ringing_at
            if call.state is State.RECEIVED:
                call.state = State.RINGING
                self._journal.put(CallMoved(call))
        if signal.answered_at and call.answered_at is None:
            call.answered_at, call.state = signal.answered_at, State.ANSWERED
            self._journal.put(CallMoved(call))
        self._limit(call)

    def forget_named(self) -> None:
        """The edge is about to name every live call."""
        self._named.clear()

    def lost_calls(self, before: int) -> list[str]:
        """Calls received before this moment that the edge has not named since `forget_named`."""
        return [c.id for c in self.calls.values() if c.received_at < before and c.id not in self._named]

    def lose(self, call_id: str, at: int, reason: Reason) -> None:
        """A call that went down with an engine gets its CDR."""
        call = self.calls.get(call_id)
        if call is not None:
            self._close(call, at, Party.PLATFORM, reason, None, 41)

    # Helpers

    def _remember(self, call_id: str) -> None:
        self._ended[call_id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _move_to_trunk(self, call: Call, group: int) -> None:
        trunk_id = self._trunk_id(group)
        if trunk_id != call.trunk_out:
            self._tools.carriers.release(call.trunk_out)
            self._tools.carriers.occupy(trunk_id)
            call.trunk_out = trunk_id

    def _trunk_id(self, group: int) -> str:
        trunk = self._tools.carriers.trunk_of(group)
        return trunk.id if trunk else "unknown"

    def _named_tries(self, tries: list[Try]) -> list[Try]:
        return [Try(self._trunk_id(int(t.trunk_id)), t.at, t.sip_code) for t in tries]

    def _sealed(self, call: Call) -> str:
        sealed = self._tools.vault.seal(msgspec.json.encode(call).decode())
        return base64.urlsafe_b64encode(sealed).decode()

    def _opened(self, call_id: str, sealed: str) -> Call | None:
        try:
            call = msgspec.json.decode(self._tools.vault.open(base64.urlsafe_b64decode(sealed)), type=Call)
        except (SecrecyError, ValueError, msgspec.DecodeError):
            _log.error("sealed_call_unreadable", call_id=call_id)
            return None
        return call if call.id == call_id else None

    def _bare(self, signal: wire.Ended) -> Call:
        received = signal.received_at or signal.at
        return Call(signal.call_id, self._settings.edge.id, received, dialled=signal.dialled[:32])

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
