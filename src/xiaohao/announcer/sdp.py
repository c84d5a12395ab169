"""The session description of a far end that is not there (RFC 3264): rtpengine plays, and takes key presses.

All codecs of the offer are taken, since it is rtpengine that speaks them. What the caller sends goes to a
port that nobody listens at (RFC 863's, on loopback).
"""

import base64
import os
import re
from typing import Final

_PORT: Final = 9
_KEPT: Final = re.compile(r"a=(rtpmap|fmtp|ptime|maxptime):", re.ASCII)
_CRYPTO: Final = re.compile(r"a=crypto:(\d+) (AES_CM_128_HMAC_SHA1_(?:80|32)) ", re.ASCII)
_DIRECTION: Final = re.compile(r"a=(sendrecv|sendonly|recvonly|inactive)$", re.ASCII)
_MIRRORED: Final = {"sendonly": "recvonly", "recvonly": "sendonly"}
#: RFC 4568 section 6.2: key and salt of the suites above
_KEY_BYTES: Final = 30


def answer_to(offer: str) -> str | None:
    """The answer; None where the offer has no audio that we could take."""
    lines = offer.replace("\r", "").split("\n")
    starts = [place for place, line in enumerate(lines) if line.startswith("m=")]
    answer = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    taken = False
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        kind, port, protocol, formats = (lines[start][2:].split(" ", 3) + [""] * 3)[:4]
        audio = None
        if kind == "audio" and port.partition("/")[0] != "0" and not taken:
            audio = _audio(protocol, formats, lines[start + 1 : end])
        taken = taken or audio is not None
        answer += audio or [f"m={kind} 0 {protocol} {formats}"]
    return "\r\n".join(answer) + "\r\n" if taken else None


def _audio(protocol: str, formats: str, attributes: list[str]) -> list[str] | None:
    answer = [f"m=audio {_PORT} {protocol} {formats}"]
    direction, crypto = "sendrecv", None
    for line in attributes:
        if _KEPT.match(line):
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
