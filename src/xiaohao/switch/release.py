"""Takes calls that have ended out of rtpengine, and gives on what it says of their media.

One datagram a call and one back (ng protocol, `delete`); neither is waited for. What gets no answer is asked
again a few times; then rtpengine finds by itself that the call is silent, and of its media nothing is known.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from xiaohao.settings import host_port

_log = structlog.get_logger()

_AGAIN_S: Final = 0.4
_TRIES: Final = 4
_LOOK_S: Final = 0.1


@dataclass(slots=True)
class _Asked:
    call_id: str
    question: bytes
    done: Callable[[bytes], None]
    again_at: float
    tries: int = 1


class Release(asyncio.DatagramProtocol):
    """Asks one rtpengine."""

    def __init__(self, ng: str) -> None:
        self._address = host_port(ng)
        self._transport: asyncio.DatagramTransport | None = None
        # rtpengine answers a cookie that it has seen with what it said then, also to the next process
        life = secrets.token_hex(6)
        self._cookies = (f"{life}{number}".encode() for number in itertools.count(1))
        self._asked: dict[bytes, _Asked] = {}

    def __call__(self, call_id: str, done: Callable[[bytes], None]) -> None:
        """Take a call out; `done` gets the bencoded answer, b"" where none came or none knew the call."""
        cookie = next(self._cookies)
        name = call_id.encode()
        question = b"%b d7:call-id%d:%b7:command6:delete8:from-tag1:ae" % (cookie, len(name), name)
        now = asyncio.get_running_loop().time()
        self._asked[cookie] = _Asked(call_id, question, done, now + _AGAIN_S)
        self._send(question)

    def _send(self, question: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(question)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """asyncio: an answer."""
        cookie, _, answer = data.partition(b" ")
        asked = self._asked.pop(cookie, None)
        if asked is not None:
            asked.done(b"" if b"6:result5:error" in answer else answer)

    def error_received(self, exc: Exception) -> None:
        """asyncio: nobody listens there; it is asked again."""

    async def run(self) -> None:
        """Ask again what was not answered, for ever."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
        while True:
            now = loop.time()
            for cookie, asked in [item for item in self._asked.items() if item[1].again_at <= now]:
                if asked.tries < _TRIES:
                    asked.tries, asked.again_at = asked.tries + 1, now + _AGAIN_S
                    self._send(asked.question)
                    continue
                del self._asked[cookie]
                _log.warning("media_not_released", call_id=asked.call_id)
                asked.done(b"")
            await asyncio.sleep(_LOOK_S)

    def close(self) -> None:
        """Give the socket back; whoever waits gets nothing."""
        if self._transport is not None:
            self._transport.close()
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.done(b"")
