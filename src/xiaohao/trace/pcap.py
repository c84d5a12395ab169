"""SIP messages as a capture file, for Wireshark and its like: pcap 2.4, LINKTYPE_RAW, all as UDP.

The IP and UDP headers are made here, from the addresses that the edge told (RFC 791, RFC 8200, RFC 768).
"""

import socket
from collections.abc import Iterable
from struct import Struct
from typing import Final

from xiaohao.trace.model import Message

#: magic of microseconds, version 2.4, no zone, no accuracy, largest packet, LINKTYPE_RAW
_FILE: Final = Struct("<IHHiIII").pack(0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
_RECORD: Final = Struct("<IIII")
_UDP: Final = Struct("!HHHH")
_IPV4: Final = Struct("!BBHHHBBH4s4s")
_IPV6: Final = Struct("!IHBB16s16s")
_LARGEST: Final = 65_000


def capture(messages: Iterable[Message]) -> bytes:
    """The whole file."""
    parts = [_FILE]
    for message in messages:
        packet = _packet(message)
        parts += [_RECORD.pack(*divmod(message.at, 1_000_000), len(packet), len(packet)), packet]
    return b"".join(parts)


def _packet(message: Message) -> bytes:
    text = message.text[:_LARGEST]
    length = _UDP.size + len(text)
    six = ":" in message.source
    family = socket.AF_INET6 if six else socket.AF_INET
    source, destination = (socket.inet_pton(family, each) for each in (message.source, message.destination))
    ports = (message.source_port, message.destination_port, length)
    if six:
        pseudo = source + destination + Struct("!II").pack(length, socket.IPPROTO_UDP)
        checksum = _checksum(pseudo + _UDP.pack(*ports, 0) + text) or 0xFFFF
        head = _IPV6.pack(6 << 28, length, socket.IPPROTO_UDP, 64, source, destination)
        return head + _UDP.pack(*ports, checksum) + text
    fields = (0x45, 0, _IPV4.size + length, 0, 0, 64, socket.IPPROTO_UDP)
    checksum = _checksum(_IPV4.pack(*fields, 0, source, destination))
    # a UDP checksum of 0 says that there is none
    return _IPV4.pack(*fields, checksum, source, destination) + _UDP.pack(*ports, 0) + text


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2]) for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
