"""What a reader is shown: masks, media facts, packed values, the capture file and the picture."""

import socket
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.calls.model import Call, Mark, Reason, Try
from xiaohao.edge.ng import encode
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.trace.ladder import MOST_ARROWS, draw
from xiaohao.trace.legs import legs_of
from xiaohao.trace.masking import Mask
from xiaohao.trace.media import facts_of, mos
from xiaohao.trace.model import Message, Path
from xiaohao.trace.packing import PackingError, pack_messages, pack_path, unpack_messages, unpack_path
from xiaohao.trace.pcap import capture
from xiaohao.trace.sip import parse

VAULT = Vault(bytes(32))
CALL_ID = "17958757-2397-8094-aae4-6270936f9eb9"
REAL, OURS = "13800138000", "17000000001"
CALL = Call(CALL_ID, "edge1", 1_000, f"+86{OURS}", caller=f"+86{REAL}", trunk_in="trk_a")


def message(text: str, at: int = 1, caller_side: bool = True, inbound: bool = True) -> Message:
    them, us = ("10.0.0.9", 5060), ("10.0.0.1", 5061)
    source, destination = (them, us) if inbound else (us, them)
    return Message(at, *source, *destination, "udp", caller_side, text.encode())


def sip(start: str, *headers: str, body: str = "") -> str:
    return "\r\n".join([start, *headers, "", body])


@pytest.mark.parametrize(
    "written",
    [
        *(f"sip:+86{REAL}@10.0.0.9", f"tel:{REAL}", "+86-138-0013-8000", "138 0013 8000", f"%2B86{REAL}"),
        *("%31%33%38%30%30%31%33%38%30%30%30", f"9911{REAL}", f"x{REAL}y", "１３８００１３８０００"),
    ],
)
def test_no_spelling_of_a_number_is_shown(written: str) -> None:
    shown = Mask([f"+86{OURS}"], CALL_ID).text(written)
    digits = "".join(str(int(c)) for c in shown if c.isdigit())
    assert REAL not in digits
    assert "*" in shown


@pytest.mark.parametrize(
    "written", [f"+86{OURS}", OURS, f"0{OURS}", "192.168.100.200:5060", CALL_ID, "INVITE 1"]
)
def test_what_is_ours_is_shown(written: str) -> None:
    assert Mask([f"+86{OURS}"], CALL_ID).text(written) == written


def test_headers_that_nobody_needs_are_hidden() -> None:
    """Nor is a name that somebody gave themselves, nor a body that is no session description."""
    text = sip(
        "INVITE sip:1@b SIP/2.0",
        f'From: "Zhang; <San>" <sip:{REAL}@a>;tag=1',
        "f: Zhang San <sip:b@c>",
        "X-Secret: MTM4MDAxMzgwMDA=",
        "Subject: about",
        " Zhang",
        "Authorization: Digest response=1",
        body="Zhang",
    )
    shown = Mask([]).message(parse(text.encode()))
    assert "Zhang" not in shown
    assert "MTM4" not in shown
    assert shown.splitlines()[1] == "From: <sip:138****8000@a>;tag=1"
    assert shown.splitlines()[3:6] == ["X-Secret: [hidden]", "Subject: [hidden]", "Authorization: [hidden]"]


def test_a_list_of_payload_types_is_no_number() -> None:
    """But what is none stays one, also behind `m=`."""
    media = ("m=audio 49120 RTP/AVP 104 110 102 108 8 101", "m=audio 9 UDP/TLS/RTP/SAVPF 111 110 126")
    body = "\r\n".join([*media, "m=audio 9 RTP/AVP 138 0013 8000", f"s={REAL}"])
    text = sip("INVITE sip:1@b SIP/2.0", "Content-Type: application/sdp", body=body)
    shown = Mask([]).message(parse(text.encode())).splitlines()[-4:]
    assert shown == [*media, "m=audio 9 RTP/AVP 138****8000", "s=138****8000"]


@given(st.binary(max_size=400))
def test_whatever_comes_can_be_drawn(data: bytes) -> None:
    found = [Message(1, "10.0.0.9", 1, "10.0.0.1", 2, "udp", True, data)]
    for mask in (None, Mask([])):
        picture = draw(legs_of(found, 3, CALL, [], {"trk_a": data.decode("latin-1")}), CALL, mask)
        root = ElementTree.fromstring(picture)
        assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {
            *("svg", "title", "style", "rect", "text", "line", "path")
        }
        assert "3 more were not kept" in picture


def test_a_long_call_is_drawn_in_part() -> None:
    found = [message(sip("INFO sip:1@b SIP/2.0", f"CSeq: {n} INFO"), at=n) for n in range(MOST_ARROWS + 7)]
    picture = draw(legs_of(found, 0, CALL, [], {}), CALL, None)
    assert picture.count('class="arrow') == MOST_ARROWS
    assert "7 not drawn" in picture


def test_directions_and_repetitions() -> None:
    """Which address is ours is told by the first INVITE; what is said twice is marked."""
    invite = sip("INVITE sip:1@b SIP/2.0", "To: <sip:1@b>", "CSeq: 1 INVITE")
    trying = sip("SIP/2.0 100 Trying", "CSeq: 1 INVITE")
    out = message(invite.replace("1@b", "2@c"), 4, caller_side=False, inbound=False)
    found = [message(trying, 2, inbound=False), message(invite), message(invite, 3), out]
    legs = legs_of(found, 0, CALL, [Try("trk_b", 5)], {"trk_a": "east", "trk_b": "west"})
    assert [(s.received, s.repeated, s.party) for s in legs.steps] == [
        *((True, False, 0), (False, False, 0), (True, True, 0), (False, False, 1))
    ]
    assert [party.trunk for party in legs.parties] == ["east", "west"]


def test_media_facts() -> None:
    def tag(ssrc: int, packets: int) -> dict[str, object]:
        rtp = {"SSRC": ssrc, "flags": ["RTP"], "stats": {"packets": packets, "bytes": 9, "errors": 1}}
        rtcp = {"SSRC": ssrc, "flags": ["RTCP"], "stats": {"packets": 77, "bytes": 9, "errors": 0}}
        return {"medias": [{"codec": "PCMA/8000", "streams": [rtp, rtcp]}]}

    average = {"MOS": 40, "packet loss": 3, "jitter": 12, "round-trip time": 80_000, "samples": 4}
    told = {
        "tags": {"b": tag(8, 50), "a": tag(7, 100)},
        "SSRC": {"7": {"average MOS": average}},
        "result": "ok",
    }
    caller, callee = facts_of(encode(told))
    assert (caller.side, caller.packets, caller.errors, caller.codec) == ("caller", 100, 1, "PCMA/8000")
    assert (caller.heard_loss_percent, caller.heard_jitter_ms, caller.round_trip_ms) == (3, 12, 80)
    # R = 93.2 - 0.024 (64 + 60) - 95 * 3 / (3 + 25.1) = 80.08
    assert caller.heard_mos == mos("PCMA/8000", 3, 64) == 4.03
    assert (callee.packets, callee.heard_mos, callee.reports) == (50, None, 0)


@pytest.mark.parametrize(
    "answer", [b"", b"d6:result2:oke", b"d4:tagsle", b"i1e", b"nonsense", encode({"tags": {"a": 1}})]
)
def test_an_answer_that_tells_nothing(answer: bytes) -> None:
    assert facts_of(answer) == []


def test_the_e_model() -> None:
    """G.107: R = 93.2 with everything at its default, MOS 4.41; loss, delay and a poor codec take from it."""
    assert mos("PCMA/8000", 0, -60) == 4.41
    assert mos("PCMU", 0, 0) == 4.38
    series = [mos("PCMA", loss, 0) for loss in (0, 1, 2, 5, 10, 30, 100)]
    assert series == sorted(series, reverse=True)
    assert series[-1] == pytest.approx(1.0, abs=0.6)
    assert mos("PCMA", 0, 300) < mos("PCMA", 0, 100) - 0.3  # type: ignore[operator]
    assert mos("G729/8000", 0, 0) == pytest.approx(4.1, abs=0.1)
    assert mos("opus/48000/2", 0, 0) is None


def test_packed_and_sealed() -> None:
    """A call's usual messages take an eighth of their length, and only the key opens them."""
    lines = [
        "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKabc",
        f"From: <sip:+86{REAL}@10.0.0.9>;tag=1",
        "CSeq: 1 INVITE",
    ]
    found = [message(sip(f"SIP/2.0 {code}", *lines, "Content-Length: 0"), code) for code in range(180, 192)]
    sealed = pack_messages(found, VAULT)
    assert unpack_messages(sealed, VAULT) == found
    assert len(sealed) < sum(len(each.text) for each in found) / 5
    assert REAL.encode() not in sealed
    path = Path(
        [Mark("know_the_trunk", 1, 2, {"trunk": "t"})], [Try("t", 3, 486)], b"d6:result2:oke", ["played"]
    )
    assert unpack_path(pack_path(path, VAULT), VAULT) == path
    with pytest.raises(SecrecyError):
        unpack_path(sealed, Vault(bytes(31) + b"x"))
    with pytest.raises(PackingError):
        unpack_path(VAULT.seal_bytes(b"\x01nonsense"), VAULT)
    with pytest.raises(PackingError):
        unpack_path(VAULT.seal_bytes(b""), VAULT)


@pytest.mark.parametrize("ends", [("10.0.0.9", "10.0.0.1"), ("2001:db8::9", "2001:db8::1")])
def test_capture_file(ends: tuple[str, str]) -> None:
    text = b"INVITE sip:1@b SIP/2.0\r\n\r\n"
    file = capture([Message(1_500_000, ends[0], 5060, ends[1], 5061, "udp", True, text)])
    assert file[24:32] == bytes.fromhex("0100000020a10700")
    packet = file[40:]
    assert packet.endswith(text)
    head = 40 if ":" in ends[0] else 20
    assert packet[0] >> 4 == (6 if head == 40 else 4)
    family = socket.AF_INET6 if head == 40 else socket.AF_INET
    assert socket.inet_pton(family, ends[0]) in packet[:head]
    assert packet[head : head + 4] == (5060).to_bytes(2) + (5061).to_bytes(2)


def test_cause_in_the_head_of_the_picture() -> None:
    ended = Call(CALL_ID, "edge1", 1_000, OURS, reason=Reason.CALLEE_BUSY, sip_code=486)
    picture = draw(legs_of([message("x")], 0, ended, [], {}), ended, None, note="a & b")
    assert "callee_busy, SIP 486" in picture
    assert "a &amp; b" in picture
