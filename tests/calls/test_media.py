"""What passes of session descriptions, RTP and RTCP, and what does not: byte by byte at both ends."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .bare import Exchange, Line, body, exchange, header, sdp
from .conftest import Theatre
from .searcher import Secrets, search

MARK = "+8613572468019 of Geheimrat at 192.0.2.77"
MARKS = Secrets({"name": b"Geheimrat", "host": b"192.0.2.77"}, numbers=["+8613572468019"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bare(theatre: Theatre) -> AsyncIterator[Exchange]:
    theatre.numbers |= set(MARKS.numbers)
    async with exchange(theatre, "127.0.0.25", "127.0.0.26") as opened:
        yield opened


def lines_of(message: str) -> list[str]:
    """The lines of an SDP body, after a check of its form and of what it must not hold."""
    text = body(message)
    assert search(text.encode(), MARKS, "sdp") == []
    assert "\n" not in text.replace("\r\n", "")
    assert len(text) == int(header(message, "Content-Length"))
    return text.split("\r\n")[:-1]


LEAKY_LINES = [
    *(
        f"i={MARK}",
        f"u=http://{MARK}",
        f"e={MARK}",
        f"p={MARK}",
        f"k=clear:{MARK}",
        f"z=0 {MARK}",
        f"r=7d {MARK}",
    ),
    *(f"x={MARK}", f"%a=sendonly {MARK}", f"%=a {MARK}", f"~{MARK}", MARK, f"b=X-ME:{MARK}", f"a={MARK}"),
    *(
        f"a=rtpmap:96 {MARK}/8000",
        f"a=rtpmap:97 opus/48000 {MARK}",
        f"a=fmtp:101 {MARK}",
        f"a=fmtp:101 0-15;{MARK}",
    ),
    *(
        f"a=candidate:1 1 UDP 2130706431 192.0.2.77 9 typ host {MARK}",
        f"a=ice-ufrag:{MARK}",
        f"a=ice-pwd:{MARK}",
    ),
    *(
        f"a=ssrc:1 cname:{MARK}",
        f"a=ssrc:1 msid:{MARK}",
        f"a=msid:{MARK}",
        f"a=mid:{MARK}",
        f"a=group:BUNDLE {MARK}",
    ),
    *(
        f"a=extmap:1 urn:{MARK}",
        f"a=fingerprint:sha-1 {MARK}",
        "a=rtcp:9 IN IP4 192.0.2.77",
        f"a=label:{MARK}",
    ),
    *(
        f"a=tool:{MARK}",
        f"a=sendrecv {MARK}",
        f"a=ptime:20 {MARK}",
        f"a=setup:{MARK}",
        f"a=crypto:1 {MARK} inline:x",
    ),
]


async def test_lines_that_tell_something_end_here(bare: Exchange) -> None:
    """Only lines that are understood pass, in offers and in answers; origin and name are nobody's."""
    line = await bare.line()
    telling = sdp(line.near.socket.host, 9000, *LEAKY_LINES).replace("s=-", f"s={MARK}")
    line.invite(content=telling.replace("o=- 7 7", "o=Geheimrat 13572468019 13572468019"))
    answer = sdp(line.far.socket.host, 9000, *LEAKY_LINES).replace("s=-", f"s={MARK}")
    invite, ok = await line.answered(content=answer.replace("o=- 7 7", "o=Geheimrat 13572468019 13572468019"))
    for message in (invite, ok):
        lines = lines_of(message)
        assert lines[1] == "o=- 1 1 IN IP4 127.0.0.1"
        assert lines[2] == "s=-"
        assert "c=IN IP4 127.0.0.1" in lines
        assert "a=rtpmap:8 PCMA/8000" in lines
        assert "a=fmtp:101 0-15" in lines
        assert {entry.partition(":")[0] for entry in lines if entry[0] == "a"} == {
            *("a=rtpmap", "a=fmtp", "a=rtcp", "a=sendrecv"),
        }
    await line.hang_up()


async def test_codecs_that_carriers_use_pass(bare: Exchange) -> None:
    """Codec parameters that mean something are kept (RFC 4867, 7587, 4733, 3GPP TS 26.445)."""
    kept = [
        *("a=rtpmap:18 G729/8000", "a=fmtp:18 annexb=no", "a=rtpmap:9 G722/8000", "a=rtpmap:96 AMR/8000"),
        *("a=fmtp:96 octet-align=1; mode-set=0,2,4,7;mode-change-capability=2", "a=rtpmap:97 opus/48000/2"),
        *(
            "a=fmtp:97 useinbandfec=1;maxaveragebitrate=24000",
            "a=rtpmap:98 EVS/16000",
            "a=fmtp:98 br=5.9-24.4;bw=nb-swb",
        ),
        *("a=rtpmap:99 AMR-WB/16000", "a=ptime:20", "a=maxptime:240"),
    ]
    line = await bare.line()
    line.invite(content=sdp(line.near.socket.host, 9000, *kept, audio="8 18 9 96 97 98 99 101"))
    invite, _ = await line.answered()
    arrived = lines_of(invite)
    assert [entry for entry in kept if entry not in arrived and not entry.startswith("a=maxptime")] == []
    assert any(entry.endswith("RTP/AVP 8 18 9 96 97 98 99 101") for entry in arrived)
    await line.hang_up()


async def test_other_media_keep_their_place_and_nothing_else(bare: Exchange) -> None:
    """Video, fax, messages and what nobody has heard of are refused, line for line (RFC 3264 section 6)."""
    others = [
        *("m=video 9002 RTP/AVP 97", f"i={MARK}", "a=rtpmap:97 H264/90000", f"a=fmtp:97 sprop={MARK}"),
        *("m=message 9004 TCP/MSRP *", "c=IN IP4 192.0.2.77", f"a=path:msrp://{MARK}"),
        *("m=image 9006 udptl t38", f"m=x{MARK} 9 a b"),
    ]
    line = await bare.line()
    line.invite(content=sdp(line.near.socket.host, 9000, *others))
    answer = sdp(line.far.socket.host, 9000, *(f"m={m} 0 RTP/AVP 0" for m in ("video", "x", "image", "x")))
    invite, ok = await line.answered(content=answer)
    for message in (invite, ok):
        media = [entry for entry in lines_of(message) if entry.startswith("m=")]
        assert len(media) == 5
        assert re.match(r"m=audio [1-9]\d+ ", media[0])
        assert [entry.split()[1] for entry in media[1:]] == ["0"] * 4
    await line.hang_up()


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
async def test_line_ends(bare: Exchange, ends: str) -> None:
    """Line feeds alone are borne and put right."""
    line = await bare.line()
    line.invite(content=sdp(line.near.socket.host, 9000, f"a=x:{MARK}").replace("\r\n", ends))
    invite, ok = await line.answered(
        content=sdp(line.far.socket.host, 9000, f"a=x:{MARK}").replace("\r\n", ends)
    )
    assert lines_of(invite)[0] == lines_of(ok)[0] == "v=0"
    await line.hang_up()


@pytest.mark.parametrize(
    "damaged",
    [
        sdp("127.0.0.25").replace("\r\n", "\r"),
        sdp("127.0.0.25").replace("c=IN IP4 127.0.0.25", f"c=IN IP4 {MARK}"),
        sdp("127.0.0.25").replace("m=audio", "m=video"),
        sdp("127.0.0.25", 9000, *("a=ptime:20" for _ in range(900))),
        f"nonsense {MARK}\r\n",
    ],
    ids=["carriage returns", "host name", "no audio", "too long", "nonsense"],
)
async def test_descriptions_that_cannot_be_used(bare: Exchange, damaged: str) -> None:
    """488 to whoever offers it; the call has one CDR, or none of it goes on."""
    line = await bare.line()
    line.invite(content=damaged)
    refusal = await line.near.socket.next(
        "SIP/2.0 ", holding=f"{line.near.call_id}\r\nCSeq: 1 INVITE\r\nReason"
    )
    assert refusal.startswith("SIP/2.0 488")
    assert await line.none_arrives()
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("media_unavailable", 488, None)


@pytest.mark.parametrize("content", [sdp("127.0.0.25").replace("m=audio", "m=video"), f"nonsense {MARK}\r\n"])
async def test_answers_that_cannot_be_used(bare: Exchange, content: str) -> None:
    """A callee takes the call with a description that nobody can use: both are released at once, one CDR."""
    line = await bare.line()
    line.invite()
    _, ok = await line.answered(content=content)
    assert body(ok) == ""
    for end in (line.near, line.far):
        bye = await end.socket.next("BYE", holding=end.call_id)
        assert header(bye, "Reason") == "Q.850;cause=65"
        end.reply(bye, "200 OK")
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("media_unavailable", "platform", 65)


async def test_description_among_other_parts(bare: Exchange) -> None:
    """Of a multipart body (SIP-I, ISUP inside) the session description passes and nothing else."""
    line = await bare.line()

    def parts(host: str) -> str:
        isup = f"--cut\r\nContent-Type: application/isup\r\n\r\n{MARK}\r\n"
        return f"{isup}--cut\r\nContent-Type: application/sdp\r\n\r\n{sdp(host)}\r\n--cut--\r\n"

    line.invite(content=parts(line.near.socket.host), kind=f'multipart/mixed;boundary=cut;x="{MARK}"')
    invite = await line.arrive()
    kind = 'multipart/mixed;boundary=cut;x="Geheimrat"'
    line.far.reply(invite, "200 OK", content=parts(line.far.socket.host), kind=kind)
    ok = await line.near.socket.next("SIP/2.0 200")
    line.near.follow(ok)
    line.near.request("ACK", cseq=1)
    for message in (invite, ok):
        assert header(message, "Content-Type") == "application/sdp"
        assert lines_of(message)[0] == "v=0"
    await line.far.socket.next("ACK")
    line.far.request("BYE", content=MARK, kind="application/isup")
    bye = await line.near.socket.next("BYE", holding=line.near.call_id)
    assert body(bye) == ""
    assert header(bye, "Content-Type") == ""
    line.near.reply(bye, "200 OK")


async def test_other_bodies_are_refused(bare: Exchange) -> None:
    """An INVITE with something else in it: 415."""
    line = await bare.line()
    line.invite(content=MARK, kind="application/isup")
    assert "application/sdp" in header(await line.near.socket.next("SIP/2.0 415"), "Accept")
    assert await line.none_arrives()


class Media:
    """A phone's RTP and RTCP ports, read and written packet by packet."""

    def __init__(self, host: str) -> None:
        self.pair: list[socket.socket] = []
        while len(self.pair) < 2:
            for each in self.pair:
                each.close()
            self.pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
            self.pair[0].bind((host, 0))
            self.port = self.pair[0].getsockname()[1]
            try:
                following = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                following.bind((host, self.port + 1))
                self.pair.append(following)
            except (OSError, OverflowError):
                continue
        for each in self.pair:
            each.setblocking(False)
        self.remote: list[tuple[str, int]] = []

    def aim(self, message: str) -> None:
        """Send to where this SDP says."""
        address = re.search(r"c=IN IP4 (\S+)", message)
        port = re.search(r"m=audio (\d+)", message)
        rtcp = re.search(r"a=rtcp:(\d+)", message)
        assert address
        assert port
        assert rtcp
        self.remote = [(address[1], int(port[1])), (address[1], int(rtcp[1]))]

    def send(self, packet: bytes, which: int = 0) -> None:
        self.pair[which].sendto(packet, self.remote[which])

    def received(self, which: int = 0) -> list[bytes]:
        """Everything that has come since the last look."""
        packets = []
        while True:
            try:
                packets.append(self.pair[which].recv(4096))
            except BlockingIOError:
                return packets

    def close(self) -> None:
        for each in self.pair:
            each.close()


def rtp(sequence: int, ssrc: int, payload: bytes = b"\x55" * 160) -> bytes:
    """A packet of PCMA (RFC 3550 section 5.1)."""
    return struct.pack("!BBHII", 0x80, 8, sequence, sequence * 160, ssrc) + payload


def rtcp(ssrc: int, cname: bytes) -> bytes:
    """Sender report, SDES with a CNAME and a name, APP and BYE with a reason: all that a phone may tell.

    Together, as RFC 3550 section 6.1 wants; parts alone must be negotiated (RFC 5506), and are not.
    """
    report = struct.pack("!BBHIIIIII", 0x80, 200, 6, ssrc, 1, 2, 3, 4, 5)
    items = b"\x01" + bytes([len(cname)]) + cname + b"\x02" + bytes([len(cname)]) + cname + b"\x00"
    items += b"\x00" * (-len(items) % 4)
    described = struct.pack("!BBHI", 0x81, 202, 1 + len(items) // 4, ssrc) + items
    told = cname + b"\x00" * (-len(cname) % 4)
    app = struct.pack("!BBHI4s", 0x80, 204, 2 + len(told) // 4, ssrc, b"NAME") + told
    why = bytes([len(cname)]) + cname
    why += b"\x00" * (-len(why) % 4)
    leaving = struct.pack("!BBHI", 0x81, 203, 1 + len(why) // 4, ssrc) + why
    return report + described + app + leaving


async def talking(line: Line) -> tuple[Media, Media]:
    """Both media of an answered call."""
    near, far = Media(line.near.socket.host), Media(line.far.socket.host)
    line.invite(content=sdp(line.near.socket.host, near.port))
    invite, ok = await line.answered(content=sdp(line.far.socket.host, far.port))
    far.aim(invite)
    near.aim(ok)
    return near, far


async def test_media(bare: Exchange) -> None:
    """RTP passes with its header as far as it means something; RTCP is the relay's own and tells no name."""
    line = await bare.line()
    near, far = await talking(line)
    mark = MARK.encode()
    heard: dict[Media, list[bytes]] = {near: [], far: []}
    reports: dict[Media, list[bytes]] = {near: [], far: []}
    for count in range(160):
        for number, one in enumerate((near, far)):
            one.send(rtp(count, 1000 + number))
            if count % 20 == 0:
                one.send(rtcp(1000 + number, mark), 1)
        await asyncio.sleep(0.05)
        for one in (near, far):
            heard[one] += one.received()
            reports[one] += one.received(1)
    for one in (near, far):
        assert len(heard[one]) >= 155
        assert {packet[1] for packet in reports[one]} == {200}
        for packet in heard[one] + reports[one]:
            assert search(packet, MARKS, "media") == []
    near.close()
    far.close()
    await line.hang_up()
