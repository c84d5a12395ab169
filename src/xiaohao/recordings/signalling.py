"""What rtpengine's metadata tells of a call: which side sends to which port, and what its payload types mean.

The file holds, for each offer and answer, the SDP that rtpengine gave out: the audio port in it is where
the receiver of that SDP will send its RTP, with the payload types listed there. A section looks like

    Label: a                          the side whose SDP it was: label=a or label=b of the ng command
    Timestamp started ms: …
    SDP mode: offer
    SDP before RTP packet: 17         it holds from the 17th packet of the pcap on

and then the SDP. Where commands carry no label, the first offer is the caller's, and after that each
port already known tells the direction of its section.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xiaohao.recordings.model import OF_IPV6, CaptureError, Payload, Side

_SECTION: Final = re.compile(
    r"(?:\nLabel: (?P<label>[^\n]*))?\nTimestamp started ms: [^\n]*\nSDP mode: (?P<mode>\w+)\n"
    r"SDP before RTP packet: (?P<packet>\d+)\n\n(?P<sdp>v=0.*?)(?=\n(?:Label: |Timestamp )|\Z)",
    re.DOTALL,
)
_AUDIO: Final = re.compile(r"m=audio (\d{1,5}) \S+ ([^\n]*)\n")
_ADDRESS: Final = re.compile(r"^c=IN IP([46]) ", re.MULTILINE)
_RTPMAP: Final = re.compile(r"rtpmap:(\d+) ([^/\s]+)/(\d+)")
_FMTP: Final = re.compile(r"fmtp:(\d+) (.*)")

#: RFC 3551 table 4, what of it occurs in telephony; they need no a=rtpmap
STATIC_PAYLOADS: Final = {
    0: Payload("PCMU", 8000),
    3: Payload("GSM", 8000),
    4: Payload("G723", 8000),
    8: Payload("PCMA", 8000),
    9: Payload("G722", 8000),
    13: Payload("CN", 8000),
    15: Payload("G728", 8000),
    18: Payload("G729", 8000),
    19: Payload("CN", 8000),
}


@dataclass(frozen=True)
class Section:
    """One SDP that was given out: since which packet it holds, to which port its receiver sends what.

    IPv6 ports count from OF_IPV6 on.
    """

    label: str | None
    is_answer: bool
    since: int
    port: int
    payloads: dict[int, Payload]


@dataclass(frozen=True)
class Signalling:
    """Whose packets arrive at which port, and every meaning a payload type had there, oldest first."""

    sides: dict[int, Side]
    sections: list[Section]

    def payload(self, port: int, packet: int, payload_type: int) -> Payload | None:
        """The meaning of a payload type in packet number `packet` at `port`; None where nothing tells it."""
        here = [section for section in self.sections if section.port == port]
        before = [section for section in here if section.since <= packet]
        # A phone that answers with numbers of its own uses those of the other direction's SDP.
        for section in (*reversed(before), *here, *reversed(self.sections)):
            if payload_type in section.payloads:
                return section.payloads[payload_type]
        return STATIC_PAYLOADS.get(payload_type)

    def changes(self, port: int) -> list[int]:
        """Packet numbers at which a new SDP begins to hold for a port."""
        return sorted({section.since for section in self.sections if section.port == port})


def read(path: Path) -> Signalling:
    """Read a metadata file, finished or not. Raises CaptureError (a port belongs to both sides), OSError."""
    return parse(path.read_text(encoding="utf-8", errors="replace"))


def parse(text: str) -> Signalling:
    """The same from text."""
    sections = list(_sections(text))
    return Signalling(_sides(sections), sections)


def _sections(text: str) -> Iterator[Section]:
    for found in _SECTION.finditer(text):
        for port, payloads in _audio(found["sdp"]):
            yield Section(found["label"], found["mode"] == "answer", int(found["packet"]), port, payloads)


def _audio(sdp: str) -> Iterator[tuple[int, dict[int, Payload]]]:
    """Port and payload types of each audio stream (RFC 4566) that is not rejected."""
    session, *described = re.split(r"(?m)^(?=m=)", sdp)
    for media in described:
        found = _AUDIO.match(media)
        if not found or int(found[1]) == 0:
            continue
        port, types = found[1], found[2].split()
        attributes = [line[2:] for line in media.splitlines() if line.startswith("a=")]
        parameters = {
            int(found[1]): _parameters(found[2]) for line in attributes if (found := _FMTP.match(line))
        }
        payloads = {
            number: STATIC_PAYLOADS[number]
            for number in map(int, filter(str.isdigit, types))
            if number in STATIC_PAYLOADS
        }
        for line in attributes:
            if found := _RTPMAP.match(line):
                number = int(found[1])
                payloads[number] = Payload(found[2].upper(), int(found[3]), parameters.get(number, ()))
        # a media description's own address comes before that of the session (RFC 4566 section 5.7)
        address = _ADDRESS.search(media) or _ADDRESS.search(session)
        yield int(port) + (OF_IPV6 if address and address[1] == "6" else 0), payloads


def _parameters(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return tuple((name.strip().lower(), value.strip()) for name, _, value in pairs if name)


def _sides(sections: list[Section]) -> dict[int, Side]:
    sides: dict[int, Side] = {}
    for place, section in enumerate(sections):
        side = _side(sections, place, sides)
        if sides.setdefault(section.port, side) is not side:
            raise CaptureError("the capture's metadata gives one port to both sides")
    return sides


def _side(sections: list[Section], place: int, sides: dict[int, Side]) -> Side:
    """Who sends to the port of a section: whoever received its SDP."""
    section = sections[place]
    if section.label in ("a", "b"):
        return Side.B if section.label == "a" else Side.A
    if section.port in sides:
        return sides[section.port]
    if section.is_answer and place > 0 and not sections[place - 1].is_answer:
        return sides[sections[place - 1].port].other
    following = sections[place + 1 :]
    if not section.is_answer and following and following[0].is_answer and following[0].port in sides:
        return sides[following[0].port].other
    return Side.A if section.is_answer else Side.B
