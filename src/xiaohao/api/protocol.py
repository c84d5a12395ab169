"""HTTP/1.1 as uvicorn speaks it, with bounds: a request's head is neither endless nor endlessly slow."""

import asyncio
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xiaohao.api.errors import problem
from xiaohao.notifications.streams import ABORT

#: request line and headers together, in bytes
HEAD_MAX: Final = 65_536
#: from a connection's or a head's first byte to the head's end, in seconds
HEAD_PATIENCE_S: Final = 20.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What cannot become a request is answered with a problem document, too."""

    _in_head = True
    _began = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._head_is_over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head has become too long."""
        self._began = False
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if not self._began:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_MAX:
            self._refuse(
                problem(431, "head_too_large", "The head is too large", f"At most {HEAD_MAX} bytes.")
            )
        elif self._head_timer is None:
            self._watch_head()

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        # for who sends without end: the peer may have stopped reading
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        # How much of this piece belongs to earlier requests is not known: counting begins with the next one.
        self._in_head, self._began, self._head_bytes = True, True, 0

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._head_is_over()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that this was no HTTP."""
        self._refuse(problem(400, "http_malformed", "The request is not HTTP/1.1", "It cannot be read."))

    def _watch_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_PATIENCE_S, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch_head()  # it is we who are slow: an answer is still on its way
        elif not self.transport.is_closing():
            self._refuse(problem(408, "head_too_slow", "The request took too long", "Its head never ended."))

    def _head_is_over(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, response: Response) -> None:
        lines: list[Any] = [f"HTTP/1.1 {response.status_code} ".encode()]
        lines += [b"%s: %s" % pair for pair in [*response.raw_headers, (b"connection", b"close")]]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        self.transport.close()
