"""The session description of a far end that is not there (RFC 3264): rtpengine plays, and takes key presses.

All codecs of the offer are taken, since it is rtpengine that speaks them; a caller who is answered is held
to one, which the callee is offered later. What the caller sends goes to a port that nobody listens at
(RFC 863's, on loopback, with IPv6 where the offer has it).
"""

import base64
import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from xiaohao.edge.wire import BOTH_WAYS

_PORT: Final = 9
_OVER_IPV6: Final = re.compile(r"^c=IN IP6 ", re.MULTILINE)
_KEPT: Final = re.compile(r"a=(?:(rtpmap|fmtp):(\d+) |(?:ptime|maxptime):)", re.ASCII)
_CRYPTO: Final = re.compile(r"a=crypto:(\d+) (AES_CM_128_HMAC_SHA1_(?:80|32)) ", re.ASCII)
_DIRECTION: Final = re.compile(r"a=(sendrecv|sendonly|recvonly|inactive)$", re.ASCII)
_MIRRORED: Final = {"sendonly": "recvonly", "recvonly": "sendonly"}
#: RFC 4568 section 6.2: key and salt of the suites above
_KEY_BYTES: Final = 30


#: what every telephone network speaks
_LIKED: Final = ("PCMA", "PCMU")
#: no speech (RFC 4733, RFC 3389)
_BESIDE: Final = ("TELEPHONE-EVENT", "CN")
#: payload types that need no rtpmap (RFC 3551 section 6)
_STATIC: Final = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000", "3": "GSM/8000"}


def codec_for(offer: str) -> str | None:
    """The name of the one codec that an answered caller is held to; None where there is none.

    Nor is there one with SRTP: with it the caller's keys would have to stay the same when the callee comes.
    """
    audio = next((media for media in _media(offer) if media.is_audio), None)
    if audio is None or "SAVP" in audio.protocol:
        return None
    attributes = audio.attributes
    names = [name for kind in audio.formats.split() if (name := _codec(kind, attributes).partition("/")[0])]
    speech = [name for name in names if name.upper() not in _BESIDE]
    liked = [name for want in _LIKED for name in speech if name.upper() == want]
    return next(iter([*liked, *speech]), None)


class _Media(NamedTuple):
    """A media description: the parts of its m= line, and the lines behind that."""

    kind: str
    port: str
    protocol: str
    formats: str
    attributes: list[str]

    @property
    def is_audio(self) -> bool:
        """Whether it is audio, and wanted."""
        return self.kind == "audio" and self.port.partition("/")[0] != "0"


def _media(offer: str) -> Iterator[_Media]:
    lines = offer.replace("\r", "").split("\n")
    starts = [place for place, line in enumerate(lines) if line.startswith("m=")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        kind, port, protocol, formats = (lines[start][2:].split(" ", 3) + [""] * 3)[:4]
        yield _Media(kind, port, protocol, formats, lines[start + 1 : end])


def _codec(kind: str, attributes: list[str]) -> str:
    """`PCMA/8000` for a payload type; "" where the description does not say."""
    mapped = [line.partition(" ")[2] for line in attributes if line.startswith(f"a=rtpmap:{kind} ")]
    return mapped[0].strip() if mapped else _STATIC.get(kind, "")


def _only(codec: str, formats: str, attributes: list[str]) -> str:
    """Of these payload types the first of this codec, and key presses at its clock rate."""
    named = [(kind, *f"{_codec(kind, attributes).upper()}/".split("/")[:2]) for kind in formats.split()]
    chosen = next(((kind, rate) for kind, name, rate in named if name == codec.upper()), None)
    if chosen is None:
        return ""
    keys = [kind for kind, name, rate in named if (name, rate) == ("TELEPHONE-EVENT", chosen[1])]
    return " ".join([chosen[0], *keys[:1]])


def answer_to(offer: str, codec: str | None = None) -> str | None:
    """The answer, with only this codec if one is named; None where the offer has no audio for us."""
    address = "IN IP6 ::1" if _OVER_IPV6.search(offer) else "IN IP4 127.0.0.1"
    answer = ["v=0", f"o=- 1 1 {address}", "s=-", f"c={address}", "t=0 0"]
    taken = False
    for media in _media(offer):
        audio = None
        if media.is_audio and not taken:
            formats, attributes = media.formats, media.attributes
            kept = formats if codec is None else _only(codec, formats, attributes)
            audio = _audio(media.protocol, kept, attributes) if kept else None
        taken = taken or audio is not None
        if audio is not None and audio[-1] == "a=sendrecv":
            answer[2], audio[-1] = f"s={BOTH_WAYS}", "a=sendonly"
        answer += audio or [f"m={media.kind} 0 {media.protocol} {media.formats}"]
    return "\r\n".join(answer) + "\r\n" if taken else None


def _audio(protocol: str, formats: str, attributes: list[str]) -> list[str] | None:
    answer = [f"m=audio {_PORT} {protocol} {formats}"]
    direction, crypto, taken = "sendrecv", None, formats.split()
    for line in attributes:
        if kept := _KEPT.match(line):
            if kept[2] is None or kept[2] in taken:
                answer.append(line)
        elif found := _DIRECTION.match(line):
            direction = _MIRRORED.get(found[1], found[1])
        elif crypto is None:
            crypto = _CRYPTO.match(line)
    if "SAVP" in protocol:
        if crypto is None:
            return None
        key = base64.b64encode(os.urandom(_KEY_BYTES)).decode()
        answer.append(f"a=crypto:{crypto[1]} {crypto[2]} inline:{key}")
    return [*answer, f"a={direction}"]
