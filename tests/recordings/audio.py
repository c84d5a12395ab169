"""Tones, the payloads that phones make of them, and ears to find them again.

The encoders are FFmpeg's and two libraries of others, never the product's own tables.
"""

import ctypes
import subprocess
import wave
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
HZ_A, HZ_B = 425, 1150


@dataclass(frozen=True)
class PhoneCodec:
    """What a phone does with a codec: SDP, RTP clock, rate of the audio, 20 ms of it in each payload."""

    payload_type: int
    rtpmap: str
    clock: int
    rate: int
    fmtp: str = ""

    def sdp_lines(self) -> str:
        lines = f"a=rtpmap:{self.payload_type} {self.rtpmap}\r\n"
        return lines + (f"a=fmtp:{self.payload_type} {self.fmtp}\r\n" if self.fmtp else "")


CODECS = {
    "PCMA": PhoneCodec(8, "PCMA/8000", 8000, 8000),
    "PCMU": PhoneCodec(0, "PCMU/8000", 8000, 8000),
    "G722": PhoneCodec(9, "G722/8000", 8000, 16000),
    "opus": PhoneCodec(111, "opus/48000/2", 48000, 16000, "useinbandfec=1"),
    "AMR": PhoneCodec(96, "AMR/8000", 8000, 8000, "octet-align=1;mode-change-capability=2"),
    "AMR-be": PhoneCodec(97, "AMR/8000", 8000, 8000),
    "AMR-WB": PhoneCodec(98, "AMR-WB/16000", 16000, 16000, "octet-align=1"),
    "AMR-WB-be": PhoneCodec(99, "AMR-WB/16000/1", 16000, 16000, "mode-set=0,1,2"),
    "G729": PhoneCodec(18, "G729/8000", 8000, 8000, "annexb=no"),
}


def tone(hz: int, seconds: float, rate: int) -> Samples:
    return (9000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


@lru_cache(maxsize=64)
def payloads(name: str, hz: int, count: int) -> tuple[bytes, ...]:
    """`count` RTP payloads of 20 ms with a tone."""
    rate = CODECS[name].rate
    samples = tone(hz, (count + 3) / 50, rate)
    if name.startswith("AMR-WB"):
        frames = _amr_wb_frames(samples)
    elif name.startswith("AMR"):
        frames = _ffmpeg("libopencore_amrnb", samples, rate, bit_rate=12200)
    elif name == "G729":
        ten_ms = _g729_frames(samples)
        frames = [first + second for first, second in zip(ten_ms[::2], ten_ms[1::2], strict=False)]
    else:
        encoder = {"PCMA": "pcm_alaw", "PCMU": "pcm_mulaw", "G722": "g722", "opus": "libopus"}[name]
        frames = _ffmpeg(encoder, samples, rate, bit_rate=32000 if name == "opus" else 64000)
    if name.startswith("AMR"):
        pack = bandwidth_efficient if name.endswith("-be") else octet_aligned
        frames = [pack([frame], wide="WB" in name) for frame in frames]
    assert len(frames) >= count
    return tuple(frames[:count])


def octet_aligned(frames: list[bytes], wide: bool) -> bytes:
    """RFC 4867 section 4.4 from frames in storage format."""
    contents = [frame[0] | (0x80 if place < len(frames) - 1 else 0) for place, frame in enumerate(frames)]
    return b"\xf0" + bytes(contents) + b"".join(frame[1:] for frame in frames)


def bandwidth_efficient(frames: list[bytes], wide: bool) -> bytes:
    """RFC 4867 section 4.3, written bit by bit."""
    sizes = (
        [132, 177, 253, 285, 317, 365, 397, 461, 477, 40, 0, 0, 0, 0, 0, 0]
        if wide
        else [95, 103, 118, 134, 148, 159, 204, 244, 39, 43, 38, 37, 0, 0, 0, 0]
    )
    bits = "1111"
    for place, frame in enumerate(frames):
        bits += ("1" if place < len(frames) - 1 else "0") + f"{frame[0] >> 2 & 31:05b}"
    for frame in frames:
        bits += "".join(f"{byte:08b}" for byte in frame[1:])[: sizes[frame[0] >> 3 & 15]]
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def _ffmpeg(encoder: str, samples: Samples, rate: int, bit_rate: int) -> list[bytes]:
    context: Any = av.CodecContext.create(encoder, "w")
    context.sample_rate, context.layout, context.format = rate, "mono", "s16"
    context.bit_rate, context.time_base = bit_rate, Fraction(1, rate)
    size = rate // 50
    packets = []
    for at in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(
            samples[at : at + size].reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, at, context.time_base
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets


def _library(name: str, package: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise AssertionError(f"{name} is missing: apt-get install {package}") from error


def _amr_wb_frames(samples: Samples) -> list[bytes]:
    """Frames of 20 ms in storage format, 23.85 kbit/s."""
    library = _library("libvo-amrwbenc.so.0", "libvo-amrwbenc0")
    library.E_IF_init.restype = ctypes.c_void_p
    library.E_IF_encode.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    ]
    library.E_IF_exit.argtypes = [ctypes.c_void_p]
    coder = library.E_IF_init()
    frames = []
    for at in range(0, len(samples) - 319, 320):
        block, out = np.ascontiguousarray(samples[at : at + 320]), ctypes.create_string_buffer(128)
        size = library.E_IF_encode(coder, 8, block.ctypes.data, out, 0)
        frames.append(out.raw[:size])
    library.E_IF_exit(coder)
    return frames


def _g729_frames(samples: Samples) -> list[bytes]:
    """Frames of 10 ms."""
    library = _library("libbcg729.so.0", "libbcg729-0")
    library.initBcg729EncoderChannel.restype = ctypes.c_void_p
    library.initBcg729EncoderChannel.argtypes = [ctypes.c_uint8]
    library.bcg729Encoder.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint8))
    ]
    library.closeBcg729EncoderChannel.argtypes = [ctypes.c_void_p]
    coder = library.initBcg729EncoderChannel(0)
    frames = []
    for at in range(0, len(samples) - 79, 80):
        block, out = np.ascontiguousarray(samples[at : at + 80]), ctypes.create_string_buffer(16)
        size = ctypes.c_uint8()
        library.bcg729Encoder(coder, block.ctypes.data, out, ctypes.byref(size))
        frames.append(out.raw[: size.value])
    library.closeBcg729EncoderChannel(coder)
    return frames


@dataclass(frozen=True)
class Heard:
    """An audio file as a stranger's decoder plays it."""

    rate: int
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]

    @property
    def seconds(self) -> float:
        return len(self.left) / self.rate

    def level(self, channel: str, hz: int, start: float, end: float) -> float:
        """How much of the channel between two moments is this tone: its amplitude, 1.0 = what phones send."""
        samples = getattr(self, channel)[round(start * self.rate) : round(end * self.rate)]
        turning = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / self.rate)
        return float(2 * abs(np.mean(samples * turning)) / 9000)

    def loudness(self, channel: str, start: float, end: float) -> float:
        """Greatest sample between two moments, 1.0 = what phones send."""
        samples = getattr(self, channel)[round(start * self.rate) : round(end * self.rate)]
        return float(np.max(np.abs(samples), initial=0) / 9000)

    def spans(self, channel: str, hz: int) -> list[tuple[float, float]]:
        """Where the tone is heard: (begin, end) in s, to about 5 ms; pauses under 60 ms do not count."""
        samples, window = getattr(self, channel), self.rate // 100
        turning = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / self.rate) * samples
        sums = np.concatenate([[0], np.cumsum(turning)])
        power = 2 * np.abs(sums[window:] - sums[:-window]) / window / 9000
        loud = np.flatnonzero(power > 0.5)
        if not len(loud):
            return []
        breaks = np.flatnonzero(np.diff(loud) > 0.06 * self.rate)
        begins = np.concatenate([[loud[0]], loud[breaks + 1]])
        ends = np.concatenate([loud[breaks], [loud[-1]]])
        half = window / 2
        return [
            (float((b + half) / self.rate), float((e + half) / self.rate))
            for b, e in zip(begins, ends, strict=True)
        ]


def listen(path: Path) -> Heard:
    """Decode a file: WAV with Python's own reader, the others with ffmpeg."""
    if path.suffix == ".wav":
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
            rate, raw = file.getframerate(), file.readframes(file.getnframes())
    else:
        entries = ("-show_entries", "stream=sample_rate,channels", "-of", "csv=p=0")
        facts = _run("ffprobe", "-v", "error", *entries, str(path))
        rate, channels = map(int, facts.decode().strip().split(","))
        assert channels == 2
        raw = _run("ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-ar", str(rate), "-")
    both = np.frombuffer(raw, dtype="<i2").reshape(-1, 2).astype(np.float64)
    return Heard(rate, both[:, 0], both[:, 1])


def _run(*command: str) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise AssertionError(f"{command[0]} is missing: apt-get install ffmpeg") from error
