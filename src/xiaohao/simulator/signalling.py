"""The SIP messages of a call: requests and responses in its dialogs, as its phone writes them."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from aiosipua.dialog import Dialog
from aiosipua.message import SipRequest, SipResponse

from xiaohao.simulator.call import CallState, PhoneCall
from xiaohao.simulator.dialog import SessionTimer, next_hop, request_in
from xiaohao.simulator.leaks import add_to_message
from xiaohao.simulator.transaction import ServerTransaction
from xiaohao.simulator.wire import first, option_tags, response_to, user_in

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier
    from xiaohao.simulator.phone import Phone

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, NOTIFY, MESSAGE"
SDP: Final = "application/sdp"


class Signalling(PhoneCall):
    """A call with its dialogs: makes and sends requests in them, makes and sends responses."""

    def __init__(self, phone: "Phone", carrier: "Carrier", call_id: str) -> None:
        super().__init__(phone, carrier, call_id)
        #: all dialogs by their two tags (ours, theirs); several while a call forks
        self.dialogs: dict[tuple[str, str], Dialog] = {}
        #: the dialog that the call is answered in
        self.dialog: Dialog | None = None
        self.peer_allows: set[str] = set()
        self.timer = SessionTimer(self._begin_refresh, self._expire)
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- plumbing ---

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.carrier.failed(task.exception())

    def _dress(self, message: SipRequest | SipResponse, method: str) -> None:
        """Add what the phone says of itself in each message."""
        if self.behaviour.leaky_headers:
            add_to_message(message, self.identity, method)
        name = "User-Agent" if isinstance(message, SipRequest) else "Server"
        if name not in message.headers:
            message.headers.set_single(name, self.carrier.product)

    def _with_sdp(self, message: SipRequest | SipResponse, sdp: bytes) -> None:
        message.headers.set_single("Content-Type", SDP)
        message.body = sdp

    def _respond(
        self,
        transaction: ServerTransaction,
        code: int,
        phrase: str | None = None,
        *,
        tag: str = "",
        sdp: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> SipResponse:
        request = transaction.request
        carries_contact = request.method in ("INVITE", "UPDATE") and 100 < code < 300
        contact = self.carrier.contact(self.phone) if carries_contact else None
        response = response_to(request, code, phrase, tag=tag, contact=contact)
        if carries_contact and code >= 180:
            response.headers.set_single("Allow", ALLOW)
        for name, value in (headers or {}).items():
            response.headers.set_single(name, value)
        if sdp is not None:
            self._with_sdp(response, sdp)
        if code > 100:
            self._dress(response, request.method)
        transaction.respond(response)
        return response

    def _new_request(self, dialog: Dialog, method: str, sdp: bytes | None = None) -> SipRequest:
        request = request_in(dialog, method, self.carrier.address, self.carrier.transport_name)
        if method in ("INVITE", "UPDATE"):
            request.headers.set_single("Contact", self.carrier.contact(self.phone))
            request.headers.set_single("Allow", ALLOW)
            request.headers.set_single("Supported", "100rel, timer")
            if self.timer.interval_s:
                # a refresh without the header would switch the timer off (RFC 4028 §7.4)
                role = "uac" if self.timer.we_refresh else "uas"
                request.headers.set_single("Session-Expires", f"{self.timer.interval_s};refresher={role}")
        if sdp is not None:
            self._with_sdp(request, sdp)
        self._dress(request, method)
        return request

    async def _ask(self, dialog: Dialog, request: SipRequest) -> SipResponse:
        """Send a request other than INVITE in a dialog; answers a digest challenge once."""
        response = await self.carrier.transactions.ask(request, next_hop(request))
        if response.status_code in (401, 407):
            again = self.carrier.with_credentials(request, response)
            if again is not None:
                again.headers.set_single("CSeq", f"{dialog.next_cseq()} {request.method}")
                response = await self.carrier.transactions.ask(again, next_hop(again))
        return response

    def _talking(self) -> Dialog:
        if self.dialog is None or self.state is CallState.ENDED:
            raise RuntimeError(f"the call has no dialog to send this in; it is {self.state}")
        return self.dialog

    def _current(self) -> Dialog:
        """The answered dialog, or the latest early one."""
        if self.dialog is not None:
            return self.dialog
        if not self.dialogs:
            raise RuntimeError(f"the call has no dialog yet; it is {self.state}")
        return next(reversed(self.dialogs.values()))

    def _look_at_identity(self, message: SipRequest | SipResponse) -> None:
        """Show the number that an identity header brings, as phones do (RFC 3325, RFC 4916)."""
        value = first(message, "p-asserted-identity", "remote-party-id")
        if user_in(value):
            self.display = user_in(value)
            self.display_name = value.partition("<")[0].strip().strip('"')

    def _note_peer(self, message: SipRequest | SipResponse) -> None:
        allowed = option_tags(message, "allow")
        if allowed:
            self.peer_allows = allowed

    def _begin_refresh(self) -> None:
        """It is our turn to refresh the session; `SipSession` does."""

    def _expire(self) -> None:
        """The other side did not refresh the session; `SipSession` ends it."""

    async def close(self) -> None:
        """Stop everything of this call without a word, as when a phone loses its power."""
        self.timer.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._move_ended(by_us=True)
