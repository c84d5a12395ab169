"""The RTP packets in a pcap file, as columns of numbers."""

import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from xiaohao.recordings.model import OF_IPV6, CaptureError

_FILE_HEADER_BYTES: Final = 24
_RECORD_HEADER_BYTES: Final = 16
#: byte order and ticks a second, by the first four bytes (draft-ietf-opsawg-pcap)
_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
#: bytes in front of the IP header by link type: Ethernet, raw IP (two spellings)
_LINK_HEADER_BYTES: Final = {1: 14, 12: 0, 101: 0}
_LONGEST_PACKET: Final = 65_535 + 64


@dataclass(frozen=True)
class Packets:
    """The RTP packets of a pcap in the order of their arrival, column by column; `data` is the whole file."""

    data: npt.NDArray[np.uint8]
    #: place of the packet in the pcap, counted from 1, RTCP included
    number: npt.NDArray[np.int64]
    #: microseconds since the epoch
    arrival: npt.NDArray[np.int64]
    #: rtpengine's port, at which the packet arrived; IPv6 ports count from OF_IPV6 on
    port: npt.NDArray[np.int64]
    payload_type: npt.NDArray[np.uint8]
    sequence: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    ssrc: npt.NDArray[np.int64]
    #: where in `data` the payload begins, and how long it is without padding
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    #: the file ends in the middle of a packet: its writer was killed, or the disk was full
    cut_off: bool = False

    def __len__(self) -> int:
        return len(self.arrival)

    def take(self, which: npt.NDArray[Any]) -> "Packets":
        """Some of them: a mask or places."""
        plain = ("data", "cut_off")
        columns = {name: column[which] for name, column in vars(self).items() if name not in plain}
        return Packets(data=self.data, cut_off=self.cut_off, **columns)


def read(path: Path) -> Packets:
    """The RTP packets of a pcap file. One that ends in the middle of a packet is read as far as it goes.

    Raises CaptureError where it is not a pcap of Ethernet or raw IP, or is damaged in the middle; OSError.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        # A copy of a two-hour call would be 150 MB; the mapping costs nothing and outlives the file's name.
        raw: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    data = np.frombuffer(raw, dtype=np.uint8)
    head = bytes(raw[:_FILE_HEADER_BYTES])
    if len(head) < _FILE_HEADER_BYTES:
        return replace(_packets(data, np.zeros((0, 3), dtype=np.int64), 0), cut_off=True)
    if head[:4] not in _MAGIC:
        raise CaptureError("the capture is not a pcap file")
    order, ticks = _MAGIC[head[:4]]
    link_type = Struct(order + "I").unpack_from(head, 20)[0] & 0xFFFF
    if link_type not in _LINK_HEADER_BYTES:
        raise CaptureError(f"the capture's link type {link_type} is not known")
    records = _records(raw, order, ticks)
    end = int(records[-1, 0] + records[-1, 1]) if len(records) else _FILE_HEADER_BYTES
    return replace(_packets(data, records, _LINK_HEADER_BYTES[link_type]), cut_off=end < len(raw))


def _records(raw: Any, order: str, ticks: int) -> npt.NDArray[np.int64]:
    """Offset, length and arrival (µs) of each packet; a packet that the file's end cuts off is left out."""
    header = Struct(order + "IIII").unpack_from
    end, at = len(raw), _FILE_HEADER_BYTES
    rows: list[tuple[int, int, int]] = []
    divisor = ticks // 1_000_000
    while at + _RECORD_HEADER_BYTES <= end:
        seconds, fraction, length, _ = header(raw, at)
        at += _RECORD_HEADER_BYTES
        if length > _LONGEST_PACKET or fraction >= ticks:
            raise CaptureError(f"the capture is damaged at packet {len(rows) + 1}")
        if at + length > end:
            break
        rows.append((at, length, seconds * 1_000_000 + fraction // divisor))
        at += length
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _packets(data: npt.NDArray[np.uint8], records: npt.NDArray[np.int64], link_bytes: int) -> Packets:
    number = np.arange(1, len(records) + 1)
    # Everything up to the fixed RTP header must be there before a byte of it is looked at.
    shortest = link_bytes + 20 + 8 + 12
    whole = records[:, 1] >= shortest
    number, ip = number[whole], records[whole, 0] + link_bytes
    end, arrival = records[whole, 0] + records[whole, 1], records[whole, 2]
    version = data[ip] >> 4
    ip_bytes = np.where(version == 6, 40, (data[ip] & 15).astype(np.int64) * 4)
    udp = ip + ip_bytes
    rtp = udp + 8
    fits = ((version == 4) | (version == 6)) & (rtp + 12 <= end)
    number, ip, udp, rtp, end, arrival, version = (
        column[fits] for column in (number, ip, udp, rtp, end, arrival, version)
    )
    start, length, sound = _payload(data, rtp, end)
    packets = Packets(
        data=data,
        number=number,
        arrival=arrival,
        port=_big_endian(data, udp + 2, 2) + np.where(version == 6, OF_IPV6, 0),
        payload_type=data[rtp + 1] & 0x7F,
        sequence=_big_endian(data, rtp + 2, 2),
        timestamp=_big_endian(data, rtp + 4, 4),
        ssrc=_big_endian(data, rtp + 8, 4),
        start=start,
        length=length,
    )
    # Two bits of version; types 64 to 95 are RTCP that shares the port with RTP (RFC 5761 section 4).
    is_rtcp = (packets.payload_type >= 64) & (packets.payload_type <= 95)
    return packets.take(sound & (data[rtp] >> 6 == 2) & ~is_rtcp)


def _payload(
    data: npt.NDArray[np.uint8], rtp: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Start and length of each payload (RFC 3550 section 5.1), and whether its headers fit the packet."""
    first = data[rtp]
    start = rtp + 12 + (first & 15).astype(np.int64) * 4
    extended = (first & 0x10) != 0
    has_extension = extended & (start + 4 <= end)
    words = np.zeros(len(rtp), dtype=np.int64)
    words[has_extension] = _big_endian(data, start[has_extension] + 2, 2)
    start = start + np.where(has_extension, 4 + 4 * words, 0)
    padded = (first & 0x20) != 0
    padding = np.where(padded, data[end - 1].astype(np.int64), 0)
    length = end - start - padding
    return start, length, (length >= 0) & (extended == has_extension)


def _big_endian(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    value = np.zeros(len(at), dtype=np.int64)
    for byte in range(width):
        value = (value << 8) | data[at + byte]
    return value
