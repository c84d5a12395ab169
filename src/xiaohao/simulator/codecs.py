"""The codecs that phones speak: G.711 by table, the others through FFmpeg (PyAV).

A phone only ever sends one tone, so its second of audio is encoded once and then sent round and round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

#: everything that a phone hears is brought to this rate
RATE: Final = 8000
FRAME_S: Final = 0.02
_LOOP_FRAMES: Final = 50
_AMPLITUDE: Final = 8000


@dataclass(frozen=True)
class Codec:
    """An RTP payload format: its SDP name, usual payload type, RTP clock and FFmpeg coders."""

    name: str
    payload_type: int
    clock: int
    encoder: str = ""
    decoder: str = ""
    #: rate of the audio inside, which is not always the RTP clock (G.722, RFC 3551 §4.5.2)
    audio_rate: int = RATE
    channels: int = 1
    fmtp: str = ""
    #: bytes in front of each coded frame in the payload (AMR: the codec mode request, RFC 4867 §4.4)
    prefix: bytes = b""

    @property
    def step(self) -> int:
        """RTP timestamp units in a frame of 20 ms."""
        return self.clock // 50

    @property
    def rtpmap(self) -> str:
        """The value of a=rtpmap without the payload type."""
        return f"{self.name}/{self.clock}" + (f"/{self.channels}" if self.channels > 1 else "")


CODECS: Final = {
    codec.name.upper(): codec
    for codec in (
        Codec("PCMA", 8, 8000),
        Codec("PCMU", 0, 8000),
        Codec("G722", 9, 8000, encoder="g722", decoder="g722", audio_rate=16000),
        Codec("opus", 111, 48000, encoder="libopus", decoder="libopus", audio_rate=48000, channels=2),
        Codec(
            "AMR", 96, 8000, "libopencore_amrnb", "libopencore_amrnb", fmtp="octet-align=1", prefix=b"\xf0"
        ),
    )
}


def _alaw_table() -> Samples:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    value = np.where(
        exponent > 0, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0), (mantissa << 4) + 8
    )
    return np.where(code & 0x80, value, -value).astype(np.int16)


def _ulaw_table() -> Samples:
    code = ~np.arange(256) & 0xFF
    value = ((((code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -value, value).astype(np.int16)


_DECODE: Final = {"PCMA": _alaw_table(), "PCMU": _ulaw_table()}


def encode_g711(name: str, samples: Samples) -> bytes:
    """Encode 8 kHz audio to "PCMA" or "PCMU": the nearest value of the table."""
    table = _DECODE[name]
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    place = np.clip(np.searchsorted(values, samples), 1, 255)
    lower_is_nearer = samples - values[place - 1] < values[place] - samples
    return order[place - lower_is_nearer].astype(np.uint8).tobytes()


def sine(hz: int, seconds: float, rate: int = RATE) -> Samples:
    """A tone at about -12 dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    return (_AMPLITUDE * np.sin(2 * np.pi * hz * time)).astype(np.int16)


@lru_cache(maxsize=256)
def tone_payloads(name: str, hz: int) -> tuple[bytes, ...]:
    """One second of the tone `hz` (a whole number: its end joins its beginning) as 50 RTP payloads."""
    codec = CODECS[name]
    if not codec.encoder:
        coded = encode_g711(name, sine(hz, 1.0))
        return tuple(coded[at : at + 160] for at in range(0, RATE, 160))
    # the coder settles in the first second; the second one is kept
    payloads = _encode(codec, sine(hz, 2.2, codec.audio_rate))
    return tuple(payloads[_LOOP_FRAMES : 2 * _LOOP_FRAMES])


#: ITU-T Q.23: the two pitches of each key
_ROWS: Final = (697, 770, 852, 941)
_COLUMNS: Final = (1209, 1336, 1477, 1633)
_PAD: Final = ("123A", "456B", "789C", "*0#D")


def key_payloads(name: str, key: str) -> tuple[bytes, ...]:
    """100 ms of a key's tones and 100 ms of silence as 10 RTP payloads of G.711. Raises ValueError."""
    if CODECS[name].encoder:
        raise ValueError("tones of keys do not survive this codec")
    row = next((place for place, keys in enumerate(_PAD) if key in keys), None)
    if row is None:
        raise ValueError("that is no key")
    column = _PAD[row].index(key)
    tones = (sine(_ROWS[row], 0.1) // 2 + sine(_COLUMNS[column], 0.1) // 2).astype(np.int16)
    coded = encode_g711(name, np.concatenate([tones, np.zeros_like(tones)]))
    return tuple(coded[at : at + 160] for at in range(0, len(coded), 160))


def _encode(codec: Codec, samples: Samples) -> list[bytes]:
    coder: Any = av.CodecContext.create(codec.encoder, "w")
    coder.sample_rate = codec.audio_rate
    coder.layout = "stereo" if codec.channels == 2 else "mono"
    coder.format = "s16"
    if codec.name == "AMR":
        coder.bit_rate = 12200
    size = round(codec.audio_rate * FRAME_S)
    payloads: list[bytes] = []
    for at in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(
            np.repeat(samples[at : at + size], codec.channels).reshape(1, -1),
            format="s16",
            layout=coder.layout.name,
        )
        frame.sample_rate = codec.audio_rate
        frame.pts = at
        payloads += [codec.prefix + bytes(packet) for packet in coder.encode(frame)]
    return payloads


def decode(name: str, payloads: Sequence[bytes]) -> Samples:
    """The audio of consecutive RTP payloads of one stream, mono at 8 kHz. Damaged payloads are left out."""
    table = _DECODE.get(name)
    if table is not None:
        return table[np.frombuffer(b"".join(payloads), dtype=np.uint8)]
    codec = CODECS[name]
    coder: Any = av.CodecContext.create(codec.decoder, "r")
    coder.sample_rate = codec.audio_rate
    coder.layout = "stereo" if codec.channels == 2 else "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces: list[Samples] = []
    for payload in payloads:
        try:
            frames = coder.decode(av.Packet(payload[len(codec.prefix) :]))
        except av.FFmpegError:
            continue
        for frame in frames:
            pieces += [piece.to_ndarray().reshape(-1).astype(np.int16) for piece in resampler.resample(frame)]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16)
