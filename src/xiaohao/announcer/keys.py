"""Keys that callers press, as rtpengine tells of them: RFC 4733 events, and tones where it is to listen.

One JSON object a datagram: `callid`, `source_tag`, `event` (RFC 4733 section 3.2), and more that is not read.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from xiaohao.announcer.media import TAGS
from xiaohao.calls.model import Party
from xiaohao.settings import host_port

_KEYS: Final = "0123456789*#ABCD"
#: Two presses of a key are further apart (ITU-T Q.24: 40 ms of tone, 40 ms of pause at the least): what comes
#: sooner is one press, told as an event and heard as a tone.
_ONE_PRESS_S: Final = 0.075


class _Pressed(msgspec.Struct):
    callid: str
    source_tag: str
    event: int


class Keys(asyncio.DatagramProtocol):
    """Hands each key of a caller to whoever waits for those of the call."""

    def __init__(self, listen: str) -> None:
        self._listen = host_port(listen)
        self._decode = msgspec.json.Decoder(_Pressed).decode
        self._waiting: dict[str, Callable[[str], None]] = {}
        self._last: dict[str, tuple[str, float]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._listen)

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.close()

    def expect(self, call_id: str, on_key: Callable[[str], None]) -> None:
        """From now on tell this one of the caller's keys."""
        self._waiting[call_id] = on_key

    def forget(self, call_id: str) -> None:
        """Nobody waits for them any more."""
        self._waiting.pop(call_id, None)
        self._last.pop(call_id, None)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """asyncio: a key was pressed in some call."""
        try:
            pressed = self._decode(data)
        except msgspec.DecodeError:
            return
        if pressed.source_tag == TAGS[Party.CALLER] and 0 <= pressed.event < len(_KEYS):
            self.pressed(pressed.callid, _KEYS[pressed.event])

    def pressed(self, call_id: str, key: str) -> None:
        """A key of a call's caller, by whatever way."""
        on_key = self._waiting.get(call_id)
        if on_key is None:
            return
        now, (last, at) = time.monotonic(), self._last.get(call_id, ("", 0.0))
        self._last[call_id] = key, now
        if key != last or now - at > _ONE_PRESS_S:
            on_key(key)
