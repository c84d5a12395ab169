"""Both ends of a call as bare UDP sockets: every byte of SIP is written and read by the test."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .conftest import Theatre

_serial = itertools.count(1)


def header(message: str, name: str) -> str:
    """The first value of a header; "" where there is none."""
    return (headers(message, name) or [""])[0]


def headers(message: str, name: str) -> list[str]:
    """All values of a header."""
    return re.findall(rf"^{re.escape(name)}[ \t]*:[ \t]*(.*?)\r$", message, re.IGNORECASE | re.MULTILINE)


def body(message: str) -> str:
    return message.partition("\r\n\r\n")[2]


def sdp(host: str, port: int = 9000, *extra: str, audio: str = "8 101") -> str:
    """A session description with audio; `extra` lines stand at its end."""
    lines = [
        *(
            "v=0",
            f"o=- 7 7 IN IP4 {host}",
            "s=-",
            f"c=IN IP4 {host}",
            "t=0 0",
            f"m=audio {port} RTP/AVP {audio}",
        ),
        *("a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", *extra),
    ]
    return "\r\n".join(lines) + "\r\n"


class Socket(asyncio.DatagramProtocol):
    """A trunk's SIP socket. All that comes is kept in `inbox`; `next` takes it from there in order."""

    def __init__(self, host: str, edge: tuple[str, int]) -> None:
        self.host, self.edge = host, edge
        self.inbox: list[str] = []
        self.address = (host, 0)
        self._taken = 0
        self._came = asyncio.Event()

    async def __aenter__(self) -> "Socket":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))
        self.address = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        text = data.decode("utf-8", "replace")
        if text.startswith("OPTIONS") and "\r\nFrom: <sip:ping@" in text:
            self._transport.sendto(answer(text, "200 OK").encode(), addr)
            return
        self.inbox.append(text)
        self._came.set()

    def send(self, message: str | bytes) -> None:
        self._transport.sendto(message.encode() if isinstance(message, str) else message, self.edge)

    async def next(self, start: str, within_s: float = 15.0, holding: str = "") -> str:
        """The next message that starts so and holds a text; those before it are passed over."""
        async with asyncio.timeout(within_s):
            while True:
                while self._taken < len(self.inbox):
                    self._taken += 1
                    message = self.inbox[self._taken - 1]
                    if message.startswith(start) and holding in message:
                        return message
                self._came.clear()
                await self._came.wait()

    async def none(self, start: str, for_s: float = 0.5, holding: str = "") -> bool:
        """Whether no message that starts so and holds a text comes."""
        try:
            await self.next(start, for_s, holding)
        except TimeoutError:
            return True
        return False


def answer(
    request: str, status: str, *, tag: str = "", extra: str = "", content: str = "", kind: str = ""
) -> str:
    """A response to `request` as RFC 3261 section 8.2.6 wants it; `extra` is whole header lines."""
    to = header(request, "To")
    to += f";tag={tag}" if tag and ";tag=" not in to else ""
    copied = [f"Via: {via}" for via in headers(request, "Via")]
    copied += [f"Record-Route: {route}" for route in headers(request, "Record-Route")]
    copied += [f"From: {header(request, 'From')}", f"To: {to}", f"Call-ID: {header(request, 'Call-ID')}"]
    copied.append(f"CSeq: {header(request, 'CSeq')}")
    return f"SIP/2.0 {status}\r\n" + "\r\n".join(copied) + "\r\n" + extra + _content(content, kind)


def _content(content: str, kind: str) -> str:
    kinds = f"Content-Type: {kind or 'application/sdp'}\r\n" if content or kind else ""
    return f"{kinds}Content-Length: {len(content.encode())}\r\n\r\n{content}"


@dataclass
class End:
    """One side of a call: its socket and its dialog."""

    socket: Socket
    number: str
    call_id: str = ""
    ours: str = ""
    theirs: str = ""
    target: str = ""
    routes: list[str] = field(default_factory=list)
    cseq: int = 0

    @property
    def contact(self) -> str:
        return f"<sip:{self.number}@{self.socket.address[0]}:{self.socket.address[1]}>"

    def request(
        self, method: str, *, extra: str = "", content: str = "", kind: str = "", cseq: int | None = None,
        contact: str | None = None,
    ) -> str:  # fmt: skip
        """Send a request in the dialog; gives it."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        host, port = self.socket.address
        via = f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK{next(_serial)}x"
        lines = [f"{method} {self.target} SIP/2.0", f"Via: {via}", *(f"Route: {r}" for r in self.routes)]
        lines += ["Max-Forwards: 70", f"From: {self.ours}", f"To: {self.theirs}", f"Call-ID: {self.call_id}"]
        lines += [f"CSeq: {cseq} {method}", f"Contact: {contact or self.contact}"]
        message = "\r\n".join(lines) + "\r\n" + extra + _content(content, kind)
        self.socket.send(message)
        return message

    def reply(self, request: str, status: str, *, extra: str = "", content: str = "", kind: str = "") -> str:
        """Send a reply; one to an INVITE or UPDATE has our Contact unless `extra` brings another."""
        if "Contact:" not in extra and status[0] in "12" and not status.startswith("100"):
            extra += f"Contact: {self.contact}\r\n"
        tag = self.ours.rpartition(";tag=")[2]
        message = answer(request, status, tag=tag, extra=extra, content=content, kind=kind)
        self.socket.send(message)
        return message

    def follow(self, reply: str) -> None:
        """Take the dialog from a reply to our INVITE (RFC 3261 section 12.1.2)."""
        self.theirs = header(reply, "To")
        self.target = header(reply, "Contact").partition("<")[2].partition(">")[0]
        self.routes = list(reversed(split(headers(reply, "Record-Route"))))

    def take(self, invite: str) -> None:
        """Take the dialog from an INVITE that came (section 12.1.1)."""
        self.call_id, self.theirs = header(invite, "Call-ID"), header(invite, "From")
        self.ours = f"{header(invite, 'To')};tag=far{next(_serial)}"
        self.target = header(invite, "Contact").partition("<")[2].partition(">")[0]
        self.routes = split(headers(invite, "Record-Route"))


def split(values: list[str]) -> list[str]:
    """The entries of a header that may stand several times, each with a list."""
    return [entry.strip() for value in values for entry in value.split(",") if entry.strip()]


@dataclass
class Line:
    """A caller and a callee who are bound to each other, with sockets of two trunks."""

    theatre: Theatre
    near: End
    far: End
    dialled: str
    binding_id: str

    def invite(
        self, *, extra: str = "", content: str | None = None, kind: str = "", contact: str | None = None
    ) -> str:
        """The caller's INVITE, sent."""
        near = self.near
        host, port = near.socket.edge
        near.call_id, near.target = (
            f"near{next(_serial)}@nowhere.invalid",
            f"sip:{self.dialled}@{host}:{port}",
        )
        near.ours = f'"Owner" <sip:{near.number}@{near.socket.host}>;tag=near{next(_serial)}'
        near.theirs, near.routes, near.cseq = f"<{near.target}>", [], 0
        text = sdp(near.socket.host) if content is None else content
        return near.request("INVITE", extra=extra, content=text, kind=kind, contact=contact)

    async def arrive(self) -> str:
        """The INVITE as the callee gets it."""
        invite = await self.far.socket.next("INVITE", holding=self.far.number)
        self.far.take(invite)
        return invite

    async def none_arrives(self) -> bool:
        """Whether the callee gets no INVITE."""
        return await self.far.socket.none("INVITE", holding=self.far.number)

    async def answered(self, *, extra: str = "", content: str | None = None) -> tuple[str, str]:
        """Ring and answer a call on its way; the INVITE as it arrived and the 200 as it arrived."""
        invite = await self.arrive()
        self.far.reply(invite, "180 Ringing")
        ringing = await self.near.socket.next("SIP/2.0 180")
        assert header(ringing, "Contact")
        text = sdp(self.far.socket.host) if content is None else content
        self.far.reply(invite, "200 OK", extra=extra, content=text)
        ok = await self.near.socket.next("SIP/2.0 200")
        self.near.follow(ok)
        self.near.request("ACK", cseq=self.near.cseq)
        await self.far.socket.next("ACK")
        return invite, ok

    async def hang_up(self) -> str:
        """The caller's BYE as it arrives at the callee, answered."""
        self.near.request("BYE")
        # a BYE of another test's call may be said again for a while
        bye = await self.far.socket.next("BYE", holding=self.far.call_id)
        self.far.reply(bye, "200 OK")
        await self.near.socket.next("SIP/2.0 200", holding=self.near.call_id)
        return bye

    async def cdr(self) -> dict[str, object]:
        """The one CDR."""
        return (await self.theatre.until_cdrs(f"/v1/cdrs?binding_id={self.binding_id}", 1))[0]


class Exchange:
    """Two trunks of bare sockets at the theatre's platform; callees see numbers of the second one."""

    def __init__(self, theatre: Theatre, near: Socket, far: Socket, pool: str) -> None:
        self.theatre, self.near, self.far, self._pool = theatre, near, far, pool

    async def line(self, **terms: object) -> Line:
        """Two new people."""
        serial = next(_serial)
        a, b = f"+86157{73100000 + serial * 7919 % 10**6:08}", f"+86159{58200000 + serial * 6007 % 10**6:08}"
        theatre = self.theatre
        theatre.numbers |= {a, b}
        binding = await theatre.customer.reserve(a, b, self._pool, theatre.y_pool, **terms)
        return Line(theatre, End(self.near, a), End(self.far, b), binding["y"], binding["id"])


@asynccontextmanager
async def exchange(
    theatre: Theatre, near_host: str, far_host: str, **spec: object
) -> AsyncIterator[Exchange]:
    """Opens an exchange; `spec` is laid over the second trunk's description."""
    stage, serial = theatre.stage, next(_serial)
    async with Socket(near_host, stage.sip) as near, Socket(far_host, stage.sip) as far:
        caller_trunk = await stage.add_trunk(f"near{serial}", near.address)
        trunk = await stage.add_trunk(f"far{serial}", far.address, **spec)
        pool = await stage.add_pool(f"bare{serial}", theatre.customer)
        await stage.add_numbers([f"+861709{serial:03}{n:04}" for n in range(60)], trunk, pool)
        await theatre.trunks_in_force()
        try:
            yield Exchange(theatre, near, far, pool)
        finally:
            await theatre.disable_trunk(caller_trunk)
            await theatre.disable_trunk(trunk)
