"""Out of RTP payloads: the codec's own frames, and how many ticks behind the packet's timestamp each begins.

Frames that carry no speech (comfort noise, "no data", damaged) are left out: nobody said them.
"""

from collections.abc import Callable
from typing import Final

from xiaohao.recordings.model import CaptureError, Payload

#: ticks behind the packet's timestamp, bytes as FFmpeg's decoder takes them
Frame = tuple[int, bytes]
Depacketiser = Callable[[bytes], list[Frame]]

#: bits by frame type, comfort noise included: 3GPP TS 26.101 table 1 (AMR), TS 26.201 table 1 (AMR-WB)
_AMR_BITS: Final = {
    0: 95,
    1: 103,
    2: 118,
    3: 134,
    4: 148,
    5: 159,
    6: 204,
    7: 244,
    8: 39,
    9: 43,
    10: 38,
    11: 37,
    15: 0,
}
_AMR_WB_BITS: Final = {
    **{0: 132, 1: 177, 2: 253, 3: 285, 4: 317, 5: 365, 6: 397, 7: 461, 8: 477, 9: 40},
    **{14: 0, 15: 0},
}
_G729_FRAME_BYTES: Final = 10
_G729_FRAME_TICKS: Final = 80


def whole(data: bytes) -> list[Frame]:
    """A payload that is one frame as it is: Opus (RFC 7587)."""
    return [(0, data)] if data else []


def g729(data: bytes) -> list[Frame]:
    """Frames of 10 ms; two bytes at the end are comfort noise (RFC 3551 section 4.5.6)."""
    count = len(data) // _G729_FRAME_BYTES
    return [
        (place * _G729_FRAME_TICKS, data[place * _G729_FRAME_BYTES : (place + 1) * _G729_FRAME_BYTES])
        for place in range(count)
    ]


def amr(payload: Payload) -> Depacketiser:
    """How to read AMR or AMR-WB with these SDP parameters (RFC 4867 section 8).

    Raises CaptureError for several audio channels in one stream, which telephony does not use.
    """
    if payload.parameter("channels", "1") != "1":
        raise CaptureError(f"{payload.name} with several channels is not supported")
    layout = _AmrLayout(payload)
    return layout.octet_aligned if layout.is_octet_aligned else layout.bandwidth_efficient


class _AmrLayout:
    """The payload format that one set of SDP parameters describes."""

    def __init__(self, payload: Payload) -> None:
        wide = payload.name == "AMR-WB"
        self._bits = _AMR_WB_BITS if wide else _AMR_BITS
        self._speech_types = range(9 if wide else 8)
        self._ticks = payload.clock // 50
        self._interleaved = payload.parameter("interleaving") != ""
        self._has_crc = payload.parameter("crc") == "1"
        self._sorted = payload.parameter("robust-sorting") == "1"
        # each of the three can only be had octet-aligned, whether it is said or not
        self.is_octet_aligned = (
            payload.parameter("octet-align") == "1" or self._interleaved or self._has_crc or self._sorted
        )

    def octet_aligned(self, data: bytes) -> list[Frame]:
        """RFC 4867 section 4.4."""
        at, step = 1, 1
        if self._interleaved:
            step = (data[1] >> 4) + 1 if len(data) > 1 else 1
            at = 2
        contents = []
        more = True
        while more and at < len(data):
            contents.append(data[at] & 0x7C)
            more = bool(data[at] & 0x80)
            at += 1
        sizes = [(self._bits.get(entry >> 3, -8) + 7) // 8 for entry in contents]
        if more or -1 in sizes:
            return []
        if self._has_crc:
            at += sum(size > 0 for size in sizes)
        bodies = _robustly_sorted(data[at:], sizes) if self._sorted else _one_after_another(data[at:], sizes)
        return self._speech(contents, bodies, step)

    def bandwidth_efficient(self, data: bytes) -> list[Frame]:
        """RFC 4867 section 4.3."""
        bits, left = int.from_bytes(data, "big"), len(data) * 8 - 4
        contents = []
        more = True
        while more and left >= 6:
            left -= 6
            entry = bits >> left & 0x3F
            contents.append((entry & 0x1F) << 2)
            more = bool(entry & 0x20)
        if more:
            return []
        bodies = []
        for entry in contents:
            size = self._bits.get(entry >> 3, -1)
            if size < 0 or size > left:
                break
            left -= size
            body = bits >> left & ((1 << size) - 1)
            bodies.append((body << (-size % 8)).to_bytes((size + 7) // 8, "big"))
        return self._speech(contents, bodies, 1)

    def _speech(self, contents: list[int], bodies: list[bytes], step: int) -> list[Frame]:
        # A frame's header in storage (section 5.3) is its entry of the table of contents without the F bit.
        return [
            (place * step * self._ticks, bytes((entry,)) + body)
            for place, (entry, body) in enumerate(zip(contents, bodies, strict=False))
            if entry >> 3 in self._speech_types and entry & 0x04
        ]


def _one_after_another(data: bytes, sizes: list[int]) -> list[bytes]:
    """As many frames as are there in full."""
    bodies, at = [], 0
    for size in sizes:
        if at + size > len(data):
            break
        bodies.append(data[at : at + size])
        at += size
    return bodies


def _robustly_sorted(data: bytes, sizes: list[int]) -> list[bytes]:
    """First every frame's first octet, then every frame's second one and so on (section 4.4.3)."""
    if sum(sizes) > len(data):
        return []
    bodies = [bytearray() for _ in sizes]
    octets = iter(data)
    for place in range(max(sizes, default=0)):
        for body, size in zip(bodies, sizes, strict=True):
            if place < size:
                body.append(next(octets))
    return [bytes(body) for body in bodies]
