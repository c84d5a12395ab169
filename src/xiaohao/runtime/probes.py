"""Questions that tell whether a process does its work: a datagram or a request that must be answered."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from xiaohao.settings import host_port

#: Answers whether the process is ready. Never raises.
Probe = Callable[[], Awaitable[bool]]

#: What `core.version` over Kamailio's JSON-RPC looks like.
KAMAILIO_QUESTION = b'{"jsonrpc":"2.0","method":"core.version","id":1}'
#: A ping in rtpengine's ng protocol: a cookie, then a bencoded dictionary.
RTPENGINE_QUESTION = b"xiaohao d7:command4:pinge"

_PATIENCE_S = 1.0
_LONG_PATIENCE_S = 10.0


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, answered: asyncio.Future[bytes]) -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


async def ask_udp(address: str, question: bytes) -> bytes | None:
    """Send `question` to `host:port` and give back the first datagram that returns, None where none does."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _OneAnswer(answered), remote_addr=host_port(address)
        )
    except OSError:
        return None
    try:
        transport.sendto(question)
        return await asyncio.wait_for(answered, _PATIENCE_S)
    except (OSError, TimeoutError):
        return None
    finally:
        transport.close()


async def ask_http(address: str, path: str, patience_s: float = _PATIENCE_S) -> int | None:
    """The HTTP status of `GET path` at `host:port`, None where nobody answers with HTTP in time."""
    writer = None
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection(*host_port(address))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
            return int(line.split()[1])
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def udp_probe(address: str, question: bytes) -> Probe:
    """A probe that is content with any answer to a datagram."""

    async def probe() -> bool:
        return await ask_udp(address, question) is not None

    return probe


def life_probe(address: str) -> Probe:
    """A probe that is content with any HTTP status, and patient: a busy process is not a dead one."""

    async def probe() -> bool:
        return await ask_http(address, "/healthz", _LONG_PATIENCE_S) is not None

    return probe


def http_probe(address: str, path: str) -> Probe:
    """A probe that wants HTTP status 200."""

    async def probe() -> bool:
        return await ask_http(address, path) == 200

    return probe
