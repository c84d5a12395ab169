"""The switch's connection to Kamailio's evapi socket: netstrings over TCP, reconnecting for ever."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog

from xiaohao.edge import wire

_log = structlog.get_logger()

#: longer than any line of the edge; a longer netstring means that the stream is out of step
_LONGEST_LINE = 65_536
_LONGEST_LENGTH = len(str(_LONGEST_LINE))
_OUT_OF_STEP = "the edge's stream is not made of netstrings"


class NetstringReader:
    """Cuts a byte stream into netstrings (D. J. Bernstein, 1997): `5:hello,`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now. Raises wire.WireError where the stream is out of step."""
        buffer = self._buffer
        buffer += data
        lines: list[str] = []
        start = 0
        while (colon := buffer.find(b":", start, start + _LONGEST_LENGTH + 1)) >= 0:
            digits = buffer[start:colon]
            if not digits.isdigit() or int(digits) > _LONGEST_LINE:
                raise wire.WireError(_OUT_OF_STEP)
            end = colon + 1 + int(digits)
            if len(buffer) <= end:
                break
            if buffer[end] != ord(","):
                raise wire.WireError(_OUT_OF_STEP)
            lines.append(buffer[colon + 1 : end].decode("utf-8", "replace"))
            start = end + 1
        if colon < 0 and len(buffer) - start > _LONGEST_LENGTH:
            raise wire.WireError(_OUT_OF_STEP)
        del buffer[:start]
        return lines


def netstring(line: str) -> bytes:
    """One line as Kamailio reads it."""
    body = line.encode()
    return b"%d:%b," % (len(body), body)


class EdgeConnection(asyncio.Protocol):
    """Hands every signal to `on_signal`; `send` writes a line, or drops it where Kamailio is away.

    Nothing is lost by dropping: what Kamailio did not hear is told again after the reconnection.
    """

    def __init__(
        self,
        on_signal: Callable[[wire.Signal], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self._on_signal, self._on_up, self._on_down = on_signal, on_up, on_down
        self._socket: socket.socket | None = None
        self._reader = NetstringReader()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a line sent now has a way to Kamailio."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        # uvloop's transports are no subclass of asyncio.Transport
        self._transport, self._reader = cast("asyncio.Transport", transport), NetstringReader()
        self._lost.clear()
        self._on_up()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from Kamailio."""
        if self._socket is not None:
            # evapi leaves Nagle's algorithm on: a signal waits there until the one before it is acknowledged,
            # which the kernel puts off by up to 40 ms. Linux forgets this wish again, tcp(7).
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        try:
            lines = self._reader.feed(data)
        except wire.WireError as error:
            _log.error("edge_stream_broken", error=str(error))
            self.close()
            return
        for line in lines:
            try:
                self._on_signal(wire.read(line))
            except wire.WireError as error:
                _log.error("edge_line_unreadable", error=str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._transport = None
        self._lost.set()
        self._on_down()

    def send(self, line: str) -> None:
        """Write one line."""
        if self._transport is not None:
            self._transport.write(netstring(line))

    def close(self) -> None:
        """Give the connection up; `keep` makes a new one."""
        if self._transport is not None:
            self._transport.abort()

    async def keep(self, host: str, port: int) -> None:
        """Connect, and connect again whenever the connection is lost. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                # a socket of our own: what uvloop gives out in its place costs a new one for each option set
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                self._socket.setblocking(False)
                await loop.sock_connect(self._socket, (host, port))
                await loop.create_connection(lambda: self, sock=self._socket)
                await self._lost.wait()
            except OSError:
                pass  # Kamailio is not there yet; the loop below waits
            finally:
                if self._socket is not None:
                    self._socket.close()
            await asyncio.sleep(0.1)
