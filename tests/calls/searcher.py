"""Looks for what must not be learnt, however it may be written, in everything that reached a phone."""

import base64
import hashlib
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.wire import Logged, place

Call = OutgoingCall | IncomingCall

_TAG = re.compile(rb"^(?:From|To)[^\r\n]*;tag=([^;\s]+)", re.MULTILINE)
_BRANCH = re.compile(rb"\A[A-Z]+ sip:[^\r\n]*\r\nVia:[^\r\n]*;branch=z9hG4bK([^;\s]+)")
_AGENT = re.compile(rb"^(?:User-Agent|Server): ([^\r\n]+)", re.MULTILINE)
_ORIGIN = re.compile(rb"^o=\S+ (\d+) ", re.MULTILINE)
_CALL_ID = re.compile(rb"^Call-ID: (\S+)", re.MULTILINE)
#: what a phone writes and nobody else needs to know
_MARKS = {"call-id": _CALL_ID, "branch": _BRANCH, "agent": _AGENT, "session id": _ORIGIN}
#: what may stand between the digits of a number (RFC 3966 section 5.1.1)
_SEPARATORS = re.compile(rb"(?<=[0-9a-f])[\s().\-]+(?=[0-9a-f])")
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class Finding:
    """A secret that was found: which one, how it was written, and where."""

    secret: str
    writing: str
    where: str


@dataclass
class Secrets:
    """What one side of a call must not learn of the other: labels and texts."""

    texts: dict[str, bytes] = field(default_factory=dict)
    #: searched in signalling only: they are too short to be looked for in audio
    short: dict[str, bytes] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)

    def add(self, label: str, text: bytes) -> None:
        self.texts[f"{label} {len(self.texts)}"] = text

    @property
    def spellings(self) -> dict[str, bytes]:
        """Every text to be looked for, under its name."""
        found = dict(self.texts)
        for number in self.numbers:
            for name, text in spellings(number).items():
                found[f"number, {name}"] = text.encode()
        return found


def spellings(number: str) -> dict[str, str]:
    """The ways to write a canonical number (+86…) in plain digits."""
    digits = number.removeprefix("+")
    national = digits.removeprefix("86")
    return {
        "e164": number,
        "digits": digits,
        "00": f"00{digits}",
        "zero": f"0{national}",
        "national": national,
        "without leading digits": national[-8:],
        "backwards": national[::-1],
        "nibbles swapped": _swapped(digits),
    }


def _swapped(digits: str) -> str:
    # TBCD, the way of ISUP and MAP (3GPP TS 29.002)
    padded = digits + "f" * (len(digits) % 2)
    return "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))


def writings(text: bytes) -> dict[str, list[bytes]]:
    """The reversible encodings of a text, and its plain hashes: trying all numbers reverses those."""
    found = {
        "plain": [text],
        "hex": [text.hex().encode()],
        "base64": list(_base64s(text)),
        "url-escaped": [b"".join(b"%%%02x" % byte for byte in text)],
    }
    for name in ("md5", "sha1", "sha256"):
        found[name] = [hashlib.new(name, text, usedforsecurity=False).hexdigest().encode()]
    digits = text.removeprefix(b"+")
    if digits.isdigit() and len(digits) >= 10:
        value = int(digits)
        found["number in hex"] = [b"%x" % value]
        found["number in binary"] = [value.to_bytes(8, "big"), value.to_bytes(8, "little")]
        found["digits packed"] = [bytes.fromhex(digits.decode() + "f" * (len(digits) % 2))]
    return found


def _base64s(text: bytes) -> Iterator[bytes]:
    """What every base64 text with this one somewhere inside must hold, for the three alignments."""
    for before in range(3):
        coded = base64.b64encode(bytes(before) + text)
        # the first characters depend on what stands before, the last on what stands behind
        first = (before * 8 + 5) // 6
        whole = coded[first : (before + len(text)) * 8 // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))


def search(data: bytes, secrets: Secrets, where: str, *, short: bool = True) -> list[Finding]:
    """Every secret in these bytes."""
    escaped = data
    while _ESCAPED.search(escaped):
        plain = urllib.parse.unquote_to_bytes(escaped)
        if plain == escaped:
            break
        escaped = plain
    folded = [data, data.lower(), escaped, escaped.lower(), _SEPARATORS.sub(b"", escaped)]
    found = []
    wanted = secrets.spellings | (secrets.short if short else {})
    for label, text in wanted.items():
        for writing, codings in writings(text).items():
            candidates = [coding for coding in codings if coding]
            if writing != "base64":
                candidates += [coding.lower() for coding in candidates]
            if any(coding in view for coding in candidates for view in folded):
                found.append(Finding(label, writing, where))
    return found


def secrets_of(calls: Iterable[Call], platform: str = "") -> Secrets:
    """What these calls' phones said of themselves, read from what they sent.

    An address that is also the platform's own, `platform`, is no secret; its ports are.
    """
    secrets = Secrets()
    for call in calls:
        secrets.numbers.append(call.phone.number)
        secrets.add("name", call.identity.name.encode())
        secrets.add("name", call.identity.name.replace(" ", "").encode())
        host, port = call.carrier.address
        secrets.add("host and port", place((host, port)).encode())
        secrets.add("product", call.carrier.product.encode())
        if host != platform:
            secrets.add("host", host.encode())
            secrets.short[f"host in binary {host}"] = ip_address(host).packed
        written = [logged.raw for logged in call.messages if logged.direction == "out"]
        for label, pattern in _MARKS.items():
            for text in {text for raw in written for text in pattern.findall(raw)}:
                secrets.add(label, text)
        for text in _tags_of(call):
            secrets.add("tag", text)
    return secrets


def _tags_of(call: Call) -> set[bytes]:
    return {ours.encode() for ours, _ in call.dialogs} or {
        tag for logged in call.messages if logged.direction == "out" for tag in _TAG.findall(logged.raw)
    }


def received(calls: Iterable[Call]) -> list[Logged]:
    """Every SIP message that reached these calls' phones."""
    return [logged for call in calls for logged in call.messages if logged.direction in ("in", "lost")]


def leaks(hearers: Iterable[Call], secrets: Secrets) -> list[Finding]:
    """Everything of `secrets` that reached these calls' phones: in SIP, SDP, RTP and RTCP."""
    hearers = list(hearers)
    found = []
    for logged in received(hearers):
        line = logged.raw.split(b"\r\n", 1)[0].decode("utf-8", "replace")
        found += search(logged.raw, secrets, line)
    for call in hearers:
        for packet in call.rtcp_packets_raw:
            found += search(packet, secrets, f"RTCP {packet[1]}")
        for packet in call.rtp_packets_raw:
            found += search(packet, secrets, "RTP", short=False)
            found += search(packet[: _header_length(packet)], secrets, "RTP header")
    return found


def _header_length(packet: bytes) -> int:
    length = 12 + (packet[0] & 0x0F) * 4
    if packet[0] & 0x10:
        length += 4 + int.from_bytes(packet[length + 2 : length + 4], "big") * 4
    return length
