"""HEP version 3, the Homer encapsulation protocol, as Kamailio's module siptrace writes it.

"HEP3", the whole length (2 bytes), then chunks: vendor (2 bytes, 0 the protocol's own), type (2), length with
these six bytes (2), content. Numbers are in network order. HEP3 specification, revision 12, section 3.
"""

import socket
from struct import Struct, error
from typing import Final

import msgspec

_HEAD: Final = Struct("!4sH")
_CHUNK: Final = Struct("!HHH")
_SHORT: Final = Struct("!H")
_LONG: Final = Struct("!I")

_PROTOCOL, _SOURCE4, _DESTINATION4, _SOURCE6, _DESTINATION6 = 2, 3, 4, 5, 6
_SOURCE_PORT, _DESTINATION_PORT, _SECONDS, _MICROSECONDS = 7, 8, 9, 10
_KIND, _KEY, _PAYLOAD, _CORRELATION = 11, 14, 15, 17

SIP: Final = 1
LOG: Final = 100

#: IP protocols; Kamailio writes 22 for TLS
_TRANSPORTS: Final = {6: "tcp", 17: "udp", 22: "tls", 132: "sctp"}


class HepError(Exception):
    """A datagram is not HEP3. Never carries what it holds."""


class Packet(msgspec.Struct, frozen=True):
    """One captured message. `at` in µs since the epoch; addresses as text; `kind` is SIP, LOG or another."""

    at: int
    kind: int
    transport: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    key: bytes
    correlation: bytes
    payload: bytes
    #: the whole datagram
    raw: bytes = b""


def read(data: bytes) -> Packet:
    """Take a datagram apart. Raises HepError."""
    try:
        chunks = _chunks(data)
        family = socket.AF_INET if _SOURCE4 in chunks else socket.AF_INET6
        source, destination = (
            (chunks[_SOURCE4], chunks[_DESTINATION4])
            if family == socket.AF_INET
            else (chunks[_SOURCE6], chunks[_DESTINATION6])
        )
        (seconds,), (micro,) = _LONG.unpack(chunks[_SECONDS]), _LONG.unpack(chunks[_MICROSECONDS])
        return Packet(
            at=seconds * 1_000_000 + micro,
            kind=chunks[_KIND][0],
            transport=_TRANSPORTS.get(chunks[_PROTOCOL][0], "udp"),
            source=socket.inet_ntop(family, source),
            source_port=_SHORT.unpack(chunks[_SOURCE_PORT])[0],
            destination=socket.inet_ntop(family, destination),
            destination_port=_SHORT.unpack(chunks[_DESTINATION_PORT])[0],
            key=chunks.get(_KEY, b""),
            correlation=chunks.get(_CORRELATION, b""),
            payload=chunks[_PAYLOAD],
            raw=data,
        )
    except (KeyError, IndexError, ValueError, error) as fault:
        raise HepError(type(fault).__name__) from None


def _chunks(data: bytes) -> dict[int, bytes]:
    mark, length = _HEAD.unpack_from(data)
    if mark != b"HEP3" or length != len(data):
        raise ValueError("no HEP3")
    found: dict[int, bytes] = {}
    at = _HEAD.size
    while at < length:
        vendor, kind, size = _CHUNK.unpack_from(data, at)
        if size < _CHUNK.size or at + size > length:
            raise ValueError("a chunk is longer than the whole")
        if vendor == 0:
            found.setdefault(kind, data[at + _CHUNK.size : at + size])
        at += size
    return found


def write(packet: Packet) -> bytes:
    """The datagram of a packet, for tests and for whoever else speaks HEP."""
    family = socket.AF_INET6 if ":" in packet.source else socket.AF_INET
    six = family == socket.AF_INET6
    number = next((n for n, name in _TRANSPORTS.items() if name == packet.transport), 17)
    chunks = [
        (1, bytes((family,))),
        (_PROTOCOL, bytes((number,))),
        (_SOURCE6 if six else _SOURCE4, socket.inet_pton(family, packet.source)),
        (_DESTINATION6 if six else _DESTINATION4, socket.inet_pton(family, packet.destination)),
        (_SOURCE_PORT, _SHORT.pack(packet.source_port)),
        (_DESTINATION_PORT, _SHORT.pack(packet.destination_port)),
        (_SECONDS, _LONG.pack(packet.at // 1_000_000)),
        (_MICROSECONDS, _LONG.pack(packet.at % 1_000_000)),
        (_KIND, bytes((packet.kind,))),
        (_KEY, packet.key),
        (_CORRELATION, packet.correlation),
        (_PAYLOAD, packet.payload),
    ]
    body = b"".join(_CHUNK.pack(0, kind, _CHUNK.size + len(value)) + value for kind, value in chunks)
    return _HEAD.pack(b"HEP3", _HEAD.size + len(body)) + body
