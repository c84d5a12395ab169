"""What an answered caller is told of codecs, and the INVITE with which the announcer calls their callee."""

import asyncio

import pytest
from aiosipua.message import SipMessage, SipResponse

from xiaohao.announcer.onward import Onward, Said
from xiaohao.announcer.sdp import answer_to, codec_for

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


SEVERAL = (
    "m=audio 4000 RTP/AVP 96 97 98 99\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 AMR/8000\r\n"
    "a=rtpmap:98 telephone-event/8000\r\na=rtpmap:99 telephone-event/48000\r\n"
)
BEHIND_VIDEO = (
    "m=video 4002 RTP/AVP 34\r\nm=audio 4000 RTP/AVP 13 101 97\r\na=rtpmap:97 AMR/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:97 octet-align=1\r\na=fmtp:101 0-15\r\n"
)


@pytest.mark.parametrize(
    ("media", "codec", "formats"),
    [
        ("m=audio 4000 RTP/AVP 0 8 18\r\n", "PCMA", "8"),
        ("m=audio 4000 RTP/AVP 18 0\r\n", "PCMU", "0"),
        (SEVERAL, "opus", "96 99"),
        (BEHIND_VIDEO, "AMR", "97 101"),
    ],
)
async def test_one_codec_is_chosen(media: str, codec: str, formats: str) -> None:
    """G.711 where it is offered, else the caller's first; keys at its clock rate; no lines of others."""
    assert codec_for(HEAD + media) == codec
    answer = answer_to(HEAD + media, codec)
    assert answer is not None
    lines = answer.split("\r\n")
    assert f"m=audio 9 RTP/AVP {formats}" in lines
    told = {
        line.partition(":")[2].partition(" ")[0] for line in lines if line.startswith(("a=rtpmap", "a=fmtp"))
    }
    assert told <= set(formats.split())


@pytest.mark.parametrize(
    "media",
    [
        "m=audio 0 RTP/AVP 8\r\n",
        "m=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n",
        "m=audio 4000 RTP/AVP 13 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        "m=audio 4000 RTP/AVP 120\r\n",
        "m=video 4000 RTP/AVP 34\r\n",
    ],
)
async def test_nobody_is_answered_who_has_no_codec(media: str) -> None:
    """No audio, SRTP, nothing but keys and noise, or a codec without a name."""
    assert codec_for(HEAD + media) is None


class _Wire:
    """The way to the edge: keeps what is sent."""

    address = "127.0.0.1:5099"

    def __init__(self) -> None:
        self.sent: list[SipMessage] = []

    def send(self, data: bytes) -> None:
        self.sent.append(SipMessage.parse(data))


def _response(wire: _Wire, code: int, *headers: str, body: str = "") -> SipResponse:
    [invite] = wire.sent[:1]
    same = [f"{name}: {invite.headers.get_first(name)}" for name in ("via", "from", "call-id", "cseq")]
    lines = [f"SIP/2.0 {code} So", *same, f"To: {invite.headers.get_first('to')};tag=t", *headers]
    parsed = SipMessage.parse("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode())
    assert isinstance(parsed, SipResponse)
    return parsed


async def test_the_callee_is_called() -> None:
    """Each word of the edge is told once; a refusal is acknowledged as often as it comes."""
    wire, over = _Wire(), asyncio.Event()
    onward = Onward("0192-call", "7", "PCMA", "C|1|2|…", wire)
    onward.start(over.set)
    await asyncio.sleep(0.6)  # T1 is over: sent again
    assert [one.method for one in wire.sent] == ["INVITE", "INVITE"]  # type: ignore[attr-defined]
    headers = wire.sent[0].headers
    assert [headers.get_first(name) for name in ("call-id", "cseq", "x-codec")] == [
        "0192-call",
        "7 INVITE",
        "PCMA",
    ]
    for response in (
        _response(wire, 100),
        _response(wire, 183, body="v=0"),
        _response(wire, 486, "Reason: Q.850;cause=17"),
        _response(wire, 486, "Reason: Q.850;cause=17"),
    ):
        onward.received(response)
    assert [await onward.said(), await onward.said()] == [Said(183, None, True), Said(486, 17, False)]
    acks = wire.sent[2:]
    assert [one.headers.get_first("cseq") for one in acks] == ["7 ACK", "7 ACK"]
    assert {one.headers.get_first("via") for one in wire.sent} == {headers.get_first("via")}
    assert not over.is_set()
    onward.close()
    assert over.is_set()
