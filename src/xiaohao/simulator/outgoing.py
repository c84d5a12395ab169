"""A call that a phone makes: the caller's side of INVITE (RFC 3261 §13.2, PRACK RFC 3262)."""

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiosipua.dialog import Dialog
from aiosipua.message import SipRequest, SipResponse

from xiaohao.simulator.call import CallState
from xiaohao.simulator.dialog import dialog_of_caller, follow, next_hop
from xiaohao.simulator.sdp import SdpError
from xiaohao.simulator.session import SipSession
from xiaohao.simulator.signalling import ALLOW
from xiaohao.simulator.transaction import ClientTransaction
from xiaohao.simulator.wire import Hop, cseq_of, first, new_tag, option_tags, place, tag_in

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier
    from xiaohao.simulator.phone import Phone


class OutgoingCall(SipSession):
    """The caller's view of a call. `Phone.call()` makes it."""

    owns_call_id = True

    def __init__(
        self,
        phone: "Phone",
        carrier: "Carrier",
        dialled: str,
        *,
        headers: Mapping[str, str | None] | None = None,
        late_offer: bool = False,
        session_expires: int | None = None,
        refresher: str = "",
        reliable: str = "supported",
        withhold: bool = False,
    ) -> None:
        super().__init__(phone, carrier, f"{uuid.uuid4()}@{carrier.host}")
        self.display = dialled
        self.late_offer = late_offer
        self._offer_open = late_offer
        self._cancelled = False
        self._cancel_sent = False
        self._tries = 0
        self._rseq: dict[str, int] = {}
        self._acks: dict[str, SipRequest] = {}
        self._hop: Hop = carrier.edge
        self.invite = self._make_invite(dialled, withhold, reliable)
        if session_expires is not None:
            role = f";refresher={refresher}" if refresher else ""
            self.invite.headers.set_single("Session-Expires", f"{session_expires}{role}")
        for name, value in (headers or {}).items():
            self.invite.headers.remove(name)
            if value is not None:
                self.invite.headers.set_single(name, value)
        if not late_offer:
            self._with_sdp(self.invite, self._negotiation.offer())
        self._transaction: ClientTransaction | None = None

    def _make_invite(self, dialled: str, withhold: bool, reliable: str) -> SipRequest:
        carrier = self.carrier
        edge = place(carrier.edge)
        invite = SipRequest(method="INVITE", uri=f"sip:{carrier.spelled(dialled)}@{edge}")
        invite.headers.append("Via", carrier.via())
        invite.headers.set_single("Max-Forwards", "70")
        for name, value in carrier.caller_headers(self.phone, withhold=withhold).items():
            invite.headers.set_single(name, f"{value};tag={new_tag()}" if name == "From" else value)
        invite.headers.set_single("To", f"<sip:{carrier.spelled(dialled)}@{edge}>")
        invite.headers.set_single("Call-ID", self.call_id)
        invite.headers.set_single("CSeq", "1 INVITE")
        invite.headers.set_single("Contact", carrier.contact(self.phone))
        invite.headers.set_single("Allow", ALLOW)
        invite.headers.set_single("Supported", "100rel, timer" if reliable == "supported" else "timer")
        if reliable == "required":
            invite.headers.set_single("Require", "100rel")
        if not withhold:
            self._dress(invite, "INVITE")
        return invite

    def start(self) -> None:
        """Send the INVITE."""
        if self.behaviour.send_rtp:
            self._media.play(self.phone.tone_hz)
        self._send_invite()

    def _send_invite(self) -> None:
        transactions = self.carrier.transactions
        self._transaction = transactions.request(self.invite, self._hop, self._on_response, self._on_timeout)

    def _send_again(self, invite: SipRequest) -> None:
        """Send a corrected INVITE: new branch and CSeq, same Call-ID and From tag (RFC 3261 §8.1.3.5)."""
        self._tries += 1
        invite.headers.set_single("CSeq", f"{cseq_of(self.invite)[0] + 1} INVITE")
        self.invite = invite
        self._send_invite()

    # --- responses ---

    def _on_timeout(self) -> None:
        self.timed_out = True
        self._finish(408, "no response", None)

    def _finish(self, code: int, phrase: str, reason: str | None) -> None:
        if self.state is CallState.ENDED:
            return
        self.final_code, self.final_phrase = code, phrase
        self.reason_header = reason
        self._move_ended(by_us=self._cancelled)

    def _on_response(self, response: SipResponse) -> None:
        code = response.status_code
        if code < 200:
            self._on_provisional(response)
        elif code < 300:
            self._on_answer(response)
        elif not self._try_again(response):
            self._finish(code, response.reason_phrase, first(response, "reason") or None)

    def _try_again(self, response: SipResponse) -> bool:
        if self._tries >= 2 or self._cancelled:
            return False
        if response.status_code in (401, 407):
            again = self.carrier.with_credentials(self.invite, response)
            if again is not None:
                self._send_again(again)
            return again is not None
        least = first(response, "min-se").split(";")[0].strip()
        if response.status_code == 422 and least.isdigit():
            again = SipRequest(method="INVITE", uri=self.invite.uri, headers=self.invite.headers.copy())
            again.body = self.invite.body
            again.headers.get("via")[0] = self.carrier.via()
            again.headers.set_single("Session-Expires", least)
            again.headers.set_single("Min-SE", least)
            self._send_again(again)
            return True
        return False

    def _dialog_of(self, response: SipResponse) -> Dialog | None:
        """The dialog of a response, made where its To tag is new; None where it has no tag."""
        theirs = tag_in(first(response, "to"))
        if not theirs:
            return None
        key = (tag_in(first(self.invite, "from")), theirs)
        if key not in self.dialogs:
            self.dialogs[key] = dialog_of_caller(self.invite, response)
            self.carrier.know(self, key[0])
        else:
            # the latest to speak is the latest early dialog
            self.dialogs[key] = self.dialogs.pop(key)
        return self.dialogs[key]

    def _on_provisional(self, response: SipResponse) -> None:
        if self._cancelled:
            self._send_cancel()
        if response.status_code == 100 or self.dialog is not None:
            return
        dialog = self._dialog_of(response)
        reliable = "100rel" in option_tags(response, "require") and first(response, "rseq").isdigit()
        if reliable and (dialog is None or not self._is_next(dialog, int(first(response, "rseq")))):
            return
        self.provisional_codes.append(response.status_code)
        self._note_peer(response)
        self._look_at_identity(response)
        answer = self._take_sdp(response, reliable=reliable)
        if reliable and dialog is not None:
            self._spawn(self._acknowledge_provisional(dialog, response, answer))
        if response.status_code in (180, 183):
            self._move_ringing()

    def _is_next(self, dialog: Dialog, rseq: int) -> bool:
        """Reliable provisional responses count in order, each once (RFC 3262 §4)."""
        last = self._rseq.get(dialog.remote_tag)
        if last is not None and rseq != last + 1:
            return False
        self._rseq[dialog.remote_tag] = rseq
        return True

    def _take_sdp(self, response: SipResponse, *, reliable: bool) -> bytes | None:
        """Use the session description of a response; gives our answer where it was an offer."""
        if not response.body:
            return None
        try:
            if not self.late_offer:
                self._negotiation.take_answer(response.body)
            elif self._offer_open and (reliable or response.status_code >= 200):
                self._offer_open = False
                return self._negotiation.answer(response.body)
        except SdpError as error:
            self.carrier.failed(error)
        return None

    async def _acknowledge_provisional(
        self, dialog: Dialog, response: SipResponse, answer: bytes | None
    ) -> None:
        prack = self._new_request(dialog, "PRACK", answer)
        number, method = cseq_of(response)
        prack.headers.set_single("RAck", f"{first(response, 'rseq')} {number} {method}")
        await self._ask(dialog, prack)

    def _on_answer(self, response: SipResponse) -> None:
        theirs = tag_in(first(response, "to"))
        if theirs in self._acks:
            self.carrier.send_request(self._acks[theirs], next_hop(self._acks[theirs]))
            return
        dialog = self._dialog_of(response)
        if dialog is None:
            self.carrier.failed(ValueError("a 2xx to INVITE came without a To tag"))
            return
        follow(dialog, response)
        wanted = self.dialog is None and self.state is not CallState.ENDED
        answer = self._take_sdp(response, reliable=False) if wanted else None
        if not wanted and self._offer_open:
            answer = self._negotiation.answer(response.body)
        ack = self._make_ack(dialog, cseq_of(response)[0], answer)
        if "proxy-authorization" in self.invite.headers:
            ack.headers.set_single("Proxy-Authorization", first(self.invite, "proxy-authorization"))
        self._acks[theirs] = ack
        self.carrier.send_request(ack, next_hop(ack))
        if not wanted:
            self._spawn(self._ask(dialog, self._new_request(dialog, "BYE")))
            return
        self._establish(dialog, response)

    def _establish(self, dialog: Dialog, response: SipResponse) -> None:
        self.dialog = dialog
        self.final_code, self.final_phrase = response.status_code, response.reason_phrase
        self.answered_at = self._now()
        self._note_peer(response)
        self._look_at_identity(response)
        self._move_answered()
        if self._cancelled:
            # the answer crossed our CANCEL (RFC 3261 §15: then it takes a BYE)
            self._spawn(self.bye())
            return
        self._take_session_timer(response, we_asked=True)

    # --- what the user does ---

    def _send_cancel(self) -> None:
        if self._cancel_sent or self._transaction is None or self._transaction.final is not None:
            return
        self._cancel_sent = True
        invite = self.invite
        cancel = SipRequest(method="CANCEL", uri=invite.uri)
        cancel.headers.append("Via", first(invite, "via"))
        cancel.headers.set_single("Max-Forwards", "70")
        for name in ("From", "To", "Call-ID"):
            cancel.headers.set_single(name, first(invite, name))
        cancel.headers.set_single("CSeq", f"{cseq_of(invite)[0]} CANCEL")
        for route in invite.headers.get("route"):
            cancel.headers.append("Route", route)
        self._dress(cancel, "CANCEL")
        self._spawn(self._cancel(cancel))

    async def _cancel(self, cancel: SipRequest) -> None:
        await self.carrier.transactions.ask(cancel, self._hop)
        # RFC 3261 §9.1: without a final response in 64*T1 the INVITE is given up
        try:
            await self.wait_ended(self.carrier.transactions.timers.give_up_s)
        except TimeoutError:
            self._finish(408, "no response", None)

    async def cancel(self) -> None:
        """Give up before the answer: CANCEL as soon as a provisional response allows it; waits for the end.

        Where the answer crosses the CANCEL the call is ended with BYE.
        """
        self._cancelled = True
        if self._transaction is not None and self._transaction.provisional:
            self._send_cancel()
        await self._ended.wait()

    async def hang_up(self) -> int:
        """End the call: BYE, or CANCEL before the answer; gives the final code of the BYE or INVITE."""
        if self.state is CallState.ENDED:
            return self.final_code or 0
        if self.dialog is None:
            await self.cancel()
            return self.final_code or 0
        return await self.bye()
