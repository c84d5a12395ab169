"""Every live call: what the edge signals becomes its state, its events and its one CDR.

Signals may come in any order, twice, late, or after a restart for calls that this process never saw.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from xiaohao.announcer.service import Announcer
from xiaohao.calls.journal import CallBegan, CallEnded, CallMoved, CallTraced, JournalWriter
from xiaohao.calls.model import Call, Mark, Party, Reason, State, Try
from xiaohao.clock import SECOND, now_us
from xiaohao.edge import wire
from xiaohao.secrecy import masked
from xiaohao.switch import metrics
from xiaohao.switch.causes import PLATFORM_ENDS, REFUSALS, ended_by, not_answered
from xiaohao.switch.owners import Owners
from xiaohao.switch.sealing import seal, unseal
from xiaohao.switch.steady import Steady
from xiaohao.switch.steps import LATER_STEPS, Passage, Tools, ask_the_customer, end_the_wait, walk
from xiaohao.trunks.model import Answers

_log = structlog.get_logger()

#: no rtpengine was asked for anything in these calls
_WITHOUT_MEDIA: Final = (
    Reason.MEDIA_UNAVAILABLE,
    Reason.SWITCH_UNAVAILABLE,
    Reason.OVERLOAD,
    Reason.PLATFORM_ERROR,
)
#: ends remembered so that one told twice is recognised: of the last minute, not of a day
_REMEMBERED: Final = 5_000


class Switchboard:
    """The calls of one edge."""

    def __init__(self, tools: Tools, journal: JournalWriter, send: Callable[[str], None]) -> None:
        self._tools, self._settings, self._journal, self._send = tools, tools.settings, journal, send
        self.calls: dict[str, Call] = {}
        self._ended: dict[str, None] = {}
        self._steady = Steady()
        self._unconfirmed: list[str] = []
        self._longest: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: calls that the edge has named since the last reconnection
        self._named: set[str] = set()
        self.on_dialogs: Callable[[wire.Dialogs, Reason], None] = lambda dialogs, reason: None
        #: speaks to callers; None: nobody does
        self.announcer: Announcer | None = None
        self.on_media_failed: Callable[[wire.MediaFailed], None] = lambda signal: None
        #: takes a call out of rtpengine and gives on what that says; it is given on in any case
        self.release_media: Callable[[str, Callable[[bytes], None]], None] = lambda _, done: done(b"")
        self._asked_to_end: dict[str, Reason] = {}
        #: calls that wait for our decision, with the end that came before it
        self._undecided: dict[str, wire.Ended | None] = {}
        self._owners = Owners(tools, self._finish)
        self._handlers: dict[type, Callable[[Any], None]] = {
            wire.Invite: self._invite,
            wire.Ringing: self._ringing,
            wire.Answered: self._answered,
            wire.Ended: self._end,
            wire.Live: self._live,
            wire.Dialogs: self._dialogs,
            wire.MediaFailed: self._media_failed,
        }

    def signal(self, signal: wire.Signal) -> None:
        """Take one signal of the edge. Signals that are not about a call are not for here."""
        self._handlers[type(signal)](signal)

    # A new call

    def _invite(self, invite: wire.Invite) -> None:
        if any(invite.call_id in known for known in (self.calls, self._ended, self._owners)):
            return
        call = Call(invite.call_id, self._settings.edge.id, invite.at, dialled=masked(invite.dialled[:32]))
        self.calls[call.id] = call
        self._undecided[call.id] = None
        self._steady.begin(call)
        self._start(self._decide(Passage(invite, call)))

    async def _decide(self, passage: Passage) -> None:
        call = passage.call
        with metrics.DECISION_SECONDS.time():
            reason = await walk(passage, self._tools)
            early_end = self._undecided.pop(call.id)
            if early_end is None:
                self._answer_the_edge(passage, reason)
        # only now: what the edge keeps of a call must be small
        call.path = passage.marks
        if reason is Reason.PLATFORM_ERROR:
            # nobody's call so far: its end, which the edge tells in a moment, is how its customer is found
            del self.calls[call.id]
            self._steady.end(call.id)
        else:
            if reason is None:
                self._tools.carriers.occupy(call.id, call.trunk_in, call.trunk_out)
            self._journal.put(CallBegan(call))
        if early_end is not None:
            call.record = call.unrecorded = False
            self._end(early_end)

    def _answer_the_edge(self, passage: Passage, reason: Reason | None) -> None:
        self._send(self._connection(passage) if reason is None else self._refusal(passage, reason))

    def _connection(self, passage: Passage) -> str:
        call, limits = passage.call, self._settings.calls
        legs, manner = passage.legs, wire.PLAIN
        if self.announcer is not None:
            legs, manner = [*self.announcer.before(call), *legs], self.announcer.talk.manner(call)
        patience = wire.Patience(limits.ring_s * 1000, limits.progress_s * 1000, limits.trunk_silence_ms)
        transaction, sealed = passage.invite.transaction, seal(self._tools.vault, call)
        return wire.connect(transaction, call.id, patience, sealed, call.record, legs, manner)

    def _refusal(self, passage: Passage, reason: Reason, *, silent: bool = False) -> str:
        call, transaction, refused = passage.call, passage.invite.transaction, passage.refused
        sealed = "" if reason is Reason.PLATFORM_ERROR else seal(self._tools.vault, call)
        how = (refused and refused.told_as) or REFUSALS[reason]
        leg = None
        if self.announcer is not None and not silent:
            leg = self.announcer.refusal(passage, reason, how, self._tools)
        if leg is None:
            return wire.refuse(transaction, how.sip_code, how.phrase, how.q850_cause, reason, sealed)
        self._tools.carriers.occupy(call.id, call.trunk_in)
        return wire.connect(transaction, call.id, wire.Patience(0, 0, 0), sealed, False, [leg])

    async def go_on(self, passage: Passage) -> str:
        """A dialogue has found whom the caller means: what the edge is to do now."""
        call, passage.is_asked = passage.call, False
        reason = await walk(passage, self._tools, LATER_STEPS)
        if call.id in self.calls:
            if reason is None:
                self._tools.carriers.occupy(call.id, call.trunk_in, call.trunk_out)
            self._journal.put(CallMoved(call))
        return self._connection(passage) if reason is None else self._refusal(passage, reason)

    async def go_on_waiting(self, passage: Passage) -> str | None:
        """Ask about a caller who waits again, or let that be; what the edge is to do now, None: wait on."""
        call, waiting = passage.call, passage.waiting
        is_over = waiting is None or waiting.is_over(now_us())
        reason = await walk(passage, self._tools, (end_the_wait if is_over else ask_the_customer,))
        if call.id not in self.calls:
            return self.turn_away(passage, Reason.QUEUE_UNAVAILABLE)  # it went down with the edge
        if reason is Reason.PLATFORM_ERROR and is_over:
            reason = Reason.QUEUE_TIMEOUT
        elif reason is Reason.PLATFORM_ERROR or (passage.refused and passage.refused.waits):
            if call.routing is not None and call.routing.is_told:
                self._journal.put(CallMoved(call))
            return None
        self._tools.leave(call.id)
        if reason is None:
            return await self.go_on(passage)
        self._journal.put(CallMoved(call))
        return self._refusal(passage, reason)

    def turn_away(self, passage: Passage, reason: Reason) -> str:
        """A dialogue has come to nothing, and the caller has been told so."""
        return self._refusal(passage, reason, silent=True)

    def answers(self, call: Call) -> Answers:
        """Who of the callers of this call's trunk is answered by the announcer."""
        return self._tools.carriers.answers(call.trunk_in)

    def let_go(self, call_id: str, refusal: str = "") -> None:
        """The edge hangs up on a caller whom the announcer has answered."""
        self._send(wire.let_go(call_id, refusal))

    # Its life

    def _ringing(self, signal: wire.Ringing) -> None:
        call = self._decided(signal.call_id)
        if call is None or call.ringing_at is not None:
            return
        call.ringing_at = self._steady.at(call.id, signal.at)
        if call.state is State.RECEIVED:
            call.state = State.RINGING
            self._move_to_trunk(call, signal.trunk_group)
            self._journal.put(CallMoved(call))

    def _answered(self, signal: wire.Answered) -> None:
        call = self._decided(signal.call_id)
        if call is None or call.answered_at is not None:
            return
        call.answered_at, call.state = self._steady.at(call.id, signal.at), State.ANSWERED
        call.tries = [
            *self._named_tries(signal.tries),
            Try(self._trunk_id(signal.trunk_group), signal.try_at),
        ]
        self._move_to_trunk(call, signal.trunk_group)
        metrics.CALLS_ANSWERED.inc()
        self._journal.put(CallMoved(call))
        self._limit(call)
        if self.announcer is not None:
            self.announcer.talk.answered(call)
        if reason := self._asked_to_end.get(call.id):
            self.end_call(call.id, reason)  # the answer was faster than the cancellation

    def _decided(self, call_id: str) -> Call | None:
        return None if call_id in self._undecided else self.calls.get(call_id)

    def _limit(self, call: Call) -> None:
        if call.max_duration_s and call.answered_at and call.id not in self._longest:
            left = (call.answered_at - self._steady.now(call.id)) / SECOND + call.max_duration_s
            if self.announcer is not None:
                left -= self.announcer.talk.goodbye_s(call)
            self._longest[call.id] = asyncio.get_running_loop().call_later(
                max(left, 0), self.end_call, call.id, Reason.MAX_DURATION
            )

    def end_call(self, call_id: str, reason: Reason) -> None:
        """The platform ends a live call, after a goodbye if there is one; nothing where it has ended."""
        call, announcer = self.calls.get(call_id), self.announcer

        def then() -> None:
            self._end_now(call_id, reason)

        if call is None or announcer is None or not announcer.talk.says_goodbye(call, reason, then):
            then()

    def _end_now(self, call_id: str, reason: Reason) -> None:
        if call_id in self.calls:
            if call_id not in self._asked_to_end:
                self.calls[call_id].path.append(Mark("platform_ends", now_us(), 0, {"reason": reason.value}))
            self._asked_to_end[call_id] = reason
            self._send(wire.end_call(call_id, reason, PLATFORM_ENDS[reason]))

    def end_calls_of(self, binding_id: str, reason: Reason) -> None:
        """The platform ends every live call of a binding."""
        for call_id in [call.id for call in self.calls.values() if call.binding_id == binding_id]:
            self.end_call(call_id, reason)

    def _dialogs(self, dialogs: wire.Dialogs) -> None:
        reason = self._asked_to_end.get(dialogs.call_id, Reason.PLATFORM_HUNG_UP)
        self.on_dialogs(dialogs, reason)

    def _media_failed(self, signal: wire.MediaFailed) -> None:
        self.on_media_failed(signal)

    # Its end

    def _end(self, signal: wire.Ended) -> None:
        call_id = signal.call_id
        if call_id in self._ended:
            self._unconfirmed.append(call_id)
            return
        if call_id in self._undecided:
            # the caller gave up, or the edge did, while we were thinking
            self._undecided[call_id] = signal
            return
        call = self.calls.get(call_id)
        if call is None and signal.sealed:
            call = unseal(self._tools.vault, call_id, signal.sealed)
        if call is None:
            self._owners.find(signal)
        else:
            self._finish(call, signal)

    def _finish(self, call: Call, signal: wire.Ended) -> None:
        """Close a call as the edge tells, and what happened to it unseen before."""
        if call.id not in self.calls:
            self._take_in(call)
        if signal.ringing:
            self._ringing(signal.ringing)
        if signal.answered:
            self._answered(signal.answered)
        if signal.tries and not call.tries:
            call.tries = self._named_tries(signal.tries)
        reason, cause = signal.reason, signal.q850_cause
        if reason is None:
            reason, cause = not_answered(signal.sip_code or 0, cause)
        sip_code = signal.sip_code if call.answered_at is None else 200
        self._close(call, signal.at, ended_by(reason, signal.by), reason, sip_code, cause)
        if signal.media:
            self.release_media(call.id, lambda media: self._trace(call, media))
        else:
            self._trace(call)

    def _trace(self, call: Call, media: bytes = b"") -> None:
        """Nothing more will be known of a call that has ended. Until here the edge keeps its end."""
        self._journal.put(CallTraced(call, media))
        self._unconfirmed.append(call.id)

    def _close(
        self, call: Call, at: int, by: Party, reason: Reason, sip_code: int | None, cause: int | None
    ) -> None:
        at = self._steady.at(call.id, at)
        self._steady.end(call.id)
        latest = max(at, call.received_at, call.ringing_at or 0, call.answered_at or 0)
        call.state, call.ended_at, call.ended_by = State.ENDED, latest, by
        call.reason, call.sip_code, call.q850_cause = reason, sip_code, cause
        del self.calls[call.id]
        self._tools.carriers.release(call.id)
        self._tools.release(call.id)
        self._tools.leave(call.id)
        if timer := self._longest.pop(call.id, None):
            timer.cancel()
        self._asked_to_end.pop(call.id, None)
        if self.announcer is not None:
            self.announcer.forget(call)
        self._remember(call.id)
        metrics.CALLS_ENDED.labels(reason.value).inc()
        had_media = reason not in _WITHOUT_MEDIA
        call.unrecorded = call.unrecorded and had_media
        self._journal.put(CallEnded(call, call.record and had_media))

    def take_unconfirmed(self) -> list[str]:
        """Ends put into the journal since the last time; confirm them to the edge once they are stored."""
        taken, self._unconfirmed = self._unconfirmed, []
        return taken

    # Reconnection

    def adopt(self, calls: list[Call]) -> None:
        """Take this edge's calls that an earlier switch left in the database without a CDR."""
        for call in calls:
            is_ours = call.edge_id == self._settings.edge.id
            if is_ours and call.id not in self.calls and call.id not in self._ended:
                self.calls[call.id] = call
                self._steady.begin(call)
                self._tools.carriers.occupy(call.id, call.trunk_in, call.trunk_out)

    def _take_in(self, call: Call) -> None:
        """A call that the edge knows and we do not: an earlier switch died before it was stored."""
        self.calls[call.id] = call
        self._steady.begin(call)
        self._tools.carriers.occupy(call.id, call.trunk_in, call.trunk_out)
        self._journal.put(CallBegan(call))

    def _live(self, signal: wire.Live) -> None:
        self._named.add(signal.call_id)
        if signal.call_id in self._ended or signal.call_id in self._undecided:
            return
        call = self.calls.get(signal.call_id)
        if call is None:
            call = unseal(self._tools.vault, signal.call_id, signal.sealed)
            if call is None:
                return
            self._take_in(call)
        if signal.ringing:
            self._ringing(signal.ringing)
        if signal.answered:
            self._answered(signal.answered)
        self._limit(call)
        if self.announcer is not None:
            self.announcer.talk.goes_on(call)
        if reason := self._asked_to_end.get(call.id):
            self._end_now(call.id, reason)  # the edge may not have heard it

    def with_media(self, answered_before: int | None = None) -> list[str]:
        """Calls that are to have media: all of them, or those answered before this moment."""
        decided = [c for c in self.calls.values() if c.callee is not None and c.id not in self._undecided]
        if answered_before is not None:
            decided = [c for c in decided if c.answered_at is not None and c.answered_at < answered_before]
        return [call.id for call in decided]

    def forget_named(self) -> None:
        """The edge is about to name every live call."""
        self._named.clear()

    def lost_calls(self, before: int) -> list[str]:
        """Calls received before this moment that the edge has not named since `forget_named`."""
        known = self._named | self._undecided.keys()
        return [c.id for c in self.calls.values() if c.received_at < before and c.id not in known]

    def lose(self, call_id: str, at: int, reason: Reason) -> None:
        """A call that went down with an engine gets its CDR."""
        call = self._decided(call_id)
        if call is not None:
            self._close(call, at, Party.PLATFORM, reason, None, 41)
            self._journal.put(CallTraced(call))

    # Helpers

    def _remember(self, call_id: str) -> None:
        self._ended[call_id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _move_to_trunk(self, call: Call, group: int) -> None:
        trunk_id = self._trunk_id(group)
        if trunk_id != call.trunk_out:
            call.trunk_out = trunk_id
            self._tools.carriers.occupy(call.id, call.trunk_in, trunk_id)

    def _trunk_id(self, group: int) -> str:
        trunk = self._tools.carriers.trunk_of(group)
        return trunk.id if trunk else "unknown"

    def _named_tries(self, tries: list[Try]) -> list[Try]:
        return [Try(self._trunk_id(int(t.trunk_id)), t.at, t.sip_code) for t in tries]

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
