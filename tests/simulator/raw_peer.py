"""The other end of a trunk as a bare UDP socket: messages are written and read as text, byte by byte."""

import asyncio
import re
from types import TracebackType


def header(message: str, name: str) -> str:
    """The first value of a header, "" where there is none."""
    found = re.search(rf"^{re.escape(name)}[ \t]*:[ \t]*(.*?)\r$", message, re.IGNORECASE | re.MULTILINE)
    return found.group(1) if found else ""


def headers(message: str, name: str) -> list[str]:
    """All values of a header."""
    return re.findall(rf"^{re.escape(name)}[ \t]*:[ \t]*(.*?)\r$", message, re.IGNORECASE | re.MULTILINE)


def branch(message: str) -> str:
    """The branch of the topmost Via."""
    return re.search(r"branch=([^;,\s]+)", header(message, "Via")).group(1)


SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.4\r\ns=-\r\nc=IN IP4 127.0.0.4\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


class RawPeer(asyncio.DatagramProtocol):
    """Receives into a queue; sends what it is told to."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.address = ("", 0)

    async def __aenter__(self) -> "RawPeer":
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.4", 0))
        self.address = self._socket.get_extra_info("sockname")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        await asyncio.sleep(0)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.inbox.put_nowait(data.decode())

    def send(self, text: str, to: tuple[str, int]) -> None:
        self._socket.sendto(text.encode(), to)

    async def next(self, start: str, within_s: float = 15.0) -> str:
        """The next message that starts so; others are dropped."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self.inbox.get()
                if message.startswith(start):
                    return message

    async def count(self, start: str, seconds: float) -> int:
        """How many messages that start so come within that time."""
        await asyncio.sleep(seconds)
        messages = [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]
        return sum(message.startswith(start) for message in messages)

    def answer(self, request: str, status: str, *, tag: str = "far", extra: str = "", body: str = "") -> str:
        """A response to `request`."""
        vias = "".join(f"Via: {value}\r\n" for value in headers(request, "Via"))
        to = header(request, "To")
        to = to if ";tag=" in to or not tag else f"{to};tag={tag}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"SIP/2.0 {status}\r\n{vias}From: {header(request, 'From')}\r\nTo: {to}\r\n"
            f"Call-ID: {header(request, 'Call-ID')}\r\nCSeq: {header(request, 'CSeq')}\r\n{extra}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def request(
        self,
        method: str,
        uri: str,
        *,
        cseq: int = 1,
        branch: str,
        to_tag: str = "",
        rport: bool = True,
        extra: str = "",
        body: str = "",
        call_id: str = "raw-call",
    ) -> str:
        """A request from this socket; From has the tag `near`."""
        host, port = self.address
        tag = f";tag={to_tag}" if to_tag else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch}{';rport' if rport else ''}\r\n"
            f"From: <sip:1@{host}>;tag=near\r\nTo: <{uri}>{tag}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:raw@{host}:{port}>\r\n{extra}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
