"""Questions over UDP whose answers repeat a key, as in rtpengine's ng protocol and Kamailio's JSON-RPC."""

import asyncio
from collections.abc import Callable
from typing import Any

from xiaohao.settings import host_port


class Exchange(asyncio.DatagramProtocol):
    """Asks one address; `key_of` reads the key out of an answer, None where it holds none."""

    def __init__(self, address: str, key_of: Callable[[bytes], str | None], patience_s: float) -> None:
        self._address, self._key_of, self._patience_s = host_port(address), key_of, patience_s
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """asyncio: an answer."""
        waiting = self._waiting.get(self._key_of(data) or "")
        if waiting and not waiting.done():
            waiting.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """asyncio: nobody listens there; the question runs into its time limit."""

    async def ask(self, key: str, question: bytes) -> bytes:
        """The answer to a question. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
        waiting = self._waiting[key] = loop.create_future()
        try:
            self._transport.sendto(question)
            return await asyncio.wait_for(waiting, self._patience_s)
        finally:
            del self._waiting[key]

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.close()
