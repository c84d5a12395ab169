"""A Homer server that gets copies of what is kept, if it can be found: nothing else depends on it."""

import contextlib
import socket
import threading
from typing import Any, Final

import structlog

from xiaohao.settings import host_port

_log = structlog.get_logger(__name__)

#: after so long its name is looked up again: it may have moved, or was not known
_AGAIN_S: Final = 30.0


class Homer:
    """Sends datagrams to a server. A name server that is away, or no way there, holds up and ends nothing."""

    def __init__(self, address: str) -> None:
        """`address` is host:port. Raises SettingsError."""
        self._host, self._port = host_port(address)
        #: by address family; none is connected, so that the place may change under whoever sends
        self._sockets: dict[int, socket.socket] = {}
        self._place: tuple[socket.socket, Any] | None = None
        self._is_missed, self._closing = False, threading.Event()
        self._thread = threading.Thread(target=self._run, name="homer", daemon=True)

    def start(self) -> None:
        """Begin to look for it. An address is known at once, a name soon."""
        with contextlib.suppress(OSError):
            self._find(socket.AI_NUMERICHOST)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Send a datagram; it is lost where nobody takes it. Never waits, never fails."""
        if (place := self._place) is not None:
            with contextlib.suppress(OSError):
                place[0].sendto(data, place[1])

    def close(self) -> None:
        """Send nothing more."""
        self._closing.set()
        self._place = None
        for each in self._sockets.values():
            each.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._find()
            except OSError as error:
                if not self._is_missed:  # what was found before goes on being used
                    _log.warning("homer_not_found", error=error.strerror)
                self._is_missed = True
            else:
                self._is_missed = False
            self._closing.wait(_AGAIN_S)

    def _find(self, flags: int = 0) -> None:
        host = self._host.strip("[]")
        found = socket.getaddrinfo(host, self._port, type=socket.SOCK_DGRAM, flags=flags)
        family, kind, protocol, _, place = found[0]
        if self._closing.is_set():
            return
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, kind, protocol)
            self._sockets[family].setblocking(False)
        self._place = self._sockets[family], place
