"""A call that a phone receives: the callee's side of INVITE, as its `Behaviour` wants (RFC 3261 §13.3)."""

import asyncio
import random
from typing import TYPE_CHECKING

from aiosipua.dialog import Dialog
from aiosipua.message import SipRequest

from xiaohao.simulator.behaviour import Rejection
from xiaohao.simulator.call import CallOver, CallState
from xiaohao.simulator.dialog import dialog_of_callee, read_session_expires
from xiaohao.simulator.sdp import SdpError
from xiaohao.simulator.session import SipSession
from xiaohao.simulator.transaction import Repeater, ServerTransaction
from xiaohao.simulator.wire import cseq_of, first, new_tag, option_tags, response_to, tag_in, to_wire, user_in

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier
    from xiaohao.simulator.phone import Phone


class IncomingCall(SipSession):
    """The callee's view of a call. `Phone.next_call()` gives it.

    It plays the behaviour that the phone had when the INVITE came. `ring()`, `answer()` and `reject()` are
    for phones with `never_answer`.
    """

    def __init__(self, phone: "Phone", carrier: "Carrier", transaction: ServerTransaction) -> None:
        invite = transaction.request
        super().__init__(phone, carrier, first(invite, "call-id"))
        self.invite = invite
        self.display = self._shown_number(invite)
        self._transaction = transaction
        #: the transaction that a CANCEL must match
        self.invite_transaction_key = transaction.key
        transaction.on_no_ack = self._answer_not_acknowledged
        self.tag = new_tag()
        self._sdp: bytes | None = None
        self._late_offer = not invite.body
        self._answer_awaited = False
        self._ready_to_answer = asyncio.Event()
        self._ready_to_answer.set()
        self._rseq = random.randrange(1, 2**16)  # noqa: S311 - RFC 3262 §3 wants it random, not secret
        self._unacknowledged: tuple[int, Repeater, asyncio.TimerHandle] | None = None
        required = "100rel" in option_tags(invite, "require")
        supported = required or "100rel" in option_tags(invite, "supported")
        self._reliable = required or (supported and self.behaviour.reliable_provisional)
        self._note_peer(invite)

    def _shown_number(self, invite: SipRequest) -> str:
        """What the screen shows: From, unless an identity header knows better."""
        header = first(invite, "from")
        self.display_name = header.partition("<")[0].strip().strip('"')
        self.display = user_in(header)
        self._look_at_identity(invite)
        return self.display

    # --- the behaviour, step by step ---

    def start(self) -> None:
        """Begin to react."""
        if not self.behaviour.never_reply:
            self._spawn(self._play())

    async def _play(self) -> None:
        behaviour = self.behaviour
        if not behaviour.no_100:
            self._respond(self._transaction, 100)
        if self._refuse_at_once():
            return
        for _ in range(behaviour.forked_provisionals):
            self._fork()
        ring, reject = behaviour.ring_after_s, behaviour.reject_with
        if reject and behaviour.reject_after_s <= 0:
            self._reject(reject)
            return
        if ring is not None:
            await self._until(ring)
            self.ring()
        if reject:
            await self._until(behaviour.reject_after_s)
            self._reject(reject)
        elif not behaviour.never_answer:
            await self._until(behaviour.answer_after_s)
            await self.answer()

    async def _until(self, after_s: float) -> None:
        await asyncio.sleep(max(0.0, self.began_at + after_s - self._now()))

    def _refuse_at_once(self) -> bool:
        """Refusals that ask no user: 302, 422 and 420."""
        behaviour = self.behaviour
        unknown = option_tags(self.invite, "require") - {"100rel", "timer"}
        if unknown:
            self._end_with(420, "Bad Extension", {"Unsupported": ", ".join(sorted(unknown))})
        elif behaviour.redirect_to is not None:
            self._end_with(302, "Moved Temporarily", {"Contact": f"<{behaviour.redirect_to}>"})
        elif behaviour.min_se and 0 < read_session_expires(self.invite)[0] < behaviour.min_se:
            self._end_with(422, "Session Interval Too Small", {"Min-SE": str(behaviour.min_se)})
        else:
            return False
        return True

    def _open_dialog(self, tag: str) -> Dialog:
        key = (tag, tag_in(first(self.invite, "from")))
        if key not in self.dialogs:
            self.dialogs[key] = dialog_of_callee(self.invite, tag)
            self.carrier.know(self, tag)
        return self.dialogs[key]

    def _fork(self) -> None:
        """Ring as yet another phone that the call was forked to."""
        tag = new_tag()
        self._open_dialog(tag)
        self._respond(self._transaction, 180, tag=tag)
        self.provisional_codes.append(180)

    def _description(self) -> bytes:
        """Our answer to the INVITE's offer, or our offer where it had none; made once."""
        if self._sdp is None:
            if self._late_offer:
                self._sdp, self._answer_awaited = self._negotiation.offer(), True
            else:
                self._sdp = self._negotiation.answer(self.invite.body)
        return self._sdp

    # --- what the user does ---

    def ring(self, *, early_media: bool | None = None) -> None:
        """Send 180, or 183 with SDP and a tone; reliably where behaviour and caller agree to that."""
        if self.state is not CallState.CALLING or self._unacknowledged is not None:
            return
        early = self.behaviour.early_media if early_media is None else early_media
        self._open_dialog(self.tag)
        # without an offer in the INVITE, SDP may only go into a reliable response (RFC 3261 §13.2.1)
        early = early and (self._reliable or not self._late_offer)
        try:
            sdp = self._description() if early else None
        except SdpError:
            self._end_with(488)
            return
        if early and self.behaviour.send_rtp:
            self._media.play(self.behaviour.early_media_hz)
        code = 183 if early else 180
        self.provisional_codes.append(code)
        if self._reliable:
            self._ring_reliably(code, sdp)
        else:
            self._respond(self._transaction, code, tag=self.tag, sdp=sdp)
        self._move_ringing()

    def _ring_reliably(self, code: int, sdp: bytes | None) -> None:
        self._rseq += 1
        self._ready_to_answer.clear()
        response = self._respond(
            self._transaction,
            code,
            tag=self.tag,
            sdp=sdp,
            headers={"Require": "100rel", "RSeq": str(self._rseq)},
        )
        timers = self.carrier.transactions.timers
        raw, hop = to_wire(response), self._transaction.hop
        repeater = Repeater(lambda: self.carrier.transactions.send(raw, hop), timers.t1_s, timers.give_up_s)
        give_up = asyncio.get_running_loop().call_later(timers.give_up_s, self._end_with, 504, "no PRACK")
        self._unacknowledged = self._rseq, repeater, give_up

    def _stop_repeating(self) -> None:
        if self._unacknowledged is not None:
            self._unacknowledged[1].stop()
            self._unacknowledged[2].cancel()
            self._unacknowledged = None
        self._ready_to_answer.set()

    async def answer(self) -> None:
        """Pick up: 200 with SDP, once a reliable response has its PRACK. Does nothing after the end."""
        await self._ready_to_answer.wait()
        if self._transaction.final is not None or self.state is CallState.ENDED:
            return
        dialog = self._open_dialog(self.tag)
        in_prack = self._sdp is not None and self._late_offer and not self._answer_awaited
        try:
            sdp = None if in_prack else self._description()
        except SdpError:
            self._end_with(488)
            return
        self.dialog = dialog
        self.final_code, self.final_phrase = 200, "OK"
        self.answered_at = self._now()
        self._media.play(self.phone.tone_hz if self.behaviour.send_rtp else 0)
        headers = {"Supported": "100rel, timer"} | self._timer_headers()
        response = self._respond(self._transaction, 200, tag=self.tag, sdp=sdp, headers=headers)
        self._take_session_timer(response, we_asked=False)

    def _timer_headers(self) -> dict[str, str]:
        """Session-Expires of the answer (RFC 4028 §9)."""
        wanted, refresher = read_session_expires(self.invite)
        seconds = self.behaviour.session_expires or wanted
        if not seconds or "timer" not in option_tags(self.invite, "supported"):
            return {}
        least = first(self.invite, "min-se").split(";")[0].strip()
        seconds = max(min(seconds, wanted or seconds), int(least) if least.isdigit() else 0)
        role = refresher or self.behaviour.refresher
        headers = {"Session-Expires": f"{seconds};refresher={role}"}
        return headers | ({"Require": "timer"} if role == "uac" else {})

    def reject(self, code: int = 603, phrase: str | None = None, reason: str | None = None) -> None:
        """Refuse the call."""
        self._end_with(code, phrase, {"Reason": reason} if reason else None)

    def _reject(self, rejection: Rejection) -> None:
        self.reject(rejection[0], rejection[1], rejection[2] if len(rejection) > 2 else None)

    def _end_with(self, code: int, phrase: str | None = None, headers: dict[str, str] | None = None) -> None:
        if self._transaction.final is not None:
            return
        self._stop_repeating()
        response = self._respond(self._transaction, code, phrase, tag=self.tag, headers=headers)
        self.final_code, self.final_phrase = code, response.reason_phrase
        self._move_ended(by_us=True)

    async def hang_up(self) -> int:
        """End the call: BYE, or 603 before the answer; gives the final code of the BYE, or 603."""
        if self.state is CallState.ENDED:
            return self.final_code or 0
        if self.dialog is None:
            self.reject()
            return 603
        # a callee may not send BYE before the ACK (RFC 3261 §15)
        try:
            await self._wait(self._answered, "answered", self.carrier.transactions.timers.give_up_s)
        except (CallOver, TimeoutError):
            return 408
        return await self.bye()

    # --- what the caller does ---

    def on_cancel(self, request: SipRequest) -> None:
        """CANCEL came: 487, unless the call was answered before."""
        if self._transaction.final is not None:
            return
        self._stop_repeating()
        self.reason_header = first(request, "reason") or None
        response = self._respond(self._transaction, 487, tag=self.tag)
        self.final_code, self.final_phrase = 487, response.reason_phrase
        self._move_ended(by_us=False)

    def on_ack(self, request: SipRequest) -> None:
        """The ACK of our answer, or of a re-INVITE."""
        if cseq_of(request)[0] != cseq_of(self.invite)[0]:
            super().on_ack(request)
            return
        if self._transaction.acknowledged:
            return
        self._transaction.acknowledge()
        if self._answer_awaited and request.body:
            self._answer_awaited = False
            self._negotiation.take_answer(request.body)
        if self.state is CallState.ENDED:
            return
        self._move_answered()
        self._spawn(self._after_answer())

    async def _after_answer(self) -> None:
        behaviour = self.behaviour
        steps = sorted(
            (after, name)
            for after, name in (
                (behaviour.update_after_s, "update"),
                (behaviour.reinvite_after_s, "reinvite"),
                (behaviour.hang_up_after_s, "bye"),
            )
            if after is not None
        )
        start = self._now()
        for after, name in steps:
            await asyncio.sleep(max(0.0, start + after - self._now()))
            if self.state is not CallState.ANSWERED:
                return
            await getattr(self, name)()

    def _answer_not_acknowledged(self) -> None:
        """No ACK for 200: end the call with BYE (RFC 3261 §13.3.1.4)."""
        if self.dialog is not None and self.state is not CallState.ENDED:
            self._never_acknowledged()

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        super()._on_bye(transaction, dialog)
        if self._transaction.final is None:
            # the caller ended the early dialog with BYE (RFC 3261 §15.1.2)
            self._stop_repeating()
            self._transaction.respond(response_to(self.invite, 487, tag=self.tag))
            self.final_code = 487

    def _on_prack(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        request = transaction.request
        waiting = self._unacknowledged
        wanted = [str(waiting[0]), *first(self.invite, "cseq").split()] if waiting else None
        if first(request, "rack").split() != wanted:
            super()._on_prack(transaction, dialog)
            return
        sdp = None
        if request.body and self._answer_awaited:
            self._answer_awaited = False
            self._negotiation.take_answer(request.body)
        elif request.body:
            sdp = self._negotiation.answer(request.body)
        self._respond(transaction, 200, sdp=sdp)
        self._stop_repeating()

    async def close(self) -> None:
        """Stop everything of this call without a word."""
        self._stop_repeating()
        await super().close()
