"""A phone's side of offer and answer (RFC 3264, RFC 4566)."""

import random
from dataclasses import dataclass
from typing import Final, Literal

from aiosipua.sdp import parse_sdp

from xiaohao.simulator.codecs import CODECS, Codec
from xiaohao.simulator.rtp import RtpSession
from xiaohao.simulator.wire import Hop

MediaDirection = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

_EVENTS: Final = "TELEPHONE-EVENT"
_EVENT_TYPE: Final = 101
_SENDS: Final = ("sendrecv", "sendonly")
_RECEIVES: Final = ("sendrecv", "recvonly")


class SdpError(Exception):
    """A session description cannot be read, or shares no codec with the phone."""


@dataclass(frozen=True)
class AudioStream:
    """The audio of a session description: where it wants its packets, and its payload types in order."""

    rtp: Hop
    rtcp: Hop
    formats: dict[int, str]
    direction: MediaDirection
    #: the m= lines of other media, which the phone refuses
    others: tuple[str, ...] = ()
    audio_first: bool = True


def read_sdp(body: bytes) -> AudioStream:
    """Read a session description. Raises SdpError where it has no usable audio."""
    try:
        sdp = parse_sdp(body.decode("utf-8", "replace"))
    except (ValueError, IndexError) as error:
        raise SdpError("the session description is damaged") from error
    audio = sdp.audio
    address = sdp.rtp_address
    if audio is None or address is None:
        raise SdpError("the session description has no audio")
    direction: MediaDirection = "sendrecv"
    for attributes in (sdp.attributes, audio.attributes):
        for each in ("sendrecv", "sendonly", "recvonly", "inactive"):
            if each in attributes:
                direction = each
    rtcp_port = (audio.attributes.get("rtcp") or [str(audio.port + 1)])[0].split()[0]
    return AudioStream(
        rtp=address,
        rtcp=(address[0], int(rtcp_port)),
        formats={codec.payload_type: codec.encoding_name.upper() for codec in audio.codecs},
        direction=direction,
        others=tuple(f"m={m.media} 0 {m.proto} {' '.join(m.formats)}" for m in sdp.media if m is not audio),
        audio_first=sdp.media[0] is audio,
    )


def mirrored(theirs: MediaDirection, wish: MediaDirection) -> MediaDirection:
    """The direction to answer with: what we wish, as far as the offer leaves room (RFC 3264 §6.1)."""
    sends = wish in _SENDS and theirs in _RECEIVES
    receives = wish in _RECEIVES and theirs in _SENDS
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


class Negotiation:
    """Offers and answers of one call, applied to its `RtpSession`.

    `wish` is the direction that the user wants: sendonly while this phone holds the other. `leak_lines` are
    SDP lines, each ("s", "i", "u", "e", "p" or "a", value), that a leaky phone adds.
    """

    def __init__(
        self,
        media: RtpSession,
        host: str,
        codecs: tuple[str, ...],
        leak_lines: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.wish: MediaDirection = "sendrecv"
        self.agreed: MediaDirection | None = None
        self.remote: AudioStream | None = None
        self._media, self._leak_lines = media, leak_lines
        self._address = f"IP{6 if ':' in host else 4} {host}"
        self._codecs = [CODECS[name] for name in codecs]
        self._session = random.getrandbits(31)
        self._version = 0
        self._last = ""
        self._formats: dict[int, str] = {}

    def offer(self) -> bytes:
        """A new offer with all our codecs."""
        formats = {codec.payload_type: codec.name.upper() for codec in self._codecs}
        formats[_EVENT_TYPE] = _EVENTS
        self._formats = formats
        self._media.ear.formats.update(formats)
        return self._write(formats, self.wish, None)

    def answer(self, offer: bytes) -> bytes:
        """Answer an offer and act on it. Raises SdpError where no codec is shared."""
        remote = read_sdp(offer)
        known = {codec.name.upper() for codec in self._codecs}
        shared = {pt: name for pt, name in remote.formats.items() if name in known or name == _EVENTS}
        if not any(name in known for name in shared.values()):
            raise SdpError("no shared codec")
        self._formats = shared
        self._media.ear.formats.update(shared)
        direction = mirrored(remote.direction, self.wish)
        self._apply(remote, direction)
        return self._write(shared, direction, remote)

    def take_answer(self, answer: bytes) -> None:
        """Act on the answer to our offer. Raises SdpError where it is none."""
        remote = read_sdp(answer)
        self._apply(remote, mirrored(remote.direction, self.wish))

    def _apply(self, remote: AudioStream, direction: MediaDirection) -> None:
        self.remote, self.agreed = remote, direction
        chosen = self._choose(remote)
        if chosen is None:
            raise SdpError("no shared codec")
        payload_type, codec = chosen
        events = next((pt for pt, name in remote.formats.items() if name == _EVENTS), None)
        on = direction in _SENDS and remote.rtp[1] != 0 and remote.rtp[0] not in ("0.0.0.0", "::")
        self._media.aim(
            remote.rtp, remote.rtcp, codec=codec, payload_type=payload_type, event_type=events, sending=on
        )

    def _choose(self, remote: AudioStream) -> tuple[int, Codec] | None:
        """Their most wanted payload type that we offered or answered too."""
        for payload_type, name in remote.formats.items():
            if name in CODECS and name in self._formats.values():
                return payload_type, CODECS[name]
        return None

    def _write(
        self, formats: dict[int, str], direction: MediaDirection, answered: AudioStream | None
    ) -> bytes:
        text = self._compose(formats, direction, answered)
        if text != self._last:
            self._version += 1
            self._last = text
        return text.replace("VERSION", str(self._version), 1).encode()

    def _compose(
        self, formats: dict[int, str], direction: MediaDirection, answered: AudioStream | None
    ) -> str:
        leaks = self._leak_lines
        names = [value for kind, value in leaks if kind == "s"] or ["-"]
        lines = ["v=0", f"o=- {self._session} VERSION IN {self._address}", f"s={names[0]}"]
        # RFC 4566 §5 fixes the order: i, u, e, p before c
        lines += [f"{kind}={value}" for wanted in "iuep" for kind, value in leaks if kind == wanted]
        lines += [f"c=IN {self._address}", "t=0 0"]
        lines += [f"a={value}" for kind, value in leaks if kind == "a"]
        audio = [f"m=audio {self._media.port} RTP/AVP {' '.join(map(str, formats))}"]
        audio += [f"i={value}" for kind, value in leaks if kind == "i"]
        for payload_type, name in formats.items():
            codec = CODECS.get(name)
            audio.append(f"a=rtpmap:{payload_type} {codec.rtpmap if codec else 'telephone-event/8000'}")
            if codec is None:
                audio.append(f"a=fmtp:{payload_type} 0-15")
            elif codec.fmtp:
                audio.append(f"a=fmtp:{payload_type} {codec.fmtp}")
        audio += [f"a=rtcp:{self._media.port + 1}", "a=ptime:20", f"a={direction}"]
        audio += [f"a={value}" for kind, value in leaks if kind == "a"]
        others = list(answered.others) if answered else []
        lines += audio + others if answered is None or answered.audio_first else others + audio
        return "\r\n".join(lines) + "\r\n"
