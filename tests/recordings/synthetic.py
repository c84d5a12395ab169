"""Captures as rtpengine writes them, made by hand: real time takes too long, and loss must be exact."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack

from tests.recordings.audio import CODECS, payloads

#: rtpengine's ports: A sends to the first, B to the second
PORT_A, PORT_B = 30012, 30000
START_US = 1_795_435_783_000_000


def rtp(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool = False
) -> bytes:
    """RFC 3550 section 5.1."""
    second = payload_type | (0x80 if marker else 0)
    return pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


@dataclass(frozen=True)
class Packet:
    """One that arrived: when (s after the INVITE), at which port, and its UDP payload."""

    at: float
    port: int
    data: bytes


def talk(
    name: str,
    hz: int,
    port: int,
    start: float,
    seconds: float,
    *,
    ssrc: int = 0x1234,
    sequence: int = 65_500,
    timestamp: int = 0xFFFF_F000,
) -> list[Packet]:
    """Somebody talks a tone, a packet every 20 ms; sequence and timestamp wrap soon."""
    codec = CODECS[name]
    step = codec.clock // 50
    return [
        Packet(
            start + 0.02 * place,
            port,
            rtp(codec.payload_type, sequence + place, timestamp + place * step, ssrc, payload, place == 0),
        )
        for place, payload in enumerate(payloads(name, hz, round(seconds * 50)))
    ]


def ethernet(packet: Packet) -> bytes:
    """The frame that rtpengine makes up around what arrived: IPv4, no checksums."""
    udp = pack("!HHHH", 40000, packet.port, 8 + len(packet.data), 0) + packet.data
    ip = pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\x0b", b"\x7f\0\0\x01")
    return bytes(12) + b"\x08\x00" + ip + udp


def pcap(packets: list[Packet]) -> bytes:
    """A pcap file with µs, little-endian, Ethernet; in the order given."""
    body = [pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for packet in packets:
        at, frame = START_US + round(packet.at * 1_000_000), ethernet(packet)
        body.append(pack("<IIII", at // 1_000_000, at % 1_000_000, len(frame), len(frame)) + frame)
    return b"".join(body)


def section(mode: str, port: int, codecs: list[str], *, label: str | None = None, since: int = 1) -> str:
    """What rtpengine writes for one SDP."""
    types = " ".join(str(CODECS[name].payload_type) for name in codecs)
    lines = "".join(CODECS[name].sdp_lines() for name in codecs)
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {types} 101\r\n{lines}"
        f"a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\na=rtcp:{port + 1}\r\n"
    )
    head = f"\nLabel: {label}" if label else ""
    return f"{head}\nTimestamp started ms: 1.5\nSDP mode: {mode}\nSDP before RTP packet: {since}\n\n{sdp}"


def simple(codecs: list[str], *, label: bool = True) -> list[str]:
    """Offer and answer of a plain call."""
    return [
        section("offer", PORT_B, codecs, label="a" if label else None),
        section("answer", PORT_A, codecs, label="b" if label else None),
    ]


@dataclass
class CaptureFolder:
    """A folder as rtpengine keeps it."""

    path: Path
    call_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        for name in ("pcaps", "metadata", "tmp"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def write(
        self,
        packets: list[Packet] | bytes,
        sections: list[str],
        *,
        complete: bool = True,
        stem: str = "57dd40420f1603a2",
    ) -> None:
        """One capture of the call; `packets` may be the bytes of the pcap themselves."""
        body = packets if isinstance(packets, bytes) else pcap(packets)
        name = f"{self.call_id}-{stem}"
        (self.path / "pcaps" / f"{name}.pcap").write_bytes(body)
        text = f"{self.path}/pcaps/{name}.pcap\n\n" + "".join(sections)
        if complete:
            text += (
                "\nTimestamp terminated ms(first monologue): 1795435783276.544"
                "\n\ncall start time: 2026-11-23T12:09:43\ncall end time: 2026-11-23T12:09:43\n"
                f"\n\n{self.call_id}\n"
            )
        place = self.path / ("metadata" if complete else "tmp")
        (place / f"rtpengine-meta-{name}.{'txt' if complete else 'tmp'}").write_text(text, newline="")

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]
