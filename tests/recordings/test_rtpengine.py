"""Real rtpengine, real RTP in real time: what the phones sent is what the recording holds."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recordings.audio import CODECS, HZ_A, HZ_B, Heard, payloads
from tests.recordings.ng import Rtpengine, rtpengine
from tests.recordings.phone import Phone, RecordedCall
from xiaohao.recordings import capture, pcap

pytestmark = pytest.mark.calls
TOLERANCE_S = 0.04


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rtpengine]:
    with rtpengine(tmp_path_factory.mktemp("rtpengine")) as running:
        yield running


def assert_spans(heard: Heard, channel: str, hz: int, wanted: list[tuple[float, float]]) -> None:
    """The tone is on the channel when the phone sent it, and at no other time."""
    spans = heard.spans(channel, hz)
    assert len(spans) == len(wanted), (spans, wanted)
    for (begin, end), (wanted_begin, wanted_end) in zip(spans, wanted, strict=True):
        assert abs(begin - wanted_begin) <= TOLERANCE_S, (spans, wanted)
        assert abs(end - wanted_end) <= TOLERANCE_S, (spans, wanted)


async def test_a_whole_call(engine: Rtpengine, tmp_path: Path) -> None:
    """Early media, answer, keys, RTCP, hold, new codec and ports by re-INVITE, resume."""
    call = RecordedCall(engine)
    await call.at(0.1)
    call.sdp("offer", "a", "PCMA", "G722")
    call.sdp("answer", "b", "PCMA")
    await call.at(0.2)
    await call.b.talk("PCMA", HZ_B, call.b_sends_to, 0.4)
    await call.at(0.7)
    call.sdp("answer", "b", "PCMA")
    await call.at(0.8)
    await asyncio.gather(
        call.a.talk("PCMA", HZ_A, call.a_sends_to, 0.5), call.b.talk("PCMA", HZ_B, call.b_sends_to, 0.3)
    )
    call.a.press(5, call.a_sends_to)
    call.a.send((engine.address, call.a_sends_to[1] + 1), b"\x80\xc8\x00\x06" + bytes(24))
    call.sdp("offer", "b", "PCMA", direction="sendonly")
    call.sdp("answer", "a", "PCMA", direction="recvonly")
    await call.at(1.7)
    call.b.close()
    first_b, call.b = call.b, Phone(0xB2)
    call.sdp("offer", "b", "G722")
    call.sdp("answer", "a", "G722")
    await call.at(1.8)
    await asyncio.gather(
        call.a.talk("G722", HZ_A, call.a_sends_to, 0.5), call.b.talk("G722", HZ_B, call.b_sends_to, 0.3)
    )
    await call.at(2.5)
    call.end()
    heard = call.heard(tmp_path)
    assert heard.rate == 16000
    assert heard.seconds == pytest.approx((call.ended_at - call.received_at) / 1e6, abs=0.001)
    assert_spans(heard, "left", HZ_A, call.talked(call.a))
    assert_spans(heard, "right", HZ_B, call.talked(first_b, call.b))
    assert len(heard.spans("right", HZ_B)) == 3
    assert heard.level("left", HZ_B, 0, 2.5) < 0.01
    assert heard.level("right", HZ_A, 0, 2.5) < 0.01
    (_, end), (begin, _) = heard.spans("left", HZ_A)
    assert heard.loudness("left", end + 0.05, begin - 0.05) == 0


async def test_every_codec(engine: Rtpengine, tmp_path: Path) -> None:
    async def talk(name: str) -> RecordedCall:
        call = RecordedCall(engine)
        call.connect(name)
        await call.at(0.1)
        await asyncio.gather(
            call.a.talk(name, HZ_A, call.a_sends_to, 0.5), call.b.talk(name, HZ_B, call.b_sends_to, 0.8)
        )
        await call.at(1.0)
        call.end()
        return call

    for name in CODECS:  # encoding takes its time: not while others are to send in time
        payloads(name, HZ_A, 25), payloads(name, HZ_B, 40)
    calls = await asyncio.gather(*(talk(name) for name in CODECS))
    for call in calls:
        heard = call.heard(tmp_path)
        assert_spans(heard, "left", HZ_A, call.talked(call.a))
        assert_spans(heard, "right", HZ_B, call.talked(call.b))


async def test_trunk_failover_late_offer_and_calls_without_labels(engine: Rtpengine, tmp_path: Path) -> None:
    async def failover(*, label: bool) -> tuple[RecordedCall, Phone]:
        call = RecordedCall(engine, label)
        call.connect("PCMU")
        await call.b.talk("PCMU", HZ_B, call.b_sends_to, 0.3)
        await asyncio.sleep(0.2)
        call.b.close()
        first_b, call.b = call.b, Phone(0xC)
        call.connect("PCMA", "PCMU")
        await asyncio.gather(
            call.a.talk("PCMA", HZ_A, call.a_sends_to, 0.4), call.b.talk("PCMA", HZ_B, call.b_sends_to, 0.4)
        )
        call.sdp("offer", "b", "PCMU")
        call.sdp("answer", "a", "PCMU")
        await asyncio.sleep(0.2)
        await asyncio.gather(
            call.a.talk("PCMU", HZ_A, call.a_sends_to, 0.3), call.b.talk("PCMU", HZ_B, call.b_sends_to, 0.3)
        )
        await asyncio.sleep(0.1)
        call.end()
        return call, first_b

    async def late_offer() -> RecordedCall:
        call = RecordedCall(engine)
        call.sdp("offer", "b", "PCMA")
        call.sdp("answer", "a", "PCMA")
        await call.at(0.2)
        await call.a.talk("PCMA", HZ_A, call.a_sends_to, 0.5)
        await call.at(0.7)
        await call.b.talk("PCMA", HZ_B, call.b_sends_to, 0.5)
        await call.at(1.3)
        call.end()
        return call

    labelled, unlabelled, late = await asyncio.gather(
        failover(label=True), failover(label=False), late_offer()
    )
    for call, first_b in (labelled, unlabelled):
        heard = call.heard(tmp_path)
        assert_spans(heard, "left", HZ_A, call.talked(call.a))
        assert_spans(heard, "right", HZ_B, call.talked(first_b, call.b))
        assert len(heard.spans("right", HZ_B)) == 3
    heard = late.heard(tmp_path)
    assert_spans(heard, "left", HZ_A, late.talked(late.a))
    assert_spans(heard, "right", HZ_B, late.talked(late.b))


async def test_loss_and_disorder(engine: Rtpengine, tmp_path: Path) -> None:
    call = RecordedCall(engine)
    call.connect("PCMA")
    await call.at(0.1)
    await asyncio.gather(
        call.a.talk("PCMA", HZ_A, call.a_sends_to, 1.5, disorder=True),
        call.b.talk("PCMA", HZ_B, call.b_sends_to, 1.5, loss=0.1),
    )
    await call.at(1.7)
    call.end()
    heard = call.heard(tmp_path)
    assert_spans(heard, "left", HZ_A, call.talked(call.a))
    assert_spans(heard, "right", HZ_B, call.talked(call.b))
    for channel, hz, phone, wanted in (("left", HZ_A, call.a, 1.0), ("right", HZ_B, call.b, 0.9)):
        [(begin, end)] = call.talked(phone)
        assert heard.level(channel, hz, begin + 0.1, end - 0.1) == pytest.approx(wanted, abs=0.09)


async def test_nobody_answers(engine: Rtpengine, tmp_path: Path) -> None:
    call = RecordedCall(engine)
    call.sdp("offer", "a", "PCMA")
    await call.at(0.4)
    assert [one.complete for one in call.captures()] == [False]
    call.end()
    heard = call.heard(tmp_path)
    assert heard.seconds == pytest.approx((call.ended_at - call.received_at) / 1e6, abs=0.001)
    assert heard.loudness("left", 0, 1) == heard.loudness("right", 0, 1) == 0


async def test_a_capture_is_complete_once_the_call_is_deleted(engine: Rtpengine) -> None:
    call = RecordedCall(engine)
    call.connect("PCMA")
    await call.a.talk("PCMA", HZ_A, call.a_sends_to, 0.2)
    assert [one.complete for one in call.captures()] == [False]
    call.end()
    captures = call.captures()
    assert [one.complete for one in captures] == [True]
    assert captures[0].pcap is not None
    assert len(pcap.read(Path(captures[0].pcap))) == 10
    capture.remove(engine.captures, captures)
    assert call.captures() == []


async def test_rtpengine_killed_in_mid_call(tmp_path: Path) -> None:
    with rtpengine(tmp_path) as engine:
        call = RecordedCall(engine)
        call.connect("PCMA")
        await asyncio.gather(
            call.a.talk("PCMA", HZ_A, call.a_sends_to, 1.2), call.b.talk("PCMA", HZ_B, call.b_sends_to, 1.2)
        )
        engine.kill()
        await call.at(1.5)
        call.end(delete=False)
    assert [one.complete for one in call.captures()] == [False]
    heard = call.heard(tmp_path)
    assert heard.seconds == pytest.approx((call.ended_at - call.received_at) / 1e6, abs=0.001)
    for channel, hz, phone in (("left", HZ_A, call.a), ("right", HZ_B, call.b)):
        [(begin, end)], [(first, last)] = heard.spans(channel, hz), call.talked(phone)
        assert abs(begin - first) <= TOLERANCE_S
        # rtpengine writes its file in blocks of 4 KB; what was in the last one is lost
        assert last - 0.3 <= end <= last + TOLERANCE_S


async def test_rtpengine_stopped_in_mid_call(tmp_path: Path) -> None:
    """Version 10.5 crashes while it stops, but not before the capture and its metadata are written."""
    with rtpengine(tmp_path) as engine:
        call = RecordedCall(engine)
        call.connect("PCMA")
        await call.a.talk("PCMA", HZ_A, call.a_sends_to, 0.5)
        await call.at(0.6)
        engine.close()
        call.end(delete=False)
    assert [one.complete for one in call.captures()] == [True]
    assert_spans(call.heard(tmp_path), "left", HZ_A, call.talked(call.a))
