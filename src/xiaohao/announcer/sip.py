"""The announcer's SIP (RFC 3261): a user agent that is called by our own edge, over UDP.

The edge has taken apart and written anew every message that comes here, so that little needs to be checked.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable
from typing import Final

from aiosipua.message import SipMessage, SipRequest, SipResponse

from xiaohao.announcer.onward import Onward
from xiaohao.announcer.sdp import answer_to, codec_for

Hop = tuple[str, int]

_PHRASES: Final = {100: "Trying", 183: "Session Progress", 200: "OK", 405: "Method Not Allowed",
                   480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
                   487: "Request Terminated", 488: "Not Acceptable Here"}  # fmt: skip
#: the edge is told so often that a caller still listens; it waits for three such words
_ALIVE_S: Final = 1.0
_T1_S: Final = 0.5
_T2_S: Final = 4.0
_GIVE_UP_S: Final = 32.0
_BRANCH: Final = re.compile(r";\s*branch=([^;,\s]+)")
_TAG: Final = re.compile(r";\s*tag=([^;,\s]+)")
_KEY: Final = re.compile(r"(?:^|\n)(?:Signal *= *)?([0-9A-D*#])\s", re.ASCII)
#: responses kept for requests that come twice
_KEPT: Final = 500


class Visit:
    """A caller who was sent here: one INVITE and its dialog.

    `role` says what for (the user part of the request URI), `ended` is the edge's word on how the call went
    so far. `on_key` hears keys told by INFO, `on_gone` once that nobody listens any more.
    """

    def __init__(self, door: "Door", invite: SipRequest, branch: str) -> None:
        self._door, self._invite, self.branch = door, invite, branch
        self.call_id = invite.headers.get_first("call-id") or ""
        self.role = invite.uri.partition(":")[2].partition("@")[0]
        self.ended = invite.headers.get_first("x-ended") or ""
        self.tag = os.urandom(8).hex()
        self.on_key: Callable[[str], None] = lambda key: None
        self.on_gone: Callable[[], None] = lambda: None
        self.is_over = False
        self._answered = False
        self._confirmed = asyncio.Event()
        #: the one codec of an answered caller
        self.codec: str | None = None
        self._last = b""
        self._rseq = 0
        self._repeat_s = _T1_S
        self._timer: asyncio.TimerHandle | None = None
        self._send(100)
        self._stay()

    def listen(self) -> bool:
        """From now on the caller hears what is played (183, reliably where they insist; RFC 3262)."""
        sdp = answer_to(self._invite.text)
        if sdp is None or self.is_over or self._answered:
            return False
        headers = [self._contact]
        if "100rel" in (self._invite.headers.get_first("require") or ""):
            self._rseq = 1
            headers += ["Require: 100rel", "RSeq: 1"]
        self._last = self._send(183, headers, sdp)
        if self._rseq:
            self._stop_waiting()
            self._repeat_s = _T1_S
            self._again()
        return True

    async def answer(self) -> bool:
        """The same, and the call is answered: it costs the caller from now on. True when they know it."""
        offer = self._invite.text
        codec = codec_for(offer)
        if codec is None or self.is_over:
            return False
        self._answered, self.codec = True, codec
        headers = [self._contact]
        expires = self._invite.headers.get_first("session-expires")
        if expires and "timer" in self._invite.headers.get("supported"):
            # who wants the session refreshed (RFC 4028) does it: here, and later at the callee's
            headers += [
                "Require: timer",
                f"Session-Expires: {expires.partition(';')[0].strip()};refresher=uac",
            ]
        self._final(200, headers, answer_to(offer, codec) or "")
        await self._confirmed.wait()
        return not self.is_over and self._repeat_s <= _GIVE_UP_S

    @property
    def is_answered(self) -> bool:
        """The caller is connected with us, and is let go by a BYE of the edge's."""
        return self._answered and not self.is_over

    def call_on(self, line: str) -> Onward:
        """Call the callee for an answered caller, as this line of the switch's says."""
        cseq = (self._invite.headers.get_first("cseq") or "").partition(" ")[0]
        return self._door.call_on(Onward(self.call_id, cseq, self.codec or "", line, self._door))

    def handed_over(self) -> None:
        """The caller talks with the callee now."""
        self.is_over = True
        self._door.forget(self)

    def end(self, code: int = 480, headers: list[str] | None = None) -> None:
        """Let the caller go: the edge knows how it goes on, or `headers` say it."""
        if not self.is_over and not self._answered:
            self.is_over = True
            self._final(code, headers or [], "")

    # What the edge says

    def acknowledged(self) -> None:
        """The final response has arrived."""
        self._stop_waiting()
        self._confirmed.set()
        if not self._answered:
            self._door.forget(self)

    def cancelled(self) -> None:
        """The caller gave up, or the platform did for them."""
        if not self._answered:
            self.end(487)
            self.on_gone()

    def hung_up(self) -> None:
        """BYE."""
        self._stop_waiting()
        self.is_over = True
        self._confirmed.set()
        self._door.forget(self)
        self.on_gone()

    def repeated(self) -> None:
        """The INVITE came again: what was said last did not arrive."""
        self._door.send(self._last)

    def pressed(self, body: str) -> None:
        """INFO with a key."""
        if found := _KEY.search(body + "\n"):
            self.on_key(found[1])

    def confirmed(self) -> None:
        """PRACK."""
        if self._rseq:
            self._rseq = 0
            self._stop_waiting()
            self._stay()

    # Timers

    def _stay(self) -> None:
        """Say again and again that we are here: an edge that hears nothing lets the caller go."""
        self._timer = asyncio.get_running_loop().call_later(_ALIVE_S, self._still_here)

    def _still_here(self) -> None:
        self._send(100)
        self._stay()

    def _final(self, code: int, headers: list[str], sdp: str) -> None:
        self._stop_waiting()
        self._last = self._send(code, headers, sdp)
        self._repeat_s = _T1_S
        self._again()

    def _again(self) -> None:
        """Repeat what must be acknowledged."""
        self._timer = asyncio.get_running_loop().call_later(self._repeat_s, self._repeat)

    def _repeat(self) -> None:
        self._repeat_s *= 2
        if self._repeat_s > _GIVE_UP_S:
            if not self._answered:
                self.hung_up()
            self._confirmed.set()
            return
        self._door.send(self._last)
        if self._rseq:
            self._send(100)
            self._repeat_s = min(self._repeat_s, _ALIVE_S)
        self._again()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _contact(self) -> str:
        return f"Contact: <sip:{self.role}@{self._door.address}>"

    def _send(self, code: int, headers: list[str] | None = None, sdp: str = "") -> bytes:
        return self._door.respond(self._invite, code, self.tag, headers, sdp)


class Door(asyncio.DatagramProtocol):
    """The announcer's socket: hands each caller who comes to `on_visit`."""

    def __init__(self, listen: Hop, edge: Hop, on_visit: Callable[[Visit], None]) -> None:
        self.address = f"{listen[0]}:{listen[1]}"
        self._listen, self._edge, self._on_visit = listen, edge, on_visit
        self._transport: asyncio.DatagramTransport | None = None
        self._visits: dict[str, Visit] = {}
        self._dialogs: dict[str, Visit] = {}
        self._onward: dict[str, Onward] = {}
        self._said: dict[str, bytes] = {}
        self._said_last: deque[str] = deque()

    async def open(self) -> None:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._listen)

    def close(self) -> None:
        """Stop listening, and every timer."""
        for visit in list(self._visits.values()):
            visit.hung_up()
        for onward in list(self._onward.values()):
            onward.close()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Hop) -> None:
        """asyncio: a message."""
        if addr[:2] != self._edge:
            return
        try:
            message = SipMessage.parse(data)
        except ValueError:
            return
        branch = _found(_BRANCH, message.headers.get_first("via"))
        if not isinstance(message, SipRequest):
            if isinstance(message, SipResponse) and (onward := self._onward.get(branch)):
                onward.received(message)
            return
        if message.method == "INVITE":
            self._invite(message, branch)
        elif message.method == "ACK":
            if visit := self._visits.get(branch) or self._dialogs.get(_to_tag(message)):
                visit.acknowledged()
        elif message.method == "CANCEL":
            self._answer(message, branch, 200)
            if visit := self._visits.get(branch):
                visit.cancelled()
        elif branch in self._said:
            self.send(self._said[branch])
        else:
            self._within(message, branch)

    def _invite(self, invite: SipRequest, branch: str) -> None:
        if branch in self._visits:
            self._visits[branch].repeated()
        elif tag := _to_tag(invite):
            # the caller holds, or resumes, or refreshes the session
            known = self._dialogs.get(tag)
            sdp = answer_to(invite.text, known.codec) if known else None
            code = 200 if sdp else 488 if known else 481
            contact = [f"Contact: <sip:announcer@{self.address}>"]
            self._answer(invite, branch, code, contact if sdp else [], sdp or "")
        else:
            visit = self._visits[branch] = Visit(self, invite, branch)
            self._dialogs[visit.tag] = visit
            self._on_visit(visit)

    def _within(self, request: SipRequest, branch: str) -> None:
        visit = self._dialogs.get(_to_tag(request))
        if request.method not in ("BYE", "INFO", "PRACK", "UPDATE", "OPTIONS"):
            self._answer(request, branch, 405)
        elif visit is None:
            self._answer(request, branch, 481)
        elif request.method == "UPDATE" and request.body:
            sdp = answer_to(request.text, visit.codec)
            contact = [f"Contact: <sip:announcer@{self.address}>"]
            self._answer(request, branch, 200 if sdp else 488, contact if sdp else [], sdp or "")
        else:
            self._answer(request, branch, 200)
            match request.method:
                case "BYE":
                    visit.hung_up()
                case "INFO":
                    visit.pressed(request.text)
                case "PRACK":
                    visit.confirmed()

    def _answer(
        self, request: SipRequest, branch: str, code: int, headers: list[str] | None = None, sdp: str = ""
    ) -> None:
        if len(self._said_last) >= _KEPT:
            self._said.pop(self._said_last.popleft(), None)
        self._said[branch] = self.respond(request, code, "", headers, sdp)
        self._said_last.append(branch)

    def respond(
        self, request: SipRequest, code: int, tag: str, headers: list[str] | None = None, sdp: str = ""
    ) -> bytes:
        """Send a response and give it back."""
        get = request.headers.get_first
        to = get("to") or ""
        if tag and code > 100:
            to += f";tag={tag}"
        lines = [f"SIP/2.0 {code} {_PHRASES[code]}"]
        lines += [f"Via: {via}" for via in request.headers.get("via")]
        lines += [f"From: {get('from')}", f"To: {to}", f"Call-ID: {get('call-id')}", f"CSeq: {get('cseq')}"]
        lines += headers or []
        if sdp:
            lines.append("Content-Type: application/sdp")
        body = sdp.encode()
        data = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
        self.send(data)
        return data

    def send(self, data: bytes) -> None:
        """To the edge."""
        if self._transport is not None and data:
            self._transport.sendto(data, self._edge)

    def call_on(self, onward: Onward) -> Onward:
        """Send an INVITE of our own; its responses go to it until the last one has come."""
        self._onward[onward.branch] = onward
        onward.start(lambda: self._onward.pop(onward.branch, None))
        return onward

    def forget(self, visit: Visit) -> None:
        """Nothing more will come for this visit."""
        self._visits.pop(visit.branch, None)
        self._dialogs.pop(visit.tag, None)


def _found(pattern: re.Pattern[str], text: str | None) -> str:
    found = pattern.search(text or "")
    return found[1] if found else ""


def _to_tag(message: SipRequest) -> str:
    return _found(_TAG, (message.headers.get_first("to") or "").rpartition(">")[2])
