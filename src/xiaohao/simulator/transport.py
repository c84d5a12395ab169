"""The one SIP socket of a carrier: UDP, or TCP with connections that are kept and reused (RFC 3261 §18)."""

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from xiaohao.simulator.wire import Hop

Receiver = Callable[[bytes, Hop], None]
Certificate = tuple[Path, Path]

_LENGTH: Final = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE)
_LARGEST_MESSAGE: Final = 65535


class Transport(Protocol):
    """Sends and receives whole SIP messages. `reliable` says whether the transport itself retransmits."""

    name: str
    reliable: bool

    async def start(self, host: str, port: int) -> Hop:
        """Bind; gives the address bound. Raises OSError where it is taken."""
        ...

    def send(self, raw: bytes, hop: Hop) -> None:
        """Send one message; one that cannot be sent is lost, as on a network."""
        ...

    async def stop(self) -> None:
        """Close the socket and all connections."""
        ...


class UdpTransport(asyncio.DatagramProtocol):
    """SIP over UDP: a message is a datagram."""

    name = "UDP"
    reliable = False

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._socket: asyncio.DatagramTransport | None = None

    async def start(self, host: str, port: int) -> Hop:
        """Bind; gives the address bound."""
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        address = self._socket.get_extra_info("sockname")
        return str(address[0]), int(address[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand a datagram on, but not the keep-alives of RFC 5626 (blank lines)."""
        if data.strip():
            self._receive(data, (addr[0], addr[1]))

    def send(self, raw: bytes, hop: Hop) -> None:
        """Send one datagram."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.sendto(raw, hop)

    async def stop(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            await asyncio.sleep(0)


class TcpTransport:
    """SIP over TCP: messages are cut out by Content-Length; connections are reused both ways.

    With `certificate` (paths of certificate chain and key, PEM) SIP over TLS. Whom it connects to is not
    verified: test networks have certificates of nobody in particular.
    """

    reliable = True

    def __init__(self, receive: Receiver, certificate: Certificate | None = None) -> None:
        self.name = "TLS" if certificate else "TCP"
        self._server_tls: ssl.SSLContext | None = None
        self._client_tls: ssl.SSLContext | None = None
        if certificate:
            self._server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._server_tls.load_cert_chain(*certificate)
            self._client_tls = ssl.create_default_context()
            self._client_tls.load_cert_chain(*certificate)
            self._client_tls.check_hostname = False
            self._client_tls.verify_mode = ssl.CERT_NONE
        self._receive = receive
        self._server: asyncio.Server | None = None
        self._host = ""
        self._links: dict[Hop, asyncio.StreamWriter] = {}
        self._opening: dict[Hop, list[bytes]] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._openers: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> Hop:
        """Listen; gives the address bound."""
        self._host = host
        self._server = await asyncio.start_server(self._serve, host, port, ssl=self._server_tls)
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._readers.add(task)
            task.add_done_callback(self._readers.discard)
        address = writer.get_extra_info("peername")
        hop = (str(address[0]), int(address[1]))
        self._links[hop] = writer
        await self._read(reader, writer, hop)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hop: Hop) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                head = head.lstrip(b"\r\n")
                if not head:
                    continue
                length = _LENGTH.search(head)
                size = int(length.group(1)) if length else 0
                if size > _LARGEST_MESSAGE:
                    return
                body = await reader.readexactly(size) if size else b""
                self._receive(head + body, hop)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return
        finally:
            if self._links.get(hop) is writer:
                del self._links[hop]
            writer.close()

    def send(self, raw: bytes, hop: Hop) -> None:
        """Send over the connection to `hop`, opening one where there is none."""
        link = self._links.get(hop)
        if link is not None and not link.is_closing():
            link.write(raw)
        elif hop in self._opening:
            self._opening[hop].append(raw)
        elif self._server is not None:
            self._opening[hop] = [raw]
            task = asyncio.get_running_loop().create_task(self._open(hop))
            self._openers.add(task)
            task.add_done_callback(self._openers.discard)

    async def _open(self, hop: Hop) -> None:
        try:
            reader, writer = await asyncio.open_connection(
                *hop, local_addr=(self._host, 0), ssl=self._client_tls
            )
        except OSError:
            self._opening.pop(hop, None)
            return
        self._links[hop] = writer
        for raw in self._opening.pop(hop, []):
            writer.write(raw)
        await self._read(reader, writer, hop)

    async def stop(self) -> None:
        """Close the listener and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._opening.clear()
        # the readers end by themselves when their connections are gone; asyncio's own do not bear cancelling
        for writer in list(self._links.values()):
            writer.transport.abort()
        for task in list(self._openers):
            task.cancel()
        await asyncio.gather(*self._readers, *self._openers, return_exceptions=True)
        if server is not None:
            await server.wait_closed()
