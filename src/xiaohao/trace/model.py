"""The terms of tracing: what is kept of a call beside its CDR."""

from typing import Any

import msgspec

from xiaohao.calls.model import Mark, Try


class Path(msgspec.Struct, frozen=True, array_like=True):
    """What was decided about a call, what was tried, and what rtpengine said of its media at the end."""

    marks: list[Mark]
    tries: list[Try]
    #: rtpengine's answer to `delete` as it came (bencoded); empty where it had nothing of the call
    media: bytes = b""
    #: what callers were played, as the announcer wrote it
    announcements: list[Any] = msgspec.field(default_factory=list)


class Message(msgspec.Struct, frozen=True, array_like=True):
    """A SIP message as it went over the wire. `at` is when the edge received or sent it, in µs.

    Addresses are IP addresses; `transport` is udp, tcp or tls (as SIP's Via names it, in small letters).
    """

    at: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    transport: str
    #: of the caller's side; else of the callee's
    caller_side: bool
    text: bytes
    #: bytes of it that were not kept
    cut: int = 0
