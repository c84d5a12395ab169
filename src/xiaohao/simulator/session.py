"""What both sides of a call do in its dialog: BYE, re-INVITE, UPDATE, INFO, timer (RFC 3261, 3311, 4028)."""

import asyncio
import random
import re
from typing import TYPE_CHECKING, Final

from aiosipua.dialog import Dialog
from aiosipua.message import SipRequest, SipResponse

from xiaohao.simulator.call import CallState
from xiaohao.simulator.dialog import next_hop, read_session_expires, retarget
from xiaohao.simulator.sdp import MediaDirection, SdpError
from xiaohao.simulator.signalling import ALLOW, Signalling
from xiaohao.simulator.transaction import ServerTransaction
from xiaohao.simulator.wire import cseq_of, first, tag_in

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier
    from xiaohao.simulator.phone import Phone

_SIGNAL: Final = re.compile(r"(?:^|\n)\s*Signal\s*=\s*([0-9A-D*#])", re.IGNORECASE)
_GLARE_TRIES: Final = 4


class SipSession(Signalling):
    """The part of a call's signalling that is the same for caller and callee."""

    #: whether we made the Call-ID: decides who waits longer after a collision (RFC 3261 §14.1)
    owns_call_id = False

    def __init__(self, phone: "Phone", carrier: "Carrier", call_id: str) -> None:
        super().__init__(phone, carrier, call_id)
        self._offering = asyncio.Lock()
        self._our_offer_out = False
        self._reinvite: ServerTransaction | None = None
        self._reinvite_needs_answer = False

    # --- what the user does ---

    async def bye(self, reason: str | None = None) -> int:
        """Send BYE in the answered dialog and end the call; gives the final code of the BYE."""
        dialog = self._talking()
        request = self._new_request(dialog, "BYE")
        if reason:
            request.headers.set_single("Reason", reason)
        self.timer.stop()
        self._move_ended(by_us=True)
        return (await self._ask(dialog, request)).status_code

    async def hold(self, direction: MediaDirection = "sendonly") -> int:
        """Put the other side on hold with a re-INVITE; gives its final code (200 where it worked)."""
        return await self.reinvite(direction)

    async def resume(self) -> int:
        """End the hold with a re-INVITE; gives its final code."""
        return await self.reinvite("sendrecv")

    async def reinvite(
        self,
        direction: MediaDirection | None = None,
        *,
        late_offer: bool = False,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Send a re-INVITE, with a new offer or without one; gives its final code. Tries again after 491."""
        if direction is not None:
            self._negotiation.wish = direction
        for _ in range(_GLARE_TRIES):
            async with self._offering:
                self._our_offer_out = True
                try:
                    code = await self._reinvite_once(self._talking(), late_offer, headers or {})
                finally:
                    self._our_offer_out = False
            if code != 491:
                break
            # RFC 3261 §14.1: the owner of the Call-ID waits longer
            low, high = (2.1, 4.0) if self.owns_call_id else (0.0, 2.0)
            await asyncio.sleep(random.uniform(low, high))  # noqa: S311 - spreads tries, keeps no secret
        return code

    async def _reinvite_once(self, dialog: Dialog, late_offer: bool, headers: dict[str, str]) -> int:
        final: asyncio.Future[SipResponse] = asyncio.get_running_loop().create_future()
        ack: SipRequest | None = None

        def take(response: SipResponse) -> None:
            if response.status_code < 200:
                return
            if not final.done():
                final.set_result(response)
            elif ack is not None:
                self.carrier.send_request(ack, next_hop(ack))

        def give_up() -> None:
            if not final.done():
                final.set_result(SipResponse(status_code=408, reason_phrase="no response"))

        request = self._new_request(dialog, "INVITE", None if late_offer else self._negotiation.offer())
        for name, value in headers.items():
            request.headers.set_single(name, value)
        self.carrier.transactions.request(request, next_hop(request), take, give_up)
        response = await final
        if 200 <= response.status_code < 300:
            retarget(dialog, response)
            answer = None
            if late_offer:
                answer = self._negotiation.answer(response.body)
            elif response.body:
                self._negotiation.take_answer(response.body)
            ack = self._make_ack(dialog, cseq_of(request)[0], answer)
            self.carrier.send_request(ack, next_hop(ack))
            self._take_session_timer(response, we_asked=True)
            self._look_at_identity(response)
        await self._end_if_gone(response)
        return response.status_code

    def _make_ack(self, dialog: Dialog, cseq: int, answer: bytes | None) -> SipRequest:
        ack = self._new_request(dialog, "ACK", answer)
        ack.headers.set_single("CSeq", f"{cseq} ACK")
        return ack

    async def update(self, *, with_offer: bool = True, headers: dict[str, str] | None = None) -> int:
        """Send UPDATE (RFC 3311) in the answered or latest early dialog; gives its final code."""
        dialog = self._current()
        async with self._offering:
            self._our_offer_out = with_offer
            try:
                request = self._new_request(
                    dialog, "UPDATE", self._negotiation.offer() if with_offer else None
                )
                for name, value in (headers or {}).items():
                    request.headers.set_single(name, value)
                response = await self._ask(dialog, request)
                if 200 <= response.status_code < 300:
                    retarget(dialog, response)
                    if with_offer and response.body:
                        self._negotiation.take_answer(response.body)
                    self._take_session_timer(response, we_asked=True)
                    self._look_at_identity(response)
            finally:
                self._our_offer_out = False
        await self._end_if_gone(response)
        return response.status_code

    async def info_dtmf(self, digit: str, duration_ms: int = 160) -> int:
        """Press a key by INFO with application/dtmf-relay, before the answer, too; gives its final code."""
        dialog = self._current()
        request = self._new_request(dialog, "INFO")
        request.headers.set_single("Content-Type", "application/dtmf-relay")
        request.body = f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode()
        return (await self._ask(dialog, request)).status_code

    async def _end_if_gone(self, response: SipResponse) -> None:
        """408 and 481 mean that the dialog is dead (RFC 3261 §12.2.1.2)."""
        if (
            response.status_code in (408, 481)
            and self.dialog is not None
            and self.state is CallState.ANSWERED
        ):
            await self.bye()

    # --- session timer ---

    def _take_session_timer(self, message: SipRequest | SipResponse, *, we_asked: bool) -> None:
        """Start the timer that a final response, ours or theirs, has settled."""
        seconds, refresher = read_session_expires(message)
        if not seconds or self.state is CallState.ENDED:
            self.timer.stop()
            return
        self.timer.arm(seconds, we_refresh=(refresher == "uac") == we_asked)

    def _begin_refresh(self) -> None:
        self._spawn(self._refresh())

    async def _refresh(self) -> None:
        if not self.behaviour.refreshes or self.state is not CallState.ANSWERED:
            return
        if "update" in self.peer_allows:
            await self.update(with_offer=False)
        else:
            await self.reinvite()

    def _expire(self) -> None:
        if self.state is CallState.ANSWERED:
            self._spawn(self.bye('SIP;cause=408;text="session expired"'))

    def _timer_for_answer(self, request: SipRequest) -> dict[str, str]:
        """The Session-Expires header of our answer to a re-INVITE or UPDATE that carries one."""
        seconds, refresher = read_session_expires(request)
        return {"Session-Expires": f"{seconds};refresher={refresher or 'uas'}"} if seconds else {}

    # --- what the other side does ---

    def on_request(self, transaction: ServerTransaction) -> None:
        """Answer a request inside one of the call's dialogs."""
        request = transaction.request
        dialog = self.dialogs.get((tag_in(first(request, "to")), tag_in(first(request, "from"))))
        if dialog is None:
            self._respond(transaction, 481)
            return
        number, method = cseq_of(request)
        if dialog.remote_cseq and number <= dialog.remote_cseq:
            self._respond(transaction, 500, "CSeq out of order")
            return
        dialog.remote_cseq = number
        handler = {
            "BYE": self._on_bye,
            "INVITE": self._on_reinvite,
            "UPDATE": self._on_update,
            "INFO": self._on_info,
            "PRACK": self._on_prack,
        }.get(method)
        if handler is not None:
            handler(transaction, dialog)
        elif method in ("OPTIONS", "NOTIFY", "MESSAGE"):
            self._respond(transaction, 200)
        else:
            self._respond(transaction, 405, headers={"Allow": ALLOW})

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        self._respond(transaction, 200)
        self.reason_header = first(transaction.request, "reason") or self.reason_header
        self.timer.stop()
        self._move_ended(by_us=False)

    def _on_prack(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        """Only a callee has sent something to acknowledge; see `IncomingCall`."""
        self._respond(transaction, 481)

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        request = transaction.request
        if self._our_offer_out:
            self._respond(transaction, 491)
            return
        if self.dialog is not dialog:
            self._respond(transaction, 500, "not answered yet", headers={"Retry-After": "1"})
            return
        try:
            sdp = self._negotiation.answer(request.body) if request.body else self._negotiation.offer()
        except SdpError:
            self._respond(transaction, 488)
            return
        retarget(dialog, request)
        self._look_at_identity(request)
        if self._reinvite is not None and not self._reinvite.acknowledged:
            # a new re-INVITE shows that our answer to the last one has arrived
            self._reinvite.acknowledge()
        self._reinvite, self._reinvite_needs_answer = transaction, not request.body
        transaction.on_no_ack = self._never_acknowledged
        timer = self._timer_for_answer(request)
        response = self._respond(transaction, 200, sdp=sdp, headers=timer)
        self._take_session_timer(response, we_asked=False)

    def _never_acknowledged(self) -> None:
        """A 2xx that is never acknowledged ends the call (RFC 3261 §13.3.1.4)."""
        if self.state is not CallState.ENDED and self.dialog is not None:
            self._spawn(self.bye('SIP;cause=408;text="no ACK"'))

    def on_ack(self, request: SipRequest) -> None:
        """An ACK for a 2xx to a re-INVITE."""
        invite = self._reinvite
        if invite is None or cseq_of(invite.request)[0] != cseq_of(request)[0] or invite.acknowledged:
            return
        invite.acknowledge()
        if self._reinvite_needs_answer and request.body:
            self._negotiation.take_answer(request.body)

    def _on_update(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        request = transaction.request
        if request.body and self._our_offer_out:
            self._respond(transaction, 491)
            return
        sdp = None
        if request.body:
            try:
                sdp = self._negotiation.answer(request.body)
            except SdpError:
                self._respond(transaction, 488)
                return
        retarget(dialog, request)
        self._look_at_identity(request)
        response = self._respond(transaction, 200, sdp=sdp, headers=self._timer_for_answer(request))
        if self.state is CallState.ANSWERED and "session-expires" in response.headers:
            self._take_session_timer(response, we_asked=False)

    def _on_info(self, transaction: ServerTransaction, dialog: Dialog) -> None:
        request = transaction.request
        kind = (request.content_type or "").split(";")[0].strip().lower()
        pressed = _SIGNAL.search(request.text) if kind == "application/dtmf-relay" else None
        if pressed:
            self._ear.digits.append(pressed.group(1).upper())
        elif kind == "application/dtmf" and request.text.strip():
            self._ear.digits.append(request.text.strip()[0])
        self._respond(transaction, 200)
