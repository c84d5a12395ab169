"""From the packets of one stream to its sound, piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from xiaohao.recordings import depacketise
from xiaohao.recordings.depacketise import Depacketiser
from xiaohao.recordings.model import CaptureError, Payload
from xiaohao.recordings.timeline import Ticks

Samples = npt.NDArray[np.int16]

#: a sound is handed on when it has become so long, so that a call of hours needs no memory of hours
_LONGEST_SOUND_S: Final = 30

#: payload types that carry no speech: keys pressed (RFC 4733), comfort noise (RFC 3389), text
SPEECHLESS: Final = frozenset({"TELEPHONE-EVENT", "TONE", "CN", "T140"})


@dataclass(frozen=True)
class Coded:
    """The packets of one stream that share a codec, in the order of the time line.

    `at` is the tick of each packet's first sample; `piece` changes where the decoder meets another stretch.
    """

    data: npt.NDArray[np.uint8]
    at: Ticks
    start: Ticks
    length: Ticks


@dataclass(frozen=True)
class Sound:
    """Audio of one stretch. `joined` says that it goes on exactly where the sound before it stopped."""

    at: int
    samples: Samples
    joined: bool


@dataclass(frozen=True)
class Codec:
    """How one encoding becomes sound: the rate of its samples, and the way from packets to them."""

    rate: int
    decode: Callable[[Payload, Coded], Iterator[Sound]]


def codec(payload: Payload) -> Codec:
    """The codec of a payload type. Raises CaptureError where it is not one of ours."""
    found = _CODECS.get(payload.name)
    if found is None:
        raise CaptureError(f"the codec {payload.name[:32]} cannot be converted")
    return found


class Resampler:
    """Brings one sound after another to another rate; joined sounds pass without a seam."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._rate_in, self._rate_out = rate_in, rate_out
        self._converter = self._new()

    def _new(self) -> Any:
        return av.AudioResampler(format="s16", layout="mono", rate=self._rate_out)

    def feed(self, samples: Samples) -> Samples:
        """Give some, get some; the rest comes later."""
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate_in
        return _joined(self._converter.resample(frame))

    def finish(self) -> Samples:
        """What is still inside; after that the next sound may begin."""
        rest = _joined(self._converter.resample(None))
        self._converter = self._new()
        return rest


def _joined(frames: list[Any]) -> Samples:
    arrays = [frame.to_ndarray().reshape(-1) for frame in frames]
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int16)


def _alaw() -> Samples:
    """ITU-T G.711 table 1a: even bits inverted, sign set for positive values."""
    code = np.arange(256) ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    size = np.where(segment == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _ulaw() -> Samples:
    """ITU-T G.711 table 2a: all bits inverted."""
    code = np.arange(256) ^ 0xFF
    size = (((code & 15) * 8 + 132) << (code >> 4 & 7)) - 132
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _by_stretches(rate: int, coder: Callable[[], Callable[[bytes], Samples]]) -> Codec:
    """Codecs without frames, where a byte is a tick: a whole stretch of packets is decoded in one step.

    `coder` gives a decoder that remembers what it has to from one stretch to the next.
    """

    def decode(payload: Payload, coded: Coded) -> Iterator[Sound]:
        heard, raw = coder(), coded.data.data
        ends = np.flatnonzero(coded.at[:-1] + coded.length[:-1] != coded.at[1:]) + 1
        longest = np.arange(0, len(coded.at), _LONGEST_SOUND_S * 50)
        bounds = np.unique(np.concatenate([ends, longest, [len(coded.at)]])).tolist()
        spans = list(zip(coded.start.tolist(), (coded.start + coded.length).tolist(), strict=True))
        breaks = {0, *ends.tolist()}
        for first, end in pairwise(bounds):
            stretch = b"".join(raw[a:b] for a, b in spans[first:end])
            yield Sound(int(coded.at[first]), heard(stretch), joined=first not in breaks)

    return Codec(rate, decode)


def _table(table: Samples) -> Callable[[], Callable[[bytes], Samples]]:
    return lambda: lambda stretch: table[np.frombuffer(stretch, dtype=np.uint8)]


def _g722() -> Callable[[bytes], Samples]:
    """ITU-T G.722, 64 kbit/s: two samples a byte, but its RTP clock counts bytes (RFC 3551 section 4.5.2)."""
    context = _context("g722", 16000)
    return lambda stretch: _decoded(context, stretch)


def _context(decoder: str, rate: int) -> Any:
    context: Any = av.CodecContext.create(decoder, "r")
    context.sample_rate, context.layout = rate, "mono"
    return context


def _by_frames(rate: int, depacketiser: Callable[[Payload], Depacketiser], *decoders: str) -> Codec:
    """`decoders` are FFmpeg's names, best first; which of them there are depends on how PyAV was built."""
    decoder = next((name for name in decoders if name in av.codecs_available), decoders[-1])

    def decode(payload: Payload, coded: Coded) -> Iterator[Sound]:
        context = _context(decoder, rate)
        parts: list[Samples] = []
        at, size, joined = 0, 0, False
        heard = frames = 0
        for tick, frame in _frames(coded, depacketiser(payload)):
            frames += 1
            samples = _decoded(context, frame)
            if not len(samples):
                continue
            heard += 1
            follows = size > 0 and tick == at + size * payload.clock // rate
            if size and (not follows or size >= _LONGEST_SOUND_S * rate):
                yield Sound(at, np.concatenate(parts), joined)
                parts, size, joined = [], 0, follows
            if not size:
                at = tick
            parts.append(samples)
            size += len(samples)
        if frames and not heard:
            raise CaptureError(f"not one frame of the {payload.name} audio can be decoded")
        if size:
            yield Sound(at, np.concatenate(parts), joined)

    return Codec(rate, decode)


def _frames(coded: Coded, depacketiser: Depacketiser) -> list[tuple[int, bytes]]:
    raw = coded.data.data
    spans = zip(coded.at.tolist(), coded.start.tolist(), (coded.start + coded.length).tolist(), strict=True)
    found = [
        (at + offset, frame)
        for at, start, end in spans
        for offset, frame in depacketiser(bytes(raw[start:end]))
    ]
    found.sort(key=lambda pair: pair[0])  # frames that a sender interleaved come back into order
    return found


def _decoded(context: Any, frame: bytes) -> Samples:
    """Mono samples of coded bytes; none where the decoder refuses them."""
    if not frame:
        return np.zeros(0, dtype=np.int16)
    try:
        arrays = [part.to_ndarray() for part in context.decode(av.Packet(frame))]
    except av.FFmpegError:
        return np.zeros(0, dtype=np.int16)
    if not arrays:
        return np.zeros(0, dtype=np.int16)
    samples = (
        arrays[0].reshape(-1) if len(arrays) == 1 else np.concatenate([part.reshape(-1) for part in arrays])
    )
    if samples.dtype == np.int16:
        return samples
    return np.clip(samples * 32768.0, -32768, 32767).astype(np.int16)


_CODECS: Final = {
    "PCMA": _by_stretches(8000, _table(_alaw())),
    "PCMU": _by_stretches(8000, _table(_ulaw())),
    "G722": _by_stretches(16000, _g722),
    "OPUS": _by_frames(48000, lambda _: depacketise.whole, "libopus", "opus"),
    # FFmpeg's own AMR decoders lose a fifth of the loudness
    "AMR": _by_frames(8000, depacketise.amr, "libopencore_amrnb", "amrnb"),
    "AMR-WB": _by_frames(16000, depacketise.amr, "libopencore_amrwb", "amrwb"),
    "G729": _by_frames(8000, lambda _: depacketise.g729, "g729"),
}
