"""Whose packets arrive where, read from metadata as rtpengine writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings.synthetic import PORT_A, PORT_B, section, simple
from xiaohao.recordings.model import OF_IPV6, CaptureError, Payload, Side
from xiaohao.recordings.signalling import parse


def text(*sections: str) -> str:
    return ("/captures/pcaps/x.pcap\n\n" + "".join(sections)).replace("\r\n", "\n")


@pytest.mark.parametrize("label", [True, False])
def test_a_plain_call(label: bool) -> None:
    assert parse(text(*simple(["PCMA"], label=label))).sides == {PORT_B: Side.B, PORT_A: Side.A}


def test_a_late_offer_is_told_by_its_label() -> None:
    told = parse(
        text(section("offer", 7000, ["PCMA"], label="b"), section("answer", 7002, ["PCMA"], label="a"))
    )
    assert told.sides == {7000: Side.A, 7002: Side.B}


def test_reoffers_without_labels_are_told_by_the_port_that_stays() -> None:
    told = parse(
        text(
            *simple(["PCMA"], label=False),
            section("offer", 7000, ["PCMA"]),  # a new port towards A: it was B who offered
            section("answer", PORT_B, ["PCMA"]),
            section("offer", 7002, ["PCMA"]),  # a new port towards B
            section("answer", 7000, ["PCMA"]),
            section("offer", PORT_B, ["PCMA"]),  # the next trunk is tried
            section("answer", 7004, ["PCMA"]),
        )
    )
    assert told.sides == {PORT_B: Side.B, PORT_A: Side.A, 7000: Side.A, 7002: Side.B, 7004: Side.A}


def test_payload_types_mean_what_the_sdp_of_their_time_said() -> None:
    told = parse(
        text(
            section("offer", PORT_B, ["AMR"], label="a"),
            section("answer", PORT_A, ["AMR"], label="b"),
            section("offer", PORT_B, ["PCMU"], label="a", since=50),
            section("offer", PORT_B, ["AMR"], label="a", since=90).replace("AMR/8000", "AMR-WB/16000"),
        )
    )
    amr = Payload("AMR", 8000, (("octet-align", "1"), ("mode-change-capability", "2")))
    assert told.payload(PORT_B, 1, 96) == told.payload(PORT_B, 60, 96) == amr
    assert told.payload(PORT_B, 90, 96) == Payload("AMR-WB", 16000, amr.parameters)
    assert told.payload(PORT_A, 90, 101) == Payload("TELEPHONE-EVENT", 8000)
    assert told.payload(PORT_A, 90, 8) == Payload("PCMA", 8000)  # static, though nobody offered it
    assert told.payload(PORT_A, 90, 77) is None
    assert told.changes(PORT_B) == [1, 50, 90]


def test_rejected_and_other_media_give_no_side() -> None:
    offer = section("offer", PORT_B, ["PCMA"], label="a")
    offer += "m=video 9000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\nm=audio 0 RTP/AVP 8\r\n"
    assert parse(text(offer)).sides == {PORT_B: Side.B}


def test_a_port_of_both_sides_is_refused() -> None:
    with pytest.raises(CaptureError, match="both sides"):
        parse(text(section("offer", 7000, ["PCMA"], label="a"), section("answer", 7000, ["PCMA"], label="b")))


def test_one_number_is_a_port_with_ipv4_and_another_with_ipv6() -> None:
    offer, answer = simple(["PCMA"])
    answer = answer.replace(f"m=audio {PORT_A} ", f"m=audio {PORT_B} ")
    for line in ("IN IP4 127.0.0.1", "c=IN IP4 127.0.0.1"):
        answer = answer.replace(line, line.replace("4 127.0.0.1", "6 ::1"))
    assert parse(text(offer, answer)).sides == {PORT_B: Side.B, PORT_B + OF_IPV6: Side.A}
    # the address of the audio itself counts
    own = offer.replace("\r\na=rtpmap", "\r\nc=IN IP6 ::1\r\na=rtpmap", 1)
    assert parse(text(own)).sides == {PORT_B + OF_IPV6: Side.B}


@given(st.integers(0, 2000))
def test_metadata_cut_off_anywhere_is_read_as_far_as_it_goes(size: int) -> None:
    sides = parse(text(*simple(["PCMA"]))[:size]).sides
    whole = {PORT_B: Side.B, PORT_A: Side.A}
    assert all(whole.get(port, side) is side for port, side in sides.items())
