"""A customer's endpoint that costs next to nothing: takes every POST, answers 204, keeps when it came."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

import msgspec


class _Data(msgspec.Struct):
    call_id: str
    recording: dict[str, object] | None = None


class _Event(msgspec.Struct):
    type: str
    timestamp: str
    data: _Data


_read = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True)
class Arrival:
    """One event as it came; µs since the epoch. `happened_at` counts whole milliseconds."""

    kind: str
    call_id: str
    happened_at: int
    arrived_at: int

    @property
    def delay_ms(self) -> float:
        return (self.arrived_at - self.happened_at) / 1000


@dataclass
class Sink:
    """Listens at `url` from `start` on."""

    host: str = "127.0.0.1"
    url: str = ""
    _posts: list[tuple[int, bytes]] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Http(self._posts), self.host, 0)
        self.url = f"http://{self.host}:{self._server.sockets[0].getsockname()[1]}/events"

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def count(self) -> int:
        return len(self._posts)

    def take(self) -> list[Arrival]:
        """What has come since the last time."""
        posts, self._posts[:] = list(self._posts), []
        arrivals = []
        for arrived_at, body in posts:
            event = _read(body)
            happened = datetime.fromisoformat(event.timestamp)
            arrivals.append(
                Arrival(event.type, event.data.call_id, round(happened.timestamp() * 1e6), arrived_at)
            )
        return arrivals


class _Http(asyncio.Protocol):
    """HTTP/1.1 as far as a POST with Content-Length goes (RFC 9112)."""

    def __init__(self, posts: list[tuple[int, bytes]]) -> None:
        self._posts, self._buffer = posts, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._posts.append((time.time_ns() // 1000, self._buffer[end + 4 : end + 4 + length]))
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")  # type: ignore[attr-defined]
