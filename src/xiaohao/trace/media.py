"""What rtpengine knew of a call's media when it let the call go, and how good they will have sounded.

Packets are counted where they arrive. Loss, jitter and round-trip time are what each side reports of what it
hears (RTCP receiver reports, RFC 3550 section 6.4): a side that reports nothing leaves them unknown. The MOS
is an estimate by the E-model of ITU-T G.107 (06/2015), simplified as usual: all that cannot be known has its
default value, loss is taken for random (BurstR = 1), and delay enters by the approximation of Cole and
Rosenbluth (Voice over IP performance monitoring, 2001).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from xiaohao.edge.ng import NgError, decode

#: G.107 clause 7.7: R of a connection where everything has its default value
_R0: Final = 93.2
#: a codec's Ie and Bpl at random loss: ITU-T G.113 (11/2007) appendix I; G.711 with loss concealment
_IMPAIRMENTS: Final[dict[str, tuple[float, float]]] = {
    "PCMA": (0, 25.1),
    "PCMU": (0, 25.1),
    "G729": (11, 19.0),
    "G723": (15, 16.1),
    "GSM-EFR": (5, 10.0),
    "AMR": (5, 10.0),
}
#: frame, look-ahead and a jitter buffer of two frames of 20 ms, none of which anybody tells us
_TERMINALS_MS: Final = 60.0
_CODEC: Final = re.compile(r"[A-Za-z0-9.-]{1,16}(/[0-9]{4,6}(/[0-9])?)?")


class SideMedia(msgspec.Struct, frozen=True):
    """One side's media. `packets`, `bytes` and `errors` are of the RTP that came from this side."""

    side: str
    codec: str | None
    packets: int
    bytes: int
    errors: int
    #: what this side said of what it heard, None where it said nothing: share of packets, ms, ms
    heard_loss_percent: float | None = None
    heard_jitter_ms: float | None = None
    round_trip_ms: float | None = None
    #: how many reports that is the average of
    reports: int = 0
    #: of what this side heard; None without a report, or for a codec that G.113 has no values of
    heard_mos: float | None = None


def facts_of(answer: bytes) -> list[SideMedia]:
    """Both sides' media, the caller's first, from rtpengine's answer to `delete`; [] where it tells none."""
    try:
        told = decode(answer) if answer else {}
        tags, reports = told.get("tags", {}), told.get("SSRC", {})
        return [_side(name, tags[name], reports) for name in ("a", "b") if name in tags]
    except (NgError, AttributeError, KeyError, TypeError, ValueError, IndexError):
        return []  # another version of rtpengine, which tells it in another way


def _side(name: str, tag: Mapping[str, Any], reports: Mapping[str, Any]) -> SideMedia:
    media = tag["medias"][0] if tag.get("medias") else {}
    streams = [stream for stream in media.get("streams", ()) if "RTCP" not in stream.get("flags", ())]
    stats = [stream["stats"] for stream in streams]
    codec = media.get("codec")
    codec = codec if isinstance(codec, str) and _CODEC.fullmatch(codec) else None
    side = SideMedia(
        side="caller" if name == "a" else "callee",
        codec=codec,
        packets=sum(int(each["packets"]) for each in stats),
        bytes=sum(int(each["bytes"]) for each in stats),
        errors=sum(int(each["errors"]) for each in stats),
    )
    said = [reports[key] for stream in streams if (key := str(stream.get("SSRC"))) in reports]
    average = next((block["average MOS"] for block in said if "average MOS" in block), None)
    if average is None or not int(average.get("samples", 0)):
        return side
    loss, jitter = float(average["packet loss"]), float(average["jitter"])
    # in µs; 0 where one of the two legs let nobody know
    round_trip = float(average["round-trip time"]) / 1000 or None
    return msgspec.structs.replace(
        side,
        heard_loss_percent=loss,
        heard_jitter_ms=jitter,
        round_trip_ms=round_trip,
        reports=int(average["samples"]),
        heard_mos=mos(codec, loss, (round_trip or 0) / 2 + 2 * jitter),
    )


def mos(codec: str | None, loss_percent: float, network_ms: float) -> float | None:
    """The mean opinion score to expect (1 to 4.4), to two digits; `network_ms` is the delay one way.

    None for a codec that G.113 has no values of, as those of wide band, which this scale does not fit.
    """
    values = _IMPAIRMENTS.get((codec or "").partition("/")[0].upper())
    if values is None:
        return None
    ie, robustness = values
    delay = network_ms + _TERMINALS_MS
    id_ = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0)
    ie_eff = ie + (95 - ie) * loss_percent / (loss_percent + robustness)
    r = _R0 - id_ - ie_eff
    if r <= 0:
        return 1.0
    # G.107 annex B
    return round(max(1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6, 1.0), 2)
