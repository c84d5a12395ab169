"""Tones, ears and the RTP between them."""

import asyncio
import random
from struct import pack

import numpy as np
import pytest
from tests.simulator.line import A_HZ, B_HZ, Line

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.codecs import CODECS, decode, encode_g711, sine, tone_payloads
from xiaohao.simulator.ear import Ear


def packet(sequence: int, timestamp: int, payload: bytes, *, kind: int = 8, ssrc: int = 1) -> bytes:
    return pack("!BBHII", 0x80, kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def ear_that_heard(hz: int, *, without: set[int] = frozenset(), start: int = 65500) -> Ear:
    """One second of a tone, from loop time 100.0 on, with sequence numbers that wrap round."""
    ear = Ear()
    ear.formats = {8: "PCMA", 101: "TELEPHONE-EVENT"}
    for n, payload in enumerate(tone_payloads("PCMA", hz)):
        if n not in without:
            data = packet(start + n, 0xFFFFF000 + 160 * n, payload)
            ear.take_rtp(data, 100 + n * 0.02 + random.uniform(0, 0.004), ("127.0.0.1", 1))
    return ear


@pytest.mark.parametrize("name", ["PCMA", "PCMU"])
def test_g711_keeps_what_it_codes(name):
    loud = sine(440, 0.5)
    again = decode(name, [encode_g711(name, loud)])
    assert np.max(np.abs(again.astype(int) - loud)) <= 256
    # every code word is the best one for its own value
    values = decode(name, [bytes(range(256))])
    assert np.array_equal(decode(name, [encode_g711(name, values)]), values)


def test_g711_agrees_with_the_published_corner_values():
    # ITU-T G.711, tables 1a and 2a: largest and smallest magnitudes
    assert decode("PCMA", [bytes([0xAA, 0x2A, 0xD5, 0x55])]).tolist() == [32256, -32256, 8, -8]
    assert decode("PCMU", [bytes([0x80, 0x00, 0xFF, 0x7F])]).tolist() == [32124, -32124, 0, 0]


@pytest.mark.parametrize("name", list(CODECS))
def test_tone_goes_round_without_a_gap(name):
    payloads = tone_payloads(name, 600)
    assert len(payloads) == 50
    audio = decode(name, [*payloads, *payloads])[1000:15000].astype(float)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    peak = int(np.argmax(spectrum))
    assert abs(peak * 8000 / len(audio) - 600) < 2
    assert spectrum[peak - 20 : peak + 21].sum() / spectrum.sum() > 0.95


def test_ear_tells_tones_apart():
    ear = ear_that_heard(500)
    assert ear.tone_seconds(500, 100, 101) == pytest.approx(1.0, abs=0.11)
    assert ear.tone_seconds(540, 100, 101) == 0
    assert ear.quiet_seconds(100, 101) <= 0.1
    assert ear.quiet_seconds(102, 103) == 1.0
    assert ear.strongest_hz(100.2, 100.9) == pytest.approx(500, abs=5)
    assert ear.strongest_hz(102, 103) is None


def test_weaker_tone_does_not_count():
    ear = Ear()
    ear.formats = {8: "PCMA"}
    mixed = sine(500, 1.0) // 3 + sine(700, 1.0)
    coded = encode_g711("PCMA", mixed.astype(np.int16))
    for n in range(50):
        ear.take_rtp(packet(n, 160 * n, coded[160 * n : 160 * n + 160]), 100 + n * 0.02, ("127.0.0.1", 1))
    assert ear.tone_seconds(700, 100, 101) >= 0.9
    assert ear.tone_seconds(500, 100, 101) == 0


def test_loss_is_counted_and_leaves_a_gap():
    ear = ear_that_heard(500, without={10, 11, 12, 13, 14, 30})
    stats = ear.count()
    assert (stats.packets_received, stats.packets_lost, stats.packets_late_or_double) == (44, 6, 0)
    audio = ear.audio()
    assert len(audio) == pytest.approx(8000, abs=40)
    assert np.all(audio[1640:2360] == 0)
    assert np.any(audio[2500:2600] != 0)


def test_double_and_reordered_packets():
    ear = Ear()
    ear.formats = {8: "PCMA"}
    for sequence in (5, 7, 6, 6, 8):
        ear.take_rtp(packet(sequence, 160 * sequence, b"\xd5" * 160), 100.0, ("127.0.0.1", 1))
    stats = ear.count()
    assert (stats.packets_received, stats.packets_lost, stats.packets_late_or_double) == (4, 0, 1)


def test_jitter_is_what_rfc_3550_says():
    ear = Ear()
    ear.formats = {8: "PCMA"}
    expected, last = 0.0, None
    for n, delay in enumerate([0, 0.010, 0, 0.004, 0.020]):
        ear.take_rtp(packet(n, 160 * n, b"\xd5" * 160), 100 + n * 0.02 + delay, ("127.0.0.1", 1))
        if last is not None:
            expected += (abs(delay - last) - expected) / 16
        last = delay
    assert ear.count().jitter_ms == pytest.approx(expected * 1000)


def test_key_press_of_many_packets_is_one_key():
    ear = ear_that_heard(500)
    for repeat in range(4):
        event = bytes([5, 10 if repeat < 3 else 0x8A, 0, 160])
        ear.take_rtp(packet(70 + repeat, 12345, event, kind=101), 101.0, ("127.0.0.1", 1))
    ear.take_rtp(packet(80, 99999, bytes([11, 10, 0, 160]), kind=101), 102.0, ("127.0.0.1", 1))
    assert ear.digits == ["5", "#"]


def test_new_stream_after_a_pause_keeps_its_place_on_the_time_line():
    ear = ear_that_heard(500)
    for n, payload in enumerate(tone_payloads("PCMA", 700)):
        ear.take_rtp(packet(n, 77 + 160 * n, payload, ssrc=9), 103 + n * 0.02, ("127.0.0.1", 1))
    assert ear.tone_seconds(500, 100, 101) >= 0.9
    assert ear.quiet_seconds(101.1, 103) >= 1.8
    assert ear.tone_seconds(700, 103, 104) >= 0.9


async def test_reports_carry_the_number_and_are_kept(line: Line):
    call, far = await line.talk()
    await asyncio.sleep(0.5)
    await far.hang_up()
    await call.wait_ended()
    reports = b"".join(call.rtcp_packets_raw)
    assert line.b.number.encode() in reports
    assert line.a.number.encode() not in reports
    assert len(call.rtp_packets_raw) > 10


async def test_pace_does_not_drift(line: Line):
    call, far = await line.talk()
    before, started = call.rtp_stats.packets_sent, asyncio.get_running_loop().time()
    await asyncio.sleep(0.6)
    # a stalled loop makes up for what it missed
    blocked = asyncio.get_running_loop().time() + 0.2
    while asyncio.get_running_loop().time() < blocked:
        pass
    await asyncio.sleep(0.4)
    passed = asyncio.get_running_loop().time() - started
    assert call.rtp_stats.packets_sent - before == pytest.approx(passed * 50, abs=3)
    assert far.rtp_stats.packets_lost == 0


async def test_phone_that_sends_no_audio_and_no_reports(line: Line):
    call, far = await line.talk(Behaviour(send_rtp=False, send_rtcp=False))
    assert await far.wait_heard(A_HZ, seconds=0.3)
    assert call.heard_silence()
    assert not call.heard(B_HZ)
    assert call.rtp_stats.packets_received == 0
    assert call.rtcp_packets_raw == []


async def test_early_tone_ends_with_the_answer(line: Line):
    call, _ = await line.talk(Behaviour(early_media=True, early_media_hz=620, answer_after_s=0.5))
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert not call.heard(620)
    assert call.early_media_heard(620)


async def test_keys_are_refused_where_the_far_end_does_not_take_them(line: Line):
    call, _ = await line.ring(Behaviour(never_answer=True))
    with pytest.raises(ValueError, match="telephone events"):
        await call.dtmf("1")
