"""A UDP datagram means "look now": the switch wakes the worker when it has stored an event.

The datagram says nothing and may get lost: the worker also looks by itself twice a second.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from xiaohao.settings import host_port


class Waker:
    """Wakes the worker at `host:port`. Callable from any thread; never waits, never fails."""

    def __init__(self, address: str) -> None:
        """Raises SettingsError where `address` is not of the form host:port."""
        self._address = host_port(address)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def __call__(self) -> None:
        """Send one datagram."""
        try:
            self._socket.sendto(b"", self._address)
        except OSError:  # the worker is not there, or the buffer is full of wake-ups already
            return

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, woken: Callable[[], None]) -> None:
        self._woken = woken

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._woken()


async def listen(address: str, woken: Callable[[], None]) -> asyncio.DatagramTransport:
    """Call `woken` for each datagram that comes to `host:port`. Raises OSError where the port is taken."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Listener(woken), local_addr=host_port(address)
    )
    return transport
