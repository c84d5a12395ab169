"""Calls that talk: both carriers in one small SIP program, their RTP in a process of its own (bench/rtp.py).

It speaks just enough SIP for a call that is set up, talks and is hung up over loopback; SIPp does the loads
that are about signalling.
"""

import asyncio
import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from bench.subject import LISTENER_HOST, TALKER_HOST, Subject, environment

from xiaohao.simulator.stage import free_ports

_OFFER_PORTS = range(10_000, 20_000)
_PATIENCE_S = 10.0


def _sdp(host: str, port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
    )


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _headers(message: str, name: str) -> str:
    return "".join(
        f"{name}: {value}\r\n"
        for value in re.findall(rf"^{name}: *(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)
    )


def _media(message: str) -> tuple[str, int]:
    host = re.search(r"^c=IN IP4 (\S+)", message, re.MULTILINE)
    port = re.search(r"^m=audio (\d+)", message, re.MULTILINE)
    if not host or not port:
        raise RuntimeError("an SDP without an address")
    return host[1], int(port[1])


@dataclass
class Talk:
    """One call: where each end's RTP is and goes to."""

    number: int
    caller: str
    dialled: str
    ports: tuple[int, int]
    relays: list[tuple[str, int] | None] = field(default_factory=lambda: [None, None])
    answer: str = ""
    code: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class _Caller(asyncio.DatagramProtocol):
    def __init__(self, talks: dict[str, Talk]) -> None:
        self._talks = talks

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = data.decode()
        talk = self._talks.get(_header(message, "Call-ID"))
        if talk is None or not message.startswith("SIP/2.0 ") or message.startswith("SIP/2.0 1"):
            return
        talk.code, talk.answer = int(message[8:11]), message
        talk.changed.set()


class _Callee(asyncio.DatagramProtocol):
    """Answers every INVITE at once. The callee's number says which call it is."""

    def __init__(self, by_callee: dict[str, list[Talk]], port: int) -> None:
        self._waiting, self._port, self._seen = by_callee, port, dict[str, bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = data.decode()
        method = message.split(" ", 1)[0]
        key = _header(message, "Call-ID") + method
        if method in ("ACK", "SIP/2.0"):
            return
        if key not in self._seen:
            body = ""
            if method == "INVITE":
                user = re.match(r"INVITE sip:([^@]+)@", message)
                talk = self._waiting[user[1][-11:] if user else ""].pop()
                talk.relays[1] = _media(message)
                body = _sdp(LISTENER_HOST, talk.ports[1])
            to = _header(message, "To")
            tag = "" if ";tag=" in to else f";tag=b{len(self._seen)}"
            self._seen[key] = (
                f"SIP/2.0 200 OK\r\n{_headers(message, 'Via')}{_headers(message, 'Record-Route')}"
                f"From: {_header(message, 'From')}\r\nTo: {to}{tag}\r\n"
                f"Call-ID: {_header(message, 'Call-ID')}\r\n"
                f"CSeq: {_header(message, 'CSeq')}\r\nContact: <sip:b@{LISTENER_HOST}:{self._port}>\r\n"
                f"{'Content-Type: application/sdp' + chr(13) + chr(10) if body else ''}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        self._transport.sendto(self._seen[key], addr)  # type: ignore[attr-defined]


class Talkers:
    """Sets up calls, lets them talk, hangs them up. `async with`."""

    def __init__(self, subject: Subject, calls: int) -> None:
        self._subject = subject
        pairs = [subject.talkers[i % len(subject.talkers)] for i in range(calls)]
        self.talks = [
            Talk(i, pair.caller, pair.dialled, (_OFFER_PORTS[2 * i], _OFFER_PORTS[2 * i + 1]))
            for i, pair in enumerate(pairs)
        ]
        self._by_callee: dict[str, list[Talk]] = {}
        for pair, talk in zip(pairs, self.talks, strict=True):
            self._by_callee.setdefault(pair.callee, []).append(talk)

    async def __aenter__(self) -> "Talkers":
        loop = asyncio.get_running_loop()
        self._port = free_ports(TALKER_HOST, 1)[0]
        ids = {f"talk{talk.number}-{self._port}": talk for talk in self.talks}
        self._ids = {talk.number: call_id for call_id, talk in ids.items()}
        self._caller, _ = await loop.create_datagram_endpoint(
            lambda: _Caller(ids), local_addr=(TALKER_HOST, self._port)
        )
        port = self._subject.listener_port
        self._callee, _ = await loop.create_datagram_endpoint(
            lambda: _Callee(self._by_callee, port), local_addr=(LISTENER_HOST, port)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._caller.close()
        self._callee.close()

    def _request(self, talk: Talk, method: str, sequence: int, body: str = "") -> bytes:
        host, port = self._subject.sip
        established = method != "INVITE"
        uri = f"sip:{talk.dialled}@{host}:{port}"
        to, routes = f"<{uri}>", ""
        if established:
            contact = re.search(r"<([^>]+)>", _header(talk.answer, "Contact"))
            uri, to = contact[1] if contact else uri, _header(talk.answer, "To")
            recorded = re.findall(r"^Record-Route: *(.*?)\r$", talk.answer, re.MULTILINE | re.IGNORECASE)
            routes = "".join(f"Route: {one}\r\n" for one in reversed(recorded))
        call_id = self._ids[talk.number]
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {TALKER_HOST}:{self._port};branch=z9hG4bK{call_id}{method}\r\n{routes}"
            f"From: <sip:{talk.caller}@{TALKER_HOST}>;tag=t{talk.number}\r\nTo: {to}\r\n"
            f"Call-ID: {call_id}\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:{talk.caller}@{TALKER_HOST}:{self._port}>\r\n"
            f"{'Content-Type: application/sdp' + chr(13) + chr(10) if body else ''}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    async def _exchange(self, talk: Talk, method: str, sequence: int, body: str = "") -> None:
        """Send a request until its answer is there (RFC 3261 timers E and F, shortened)."""
        talk.changed.clear()
        request = self._request(talk, method, sequence, body)
        pause, left = 0.5, _PATIENCE_S
        while left > 0:
            self._caller.sendto(request, self._subject.sip)
            try:
                await asyncio.wait_for(talk.changed.wait(), pause)
                break
            except TimeoutError:
                left, pause = left - pause, min(pause * 2, 4.0)
        if talk.code != 200:
            raise RuntimeError(f"{method} of a talking call: {talk.code or 'no answer'}")

    async def connect(self, rate: float) -> None:
        """Set all calls up, `rate` a second. Raises RuntimeError where one is not answered."""
        for talk in self.talks:
            await self._exchange(talk, "INVITE", 1, _sdp(TALKER_HOST, talk.ports[0]))
            self._caller.sendto(self._request(talk, "ACK", 1), self._subject.sip)
            talk.relays[0] = _media(talk.answer)
            await asyncio.sleep(1 / rate)

    async def talk(self, seconds: float) -> dict[str, Any]:
        """Send RTP both ways for so long; gives what bench/rtp.py found."""
        calls = [
            [(TALKER_HOST, talk.ports[0], talk.relays[0]), (LISTENER_HOST, talk.ports[1], talk.relays[1])]
            for talk in self.talks
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.rtp"), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, env=environment(),
        )  # fmt: skip
        out, _ = await process.communicate(json.dumps({"calls": calls, "seconds": seconds}).encode())
        found: dict[str, Any] = json.loads(out)
        return found

    async def hang_up(self) -> None:
        """End all calls, 50 a second."""
        for talk in self.talks:
            talk.code = 0
            await self._exchange(talk, "BYE", 2)
            await asyncio.sleep(0.02)
