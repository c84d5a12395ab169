"""Takes the SIP messages that edges send (HEP over UDP), in a thread of its own, and never slows them down.

The edge sends a datagram and forgets it. What this process is too slow for is lost in the socket's buffer, in
the collector or while the database is away; each is counted, none is waited for.
"""

import contextlib
import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Final

import structlog

from xiaohao.settings import host_port
from xiaohao.trace.collector import Collector, Group
from xiaohao.trace.homer import Homer

_log = structlog.get_logger(__name__)

#: as much as the system allows; a second of a hundred calls a second is 2 MB
_BUFFER: Final = 8_388_608
_LARGEST: Final = 65_535
_LOOK_S: Final = 0.5
#: groups that wait for the database, of about 1 KB each
_BACKLOG: Final = 20_000


class Listener:
    """One socket, its thread, and the groups of messages that are to be written."""

    def __init__(self, address: str, key: bytes, sample: float, homer: str | None) -> None:
        """`address` to listen on, `homer` to send copies to. Raises OSError where the first is taken."""
        host, port = host_port(address)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
                break
            except PermissionError:
                continue
        try:
            self._socket.bind((host.strip("[]"), port))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(_LOOK_S)
        self._port = self._socket.getsockname()[1]
        self._homer = None if homer is None else Homer(homer)
        self._collector = Collector(key, sample, None if self._homer is None else self._homer.send)
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._backlog: list[Group] = []
        self._lost_here: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="trace", daemon=True)

    def know(self, call_id_header: bytes, call_id: str) -> None:
        """A Call-ID of a caller's side belongs to this call, which began before this process."""
        with self._lock:
            self._collector.know(call_id_header, call_id)

    def start(self) -> None:
        """Begin to listen."""
        if self._homer is not None:
            self._homer.start()
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                data = self._socket.recv(_LARGEST)
            except TimeoutError:
                continue
            except OSError:
                return  # closed
            try:
                with self._lock:
                    self._collector.take(data)
            except Exception as error:  # noqa: BLE001 – one strange datagram must not end the listening
                self._lost_here["fault"] += 1
                _log.error("trace_fault", error=type(error).__name__)

    def take_due(self, everything: bool = False) -> list[Group]:
        """Groups that are to be written now: they are the caller's, who puts back what cannot be written."""
        with self._lock:
            due = self._collector.due(everything)
        backlog, self._backlog = self._backlog, []
        return backlog + due

    def put_back(self, groups: list[Group]) -> None:
        """They could not be written: they wait, the oldest of too many are lost."""
        waiting = groups + self._backlog
        lost, self._backlog = waiting[:-_BACKLOG], waiting[-_BACKLOG:]
        self._lost_here["database"] += sum(len(group.messages) for group in lost)

    def counts(self) -> tuple[int, Counter[str]]:
        """Messages kept so far, and how many were not, by the reason."""
        with self._lock:
            kept, lost = self._collector.kept, self._collector.lost + self._lost_here
        lost["socket"] = dropped_at(self._port)
        return kept, lost

    def close(self) -> None:
        """Stop listening. What was taken can still be asked for with `take_due`."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LOOK_S)
        self._socket.close()
        if self._homer is not None:
            self._homer.close()


def dropped_at(port: int) -> int:
    """Datagrams that the kernel dropped because a UDP socket's buffer was full: see proc(5), net/udp."""
    mark = f":{port:04X}"
    for name in ("/proc/self/net/udp", "/proc/self/net/udp6"):
        with contextlib.suppress(OSError):
            for line in Path(name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(mark):
                    return int(fields[-1])
    return 0
