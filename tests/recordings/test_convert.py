"""From a capture to a file, judged by ffmpeg and a tone detector; captures are synthetic."""

import hashlib
import random
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.recordings.audio import HZ_A, HZ_B, Heard, listen
from tests.recordings.synthetic import (
    PORT_A,
    PORT_B,
    START_US,
    CaptureFolder,
    Packet,
    pcap,
    rtp,
    section,
    simple,
    talk,
)
from tests.recordings.unseal import KEY, open_file
from xiaohao.calls.model import Announcement, Party
from xiaohao.recordings import capture
from xiaohao.recordings.convert import convert
from xiaohao.recordings.model import AudioFile, CaptureError, Format

TOLERANCE_S = 0.04
NARROW = ["PCMA", "PCMU", "AMR", "AMR-be", "G729"]
WIDE = ["G722", "opus", "AMR-WB", "AMR-WB-be"]


@pytest.fixture
def folder(tmp_path: Path) -> CaptureFolder:
    return CaptureFolder(tmp_path / "captures")


def made(folder: CaptureFolder, seconds: float, format_: Format = "wav") -> tuple[AudioFile, Heard]:
    """Convert a call of so many seconds; gives back what was made and what ffmpeg hears in it."""
    target, plain = (folder.path.parent / f"made.{end}" for end in ("sealed", format_))
    captures = capture.find(folder.path, folder.call_id)
    audio = convert(captures, START_US, START_US + round(seconds * 1_000_000), format_, target, KEY)
    assert [path for path in target.parent.iterdir() if path not in (folder.path, plain)] == [target]
    assert audio.stored.bytes == target.stat().st_size
    assert audio.stored.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    open_file(target, audio.bytes, plain)
    assert audio.sha256 == hashlib.sha256(plain.read_bytes()).hexdigest()
    return audio, listen(plain)


def assert_span(heard: Heard, channel: str, hz: int, *wanted: tuple[float, float]) -> None:
    """The tone is on the channel in these stretches and nowhere else."""
    spans = heard.spans(channel, hz)
    assert len(spans) == len(wanted), (spans, wanted)
    for (begin, end), (wanted_begin, wanted_end) in zip(spans, wanted, strict=True):
        assert abs(begin - wanted_begin) <= TOLERANCE_S, (spans, wanted)
        assert abs(end - wanted_end) <= TOLERANCE_S, (spans, wanted)


def assert_silence(heard: Heard, channel: str, start: float, end: float, limit: float = 0.02) -> None:
    assert heard.loudness(channel, start, end) <= limit


@pytest.mark.parametrize("name", NARROW + WIDE)
def test_each_side_is_heard_on_its_channel_when_it_spoke(folder: CaptureFolder, name: str) -> None:
    packets = talk(name, HZ_A, PORT_A, 0.5, 0.6, ssrc=1) + talk(name, HZ_B, PORT_B, 0.9, 0.7, ssrc=2)
    folder.write(sorted(packets, key=lambda packet: packet.at), simple([name]))
    audio, heard = made(folder, 2.0)
    assert audio.rate == heard.rate == (16000 if name in WIDE else 8000)
    assert audio.duration_ms == 2000
    assert heard.seconds == pytest.approx(2.0, abs=0.001)
    assert_span(heard, "left", HZ_A, (0.5, 1.1))
    assert_span(heard, "right", HZ_B, (0.9, 1.6))
    assert heard.level("left", HZ_A, 0.6, 1.0) == pytest.approx(1.0, abs=0.15)
    assert heard.level("right", HZ_B, 1.0, 1.5) == pytest.approx(1.0, abs=0.15)
    assert_silence(heard, "left", 0.0, 0.45)
    assert_silence(heard, "left", 1.2, 2.0)
    assert_silence(heard, "right", 0.0, 0.85)
    assert_silence(heard, "right", 1.7, 2.0)


@pytest.mark.parametrize("set_by", [3600, -3600])
def test_what_is_said_after_the_clock_was_set_is_heard(folder: CaptureFolder, set_by: int) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0.5, 2.0, ssrc=1) + talk("PCMA", HZ_B, PORT_B, 0.91, 0.7, ssrc=2)
    packets.sort(key=lambda packet: packet.at)
    folder.write([replace(one, at=one.at + set_by * (one.at > 1.2)) for one in packets], simple(["PCMA"]))
    audio, heard = made(folder, 3.0)
    assert audio.duration_ms == 3000
    assert_span(heard, "left", HZ_A, (0.5, 2.5))
    assert_span(heard, "right", HZ_B, (0.91, 1.61))


@pytest.mark.parametrize("format_", ["wav", "mp3", "opus"])
@pytest.mark.parametrize("name", ["PCMU", "G722"])
def test_every_format_keeps_time_and_channels_apart(
    folder: CaptureFolder, name: str, format_: Format
) -> None:
    packets = talk(name, HZ_A, PORT_A, 0.3, 0.5, ssrc=1) + talk(name, HZ_B, PORT_B, 1.1, 0.5, ssrc=2)
    folder.write(packets, simple([name]))
    audio, heard = made(folder, 2.0, format_)
    assert audio.format == format_
    assert heard.seconds == pytest.approx(2.0, abs=0.1)
    assert_span(heard, "left", HZ_A, (0.3, 0.8))
    assert_span(heard, "right", HZ_B, (1.1, 1.6))
    assert heard.level("right", HZ_A, 0.4, 0.7) < 0.005
    assert heard.level("left", HZ_B, 1.2, 1.5) < 0.005


def test_the_facts_of_the_file_are_true(folder: CaptureFolder) -> None:
    import hashlib

    folder.write(talk("PCMA", HZ_A, PORT_A, 0.1, 0.2), simple(["PCMA"]))
    audio, _ = made(folder, 1.0)
    body = (folder.path.parent / "made.wav").read_bytes()
    assert (audio.bytes, audio.sha256) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("format_", ["wav", "mp3", "opus"])
def test_a_call_without_rtp_becomes_silence_of_its_length(folder: CaptureFolder, format_: Format) -> None:
    folder.write([], [section("offer", PORT_B, ["PCMA"], label="a")])
    audio, heard = made(folder, 3.0, format_)
    assert audio.duration_ms == 3000
    assert heard.seconds == pytest.approx(3.0, abs=0.15)
    assert_silence(heard, "left", 0, 3)
    assert_silence(heard, "right", 0, 3)


def test_a_call_without_any_capture_and_one_that_ended_at_once(folder: CaptureFolder) -> None:
    _, heard = made(folder, 1.0)
    assert heard.seconds == pytest.approx(1.0)
    audio, heard = made(folder, 0.0)
    assert (audio.duration_ms, heard.seconds) == (0, 0)


def test_what_was_sent_before_and_after_the_call_is_cut_off(folder: CaptureFolder) -> None:
    folder.write(talk("PCMA", HZ_A, PORT_A, -0.4, 2.0), simple(["PCMA"]))
    _, heard = made(folder, 1.0)
    assert heard.seconds == pytest.approx(1.0)
    assert heard.level("left", HZ_A, 0.0, 1.0) == pytest.approx(1.0, abs=0.05)


def test_a_change_of_codec_and_payload_type_in_mid_call(folder: CaptureFolder) -> None:
    first = talk("PCMA", HZ_B, PORT_B, 0.2, 0.6, ssrc=7, sequence=10, timestamp=1000)
    second = talk("G722", HZ_B, PORT_B, 0.8, 0.6, ssrc=7, sequence=40, timestamp=1000 + 30 * 160)
    third = talk("opus", HZ_B, PORT_B, 1.4, 0.4, ssrc=7, sequence=70, timestamp=99)
    folder.write(
        first + second + third,
        [
            *simple(["PCMA"]),
            section("offer", PORT_B, ["G722"], label="a", since=31),
            section("offer", PORT_B, ["opus"], label="a", since=61),
        ],
    )
    audio, heard = made(folder, 2.0)
    assert audio.rate == 16000
    assert_span(heard, "right", HZ_B, (0.2, 1.8))
    assert_silence(heard, "left", 0, 2)


def test_the_same_payload_type_with_another_meaning_later(folder: CaptureFolder) -> None:
    amr = talk("AMR", HZ_A, PORT_A, 0.2, 0.5, ssrc=1)
    packets = amr + [
        Packet(packet.at + 0.8, PORT_A, rtp(96, 100 + place, 5000 + place * 160, 1, packet.data[12:]))
        for place, packet in enumerate(talk("PCMA", HZ_A, PORT_A, 0.2, 0.5))
    ]
    later = section("answer", PORT_A, ["AMR"], label="b", since=26).replace(
        "a=rtpmap:96 AMR/8000", "a=rtpmap:96 PCMA/8000"
    )
    folder.write(packets, [*simple(["AMR"]), later])
    _, heard = made(folder, 2.0)
    assert_span(heard, "left", HZ_A, (0.2, 0.7), (1.0, 1.5))


def test_ten_percent_loss_moves_nothing(folder: CaptureFolder) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0.5, 4.0)
    dice = random.Random(1)
    folder.write([packet for packet in packets if dice.random() >= 0.1], simple(["PCMA"]))
    _, heard = made(folder, 5.0)
    spans = heard.spans("left", HZ_A)
    assert abs(spans[0][0] - 0.5) <= TOLERANCE_S
    assert abs(spans[-1][1] - 4.5) <= TOLERANCE_S
    # the tone keeps its phase over all the holes: nothing was pushed together or torn apart
    assert heard.level("left", HZ_A, 0.6, 4.4) == pytest.approx(0.9, abs=0.05)


def test_jitter_reordering_and_duplicates_change_no_sample(folder: CaptureFolder, tmp_path: Path) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0.5, 3.0)
    folder.write(packets, simple(["PCMA"]))
    _, plain = made(folder, 4.0)
    dice = random.Random(2)
    late = [
        Packet(packet.at + dice.choice([0, 0, 0.03, 0.07]), packet.port, packet.data) for packet in packets
    ]
    late += [Packet(packet.at + 0.045, packet.port, packet.data) for packet in packets[::7]]
    disorder = CaptureFolder(tmp_path / "again" / "captures")
    disorder.write(sorted(late, key=lambda packet: packet.at), simple(["PCMA"]))
    _, heard = made(disorder, 4.0)
    assert (heard.left == plain.left).all()


def test_a_stall_of_the_network_tears_nothing(folder: CaptureFolder) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0.5, 3.0)
    stalled = [
        Packet(max(packet.at, 2.0) if packet.at > 1.5 else packet.at, PORT_A, packet.data)
        for packet in packets
    ]
    folder.write(stalled, simple(["PCMA"]))
    _, heard = made(folder, 4.0)
    assert_span(heard, "left", HZ_A, (0.5, 3.5))
    assert heard.level("left", HZ_A, 0.6, 3.4) == pytest.approx(1.0, abs=0.02)


def test_keys_and_comfort_noise_are_not_heard(folder: CaptureFolder) -> None:
    speech = talk("PCMA", HZ_A, PORT_A, 0.2, 0.5, sequence=0, timestamp=0)
    keys = [
        Packet(0.8 + 0.02 * place, PORT_A, rtp(101, 25 + place, 4800, 0x1234, bytes([5, 10, place, 160])))
        for place in range(10)
    ]
    noise = [
        Packet(1.1 + 0.1 * place, PORT_A, rtp(13, 40 + place, 7200 + 800 * place, 0x1234, b"\x10"))
        for place in range(4)
    ]
    more = talk("PCMA", HZ_A, PORT_A, 1.5, 0.3, sequence=50, timestamp=int(1.3 * 8000))
    folder.write(speech + keys + noise + more, simple(["PCMA"]))
    _, heard = made(folder, 2.0)
    assert_span(heard, "left", HZ_A, (0.2, 0.7), (1.5, 1.8))
    assert_silence(heard, "left", 0.75, 1.45, limit=0)


def test_hold_and_a_sender_whose_timestamps_stood_still_meanwhile(folder: CaptureFolder) -> None:
    before = talk("PCMA", HZ_A, PORT_A, 0.2, 0.6, sequence=0, timestamp=0)
    after = talk("PCMA", HZ_A, PORT_A, 2.2, 0.6, sequence=30, timestamp=30 * 160)
    folder.write(before + after, simple(["PCMA"]))
    _, heard = made(folder, 3.0)
    assert_span(heard, "left", HZ_A, (0.2, 0.8), (2.2, 2.8))


def test_a_sender_that_begins_anew_without_a_pause(folder: CaptureFolder) -> None:
    parts = [
        talk("PCMA", HZ_B, PORT_B, 0.2, 0.6, ssrc=1, timestamp=90_000),
        talk("PCMA", HZ_B, PORT_B, 0.8, 0.6, ssrc=2, timestamp=5),
        talk("PCMA", HZ_B, PORT_B, 1.4, 0.6, ssrc=2, timestamp=4_000_000_000),
        talk("PCMA", HZ_B, PORT_B, 2.0, 0.6, ssrc=2, timestamp=77),
    ]
    folder.write([packet for part in parts for packet in part], simple(["PCMA"]))
    _, heard = made(folder, 3.0)
    assert_span(heard, "right", HZ_B, (0.2, 2.6))


def test_a_phone_whose_clock_is_wrong_stays_in_time(folder: CaptureFolder) -> None:
    packets = [
        Packet(packet.at * 1.002, packet.port, packet.data)
        for packet in talk("PCMA", HZ_A, PORT_A, 0.5, 90.0)
    ]
    folder.write(packets[:50] + packets[-50:], simple(["PCMA"]))
    _, heard = made(folder, 93.0)
    begin, end = heard.spans("left", HZ_A)[-1]
    assert abs(begin - 89.5 * 1.002) <= TOLERANCE_S
    assert abs(end - 90.5 * 1.002) <= TOLERANCE_S


def test_two_streams_of_one_side_at_a_time_are_both_heard(folder: CaptureFolder) -> None:
    packets = talk("PCMA", HZ_B, PORT_B, 0.2, 1.0, ssrc=1) + talk("PCMA", 2000, PORT_B, 0.6, 1.0, ssrc=2)
    folder.write(sorted(packets, key=lambda packet: packet.at), simple(["PCMA"]))
    _, heard = made(folder, 2.0)
    assert_span(heard, "right", HZ_B, (0.2, 1.2))
    assert_span(heard, "right", 2000, (0.6, 1.6))


def test_rtcp_on_the_same_port_and_keep_alives_are_left_out(folder: CaptureFolder) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0.2, 0.6)
    report = b"\x80\xc8\x00\x06" + b"\xff" * 24
    odd = [
        Packet(0.3, PORT_A, report),
        Packet(0.4, PORT_A + 1, report),
        Packet(0.5, PORT_A, rtp(126, 1, 1, 9, b"")),
    ]
    odd += [Packet(0.5, PORT_A, b"\x80\x08\x00"), Packet(0.6, PORT_A, b"hello, are you there?")]
    folder.write(sorted(packets + odd, key=lambda packet: packet.at), simple(["PCMA"]))
    _, heard = made(folder, 1.0)
    assert_span(heard, "left", HZ_A, (0.2, 0.8))


def test_padding_extension_and_contributing_sources_are_not_audio(folder: CaptureFolder) -> None:
    plain = talk("PCMA", HZ_A, PORT_A, 0.2, 0.6)
    dressed = [
        Packet(
            packet.at,
            packet.port,
            bytes([0x80 | 0x20 | 0x10 | 2])
            + packet.data[1:12]
            + b"\x55" * 8
            + b"\xbe\xde\x00\x01abcd"
            + packet.data[12:]
            + b"\xff\xff\xff\x04",
        )
        for packet in plain
    ]
    folder.write(plain, simple(["PCMA"]))
    _, wanted = made(folder, 1.0)
    folder.write(dressed, simple(["PCMA"]))
    _, heard = made(folder, 1.0)
    assert (heard.left == wanted.left).all()


def test_a_capture_cut_off_anywhere_is_converted_as_far_as_it_goes(folder: CaptureFolder) -> None:
    whole = pcap(talk("PCMA", HZ_A, PORT_A, 0.0, 0.4))
    for size in [0, 3, 23, 24, 30, 41, 60, 200, len(whole) // 2, len(whole) - 1]:
        folder.write(whole[:size], simple(["PCMA"]), complete=False)
        audio, heard = made(folder, 1.0)
        assert audio.cut_off
        packets = max(size - 24, 0) // ((len(whole) - 24) // 20)
        wanted = [(0.0, packets * 0.02)] if packets > 1 else []
        assert_span(heard, "left", HZ_A, *wanted)


def test_a_recording_that_is_not_whole_says_so(folder: CaptureFolder) -> None:
    """Whole are a call in which everything, or nothing, was said; cut off is what no end was written to."""
    whole = pcap(talk("PCMA", HZ_A, PORT_A, 0.0, 0.4))
    for body, cut_off in ((whole, False), (whole[:24], False), (whole[:23], True), (whole[:-1], True)):
        folder.write(body, simple(["PCMA"]))
        assert made(folder, 1.0)[0].cut_off is cut_off
    folder.write(whole, simple(["PCMA"]))
    [metadata] = (folder.path / "metadata").iterdir()
    metadata.write_text(metadata.read_text().partition("\nTimestamp terminated")[0])  # moved all the same
    assert made(folder, 1.0)[0].cut_off


def test_two_captures_of_one_call_share_the_time_line(folder: CaptureFolder) -> None:
    folder.write(talk("PCMA", HZ_A, PORT_A, 0.2, 0.5), simple(["PCMA"]), complete=False)
    folder.write(
        talk("PCMA", HZ_A, PORT_B, 1.0, 0.5), [section("answer", PORT_B, ["PCMA"], label="b")], stem="f" * 16
    )
    _, heard = made(folder, 2.0)
    assert_span(heard, "left", HZ_A, (0.2, 0.7), (1.0, 1.5))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>this is not a capture, it is a page</html>", "not a pcap file"),
        (pcap([])[:20] + b"\x71\x00\x00\x00" + bytes(40), "link type 113"),
        (pcap(talk("PCMA", HZ_A, PORT_A, 0, 0.1)) + b"\xff" * 64, "damaged at packet 6"),
    ],
)
def test_garbage_is_refused_with_the_reason(folder: CaptureFolder, body: bytes, why: str) -> None:
    folder.write(body, simple(["PCMA"]))
    with pytest.raises(CaptureError, match=why):
        made(folder, 1.0)
    assert not list(folder.path.parent.glob("made*"))
    assert len(folder.files()) == 2


def test_audio_that_nobody_can_read_is_refused_and_not_made_silence(folder: CaptureFolder) -> None:
    packets = talk("PCMA", HZ_A, PORT_A, 0, 1.5)
    gsm = section("answer", PORT_A, ["PCMA"], label="b").replace("PCMA/8000", "GSM-EFR/8000")
    folder.write(packets, [gsm])
    with pytest.raises(CaptureError, match="codec GSM-EFR"):
        made(folder, 2.0)
    unknown = [Packet(packet.at, PORT_A, packet.data[:1] + b"\x7a" + packet.data[2:]) for packet in packets]
    folder.write(unknown, simple(["PCMA"]))
    with pytest.raises(CaptureError, match="payload types"):
        made(folder, 2.0)
    noise = [
        Packet(packet.at, PORT_A, packet.data[:1] + b"\x60" + packet.data[2:12] + b"\xf0\x64?")
        for packet in packets
    ]
    folder.write(noise, simple(["AMR"]))
    _, heard = made(folder, 2.0)  # frames of a type that does not exist: nobody spoke
    assert_silence(heard, "left", 0, 2)


def test_packets_whose_metadata_is_gone_are_refused(folder: CaptureFolder) -> None:
    folder.write(talk("PCMA", HZ_A, PORT_A, 0, 0.2), simple(["PCMA"]))
    next((folder.path / "metadata").iterdir()).unlink()
    with pytest.raises(CaptureError, match="metadata"):
        made(folder, 1.0)


def test_a_folder_that_is_not_rtpengines_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        capture.find(tmp_path, "0197c1f0-0000-7000-8000-000000000000")


def test_a_second_conversion_after_a_crash_in_the_first_gives_the_same(folder: CaptureFolder) -> None:
    folder.write(talk("PCMA", HZ_A, PORT_A, 0.1, 0.4), simple(["PCMA"]))
    first, _ = made(folder, 1.0)
    target = folder.path.parent / "made.sealed"
    target.with_name(target.name + ".draft").write_bytes(b"\xff" * 100_000)  # what a dead process left
    second, _ = made(folder, 1.0)
    assert second == first


def played(path: Path, hz: int, seconds: float) -> None:
    """A prompt as the platform keeps it."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        sound = np.sin(2 * np.pi * hz * np.arange(round(8000 * seconds)) / 8000) * 8000
        file.writeframes(sound.astype("<i2").tobytes())


@pytest.mark.parametrize("name", ["PCMA", "G722"])
def test_announcements_lie_on_the_ear_of_who_heard_them(folder: CaptureFolder, name: str) -> None:
    """To A on the right, to B on the left; cut off where they were; music goes round; a lost file is none."""
    folder.write(talk(name, HZ_A, PORT_A, 0.2, 0.3, ssrc=1), simple([name]))
    prompt, music = folder.path.parent / "prompt.wav", folder.path.parent / "music.wav"
    played(prompt, 1500, 0.6)
    played(music, 2000, 0.25)
    told = [
        Announcement(START_US + 700_000, "said", Party.CALLER, 600, str(prompt)),
        Announcement(START_US + 1_000_000, "cut off", Party.CALLEE, 200, str(prompt)),
        Announcement(START_US + 1_500_000, "music", Party.CALLER, 1000, str(music)),
        Announcement(START_US + 2_700_000, "lost", Party.CALLEE, 200, str(prompt) + ".gone"),
    ]
    sealed, plain = folder.path.parent / "made.sealed", folder.path.parent / "made.wav"
    captures = capture.find(folder.path, folder.call_id)
    audio = convert(captures, START_US, START_US + 3_000_000, "wav", sealed, KEY, told)
    voice = open_file(sealed, audio.bytes, plain)["voice"]
    heard = listen(plain)
    # what is played is nobody's voice
    assert [len(spans) for spans in voice] == [1, 0]
    assert voice[0][0] == pytest.approx((200, 500), abs=20)
    assert_span(heard, "left", HZ_A, (0.2, 0.5))
    assert_span(heard, "right", 1500, (0.7, 1.3))
    assert_span(heard, "left", 1500, (1.0, 1.2))
    assert_span(heard, "right", 2000, (1.5, 2.5))
    assert_silence(heard, "left", 2.0, 3.0)
