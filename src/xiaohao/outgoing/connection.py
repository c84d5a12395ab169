"""The least of an HTTP/1.1 client (RFC 9112): POST over connections that are kept, and a short answer.

A general client spends several times the CPU on each request for what nobody here needs: cookies, redirects,
decompression, streaming. A call has six events, and its customer may be asked before it is connected; that is
what this module is for.
"""

import asyncio
import time
from base64 import b64encode
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import httptools
from yarl import URL

from xiaohao.outgoing.network import Network

#: of an answer whose body is of no interest; a longer one costs the connection
_LONGEST_ANSWER: Final = 64 * 1024
#: a connection that was idle for longer is not used again: many servers close theirs about then
_IDLE_S: Final = 15.0


class NotHttp(Exception):
    """The answer is no HTTP."""


class TooLong(Exception):
    """The answer's body has more bytes than were wanted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is empty where it was not wanted."""

    status: int
    body: bytes


class Stale(Exception):
    """A connection that was kept turned out to be closed before any answer came."""


class _Connection(asyncio.Protocol):
    """One connection; at most one request at a time is on it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._answer: asyncio.Future[Answer] | None = None
        self._received = 0
        #: of the body: how much is wanted (0: nothing), how much has come, and what
        self._longest = self._came = 0
        self._body: list[bytes] = []
        self._headers_complete = False
        self.used = False
        self.reusable = True
        self.idle_since = 0.0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(NotHttp())
        if self._received > _LONGEST_ANSWER:
            if self._longest:
                self._fail(TooLong())
            self._finish(keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        # An answer without a length ends with the connection (RFC 9112 section 6.3).
        if self._headers_complete:
            self._finish(keep=False)
        elif self.used and not self._received:
            self._fail(Stale())
        else:
            self._fail(ConnectionResetError())

    # What the parser calls

    def on_headers_complete(self) -> None:
        self._headers_complete = self._parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        if self._longest and self._headers_complete:
            self._came += len(data)
            if self._came > self._longest:
                self._fail(TooLong())
            else:
                self._body.append(data)

    def on_message_complete(self) -> None:
        if self._headers_complete:
            self._finish(keep=self._parser.should_keep_alive())

    # What the endpoint calls

    async def post(self, request: bytes, longest: int) -> Answer:
        """Send a request and wait for its answer, of whose body up to `longest` bytes are wanted."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._received, self._headers_complete = 0, False
        self._longest, self._came, self._body = longest, 0, []
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close at once."""
        self.reusable = False
        self._transport.abort()

    def _finish(self, keep: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))
        self.used = True
        if not keep:
            self.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()


class Endpoint:
    """A URL that is POSTed to again and again."""

    def __init__(self, url: URL, headers: dict[str, str], network: Network) -> None:
        """`headers` go with every request. `url` is http or https and has a host."""
        self._host, self._port = url.raw_host or "", url.port or 0
        self._network = network
        self._tls = network.tls if url.scheme == "https" else None
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"host: {url.host_port_subcomponent}"]
        if url.user is not None:
            credentials = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
            lines.append(f"authorization: Basic {credentials}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join([*lines, ""]).encode("latin-1")
        self._idle: deque[_Connection] = deque()
        self._closed = False

    async def post(self, headers: bytes, body: bytes, longest: int = 0) -> Answer:
        """POST `body` with further header lines, each ending with CRLF; gives the answer.

        `longest`: so many bytes of its body are wanted at the most. Raises NotHttp, TooLong, OSError and its
        kinds (ssl.SSLError, socket.gaierror, PrivateAddress, …).
        """
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, headers, len(body), body)
        while (kept := self._kept()) is not None:
            try:
                return await self._over(kept, request, longest)
            except Stale:
                continue  # it was closed while it was idle: that says nothing of the customer
        return await self._over(await self._connect(), request, longest)

    async def _over(self, connection: _Connection, request: bytes, longest: int) -> Answer:
        answer = await connection.post(request, longest)
        if self._closed:
            connection.close()
        elif connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        return answer

    def _kept(self) -> _Connection | None:
        """The connection used last; those that have been idle for too long are closed."""
        oldest = time.monotonic() - _IDLE_S
        while self._idle and (self._idle[0].idle_since < oldest or not self._idle[0].reusable):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _connect(self) -> _Connection:
        *first, last = await self._network.addresses(self._host, self._port)
        for address in first:
            with suppress(OSError):
                return await self._connect_to(address)
        return await self._connect_to(last)

    async def _connect_to(self, address: str) -> _Connection:
        # An address is not looked up again: what was checked is what is connected to.
        name = None if self._tls is None else self._host
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, address, self._port, ssl=self._tls, server_hostname=name
        )
        return connection

    def close(self) -> None:
        """Close the connections that are idle, and each other one when its answer has come."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
