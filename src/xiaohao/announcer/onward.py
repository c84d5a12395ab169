"""The INVITE with which the announcer calls the callee for a caller whom it has answered.

It goes to our own edge (RFC 3261 section 17.1.1), which calls the callee as for any caller, puts them in our
place when they answer, and sends the ACK of that answer itself: the switch may have died meanwhile.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from aiosipua.message import SipResponse

_T1_S: Final = 0.5
_GIVE_UP_S: Final = 32.0
#: a final response is acknowledged as often as it comes, for so long (timer D)
_LINGER_S: Final = 32.0
_TIMEOUT: Final = 408


class Way(Protocol):
    """`sip.Door`, as far as it is needed here."""

    address: str

    def send(self, data: bytes) -> None:
        """To the edge."""


class Said(msgspec.Struct, frozen=True):
    """A response: its code, the Q.850 cause with it, and whether there is media of the callee's side."""

    code: int
    q850_cause: int | None
    has_media: bool


class Onward:
    """One INVITE on its way to the callee. `said` gives its responses one after the other."""

    def __init__(self, call_id: str, cseq: str, codec: str, line: str, way: Way) -> None:
        """`cseq`: the caller's, since the dialog with the callee goes on counting from it."""
        self._way, self._cseq = way, cseq
        self.branch = f"z9hG4bK{os.urandom(8).hex()}"
        self._uri = f"sip:onward@{way.address}"
        self._dialog = [
            f"Via: SIP/2.0/UDP {way.address};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: <{self._uri}>;tag={os.urandom(8).hex()}",
            f"Call-ID: {call_id}",
        ]
        how = [
            f"Contact: <{self._uri}>",
            f"X-Codec: {codec}",
            f"X-Next: {line}",
            "Allow: INVITE, ACK, BYE, CANCEL",
        ]
        self._invite = self._request("INVITE", f"<{self._uri}>", how)
        self._responses: asyncio.Queue[Said] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._over: Callable[[], object] = lambda: None
        self._wait_s = _T1_S
        self._is_final = False

    def start(self, over: Callable[[], object]) -> None:
        """Send it; `over` is called when no response can come any more."""
        self._over = over
        self._repeat()

    async def said(self) -> Said:
        """The next response that says something new; 408 where the edge says nothing at all."""
        return await self._responses.get()

    def received(self, response: SipResponse) -> None:
        """A response of the edge's."""
        if not self._is_final:
            self._stop()
        code = response.status_code
        if code >= 300:
            self._way.send(self._request("ACK", response.headers.get_first("to") or "", []))
        if self._is_final or code == 100:
            return
        cause = (response.headers.get_first("reason") or "").partition("cause=")[2]
        self._responses.put_nowait(Said(code, int(cause) if cause.isdigit() else None, bool(response.body)))
        if code >= 200:
            self._finish()

    def close(self) -> None:
        """Nobody listens any more."""
        self._stop()
        self._over()

    def _repeat(self) -> None:
        if self._wait_s > _GIVE_UP_S:
            self._responses.put_nowait(Said(_TIMEOUT, None, has_media=False))
            self._finish()
            return
        self._way.send(self._invite)
        self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._repeat)
        self._wait_s *= 2

    def _finish(self) -> None:
        self._is_final = True
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _request(self, method: str, to: str, headers: list[str]) -> bytes:
        lines = [
            f"{method} {self._uri} SIP/2.0",
            *self._dialog,
            f"To: {to}",
            f"CSeq: {self._cseq} {method}",
            *headers,
        ]
        return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()
