"""What a player draws, and what is measured of each voice: peaks, level, and when somebody spoke.

Level and activity are those of ITU-T P.56 (method B), on blocks of 5 ms instead of single samples: the level
is that of the speech alone, not of the pauses between. dBFS means: relative to 32768 (dBov of ITU-T G.100.1),
so that a sine of full scale has -3.
"""

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from xiaohao.recordings.model import Side, Voice

#: pixels a second: one for 50 ms
PER_SECOND: Final = 20
_BLOCKS_A_SECOND: Final = 200
_BLOCKS_A_PIXEL: Final = _BLOCKS_A_SECOND // PER_SECOND
#: P.56: time constant of the envelope, how long speech is taken to go on behind it, and how far below the
#: level of speech the envelope still is speech
_CONSTANT_BLOCKS: Final = 0.030 * _BLOCKS_A_SECOND
_HANGOVER_BLOCKS: Final = round(0.200 * _BLOCKS_A_SECOND)
_MARGIN_DB: Final = 15.9
#: what is shorter was nobody's voice
_CLICK_BLOCKS: Final = 4
_TAPS: Final = 60
#: thresholds in dBFS, 6 dB apart; what never passes the lowest is silence
_THRESHOLDS: Final = np.arange(-60.206, 0.0, 6.0206)
_FULL: Final = 32_768.0

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[np.int16]


class Picture(msgspec.Struct, frozen=True):
    """For each pixel the least and the greatest sample of left and right, in 8 bits; spans of voice in ms."""

    rate: int
    samples: int
    data: bytes
    voice: tuple[list[tuple[int, int]], list[tuple[int, int]]]

    @property
    def length(self) -> int:
        """Pixels."""
        return len(self.data) // 4

    def packed(self) -> bytes:
        """As it is kept."""
        return zlib.compress(msgspec.msgpack.encode(self), 6)

    @classmethod
    def unpacked(cls, packed: bytes) -> "Picture":
        """The inverse of `packed`."""
        return msgspec.msgpack.decode(zlib.decompress(packed), type=cls)

    def waveform(self, most: int) -> dict[str, Any]:
        """At most `most` pixels in the JSON format of BBC's audiowaveform, version 2, that players read."""
        pixels = np.frombuffer(self.data, dtype=np.int8).reshape(-1, 2, 2)
        joined = max(-(-len(pixels) // most), 1)
        starts = np.arange(0, len(pixels), joined)
        if joined > 1:
            least = np.minimum.reduceat(pixels[:, :, 0], starts, axis=0)
            pixels = np.stack([least, np.maximum.reduceat(pixels[:, :, 1], starts, axis=0)], axis=2)
        return {
            "version": 2,
            "channels": 2,
            "sample_rate": self.rate,
            "samples_per_pixel": self.rate // PER_SECOND * joined,
            "bits": 8,
            "length": len(pixels),
            "data": pixels.ravel().tolist(),
        }


Seen = tuple[Picture, dict[Side, Voice]]


def look(blocks: Iterable[Samples], rate: int) -> Seen:
    """Look at audio, given in order as arrays of (samples, 2); all but the last are whole seconds long."""
    step = rate // _BLOCKS_A_SECOND
    squares: list[Floats] = []
    sizes: list[Floats] = []
    peaks: list[npt.NDArray[np.int8]] = []
    samples = 0
    for block in blocks:
        samples += len(block)
        padded = _padded(block, step * _BLOCKS_A_PIXEL)
        shaped = padded.reshape(-1, step, 2).astype(np.float32)
        sizes.append(np.abs(shaped).mean(axis=1))
        squares.append(np.square(shaped).mean(axis=1))
        pixels = padded.reshape(-1, step * _BLOCKS_A_PIXEL, 2)
        both = np.stack([pixels.min(axis=1), pixels.max(axis=1)], axis=2)
        peaks.append((both >> 8).astype(np.int8))
    voices, spans = {}, {}
    for side in Side:
        size = np.concatenate([one[:, side] for one in sizes]) if sizes else np.zeros(0, np.float32)
        square = np.concatenate([one[:, side] for one in squares]) if squares else size
        voices[side], spans[side] = _voice(size, square, samples * 1000 // rate)
    data = b"".join(one.tobytes() for one in peaks)
    return Picture(rate, samples, data, (spans[Side.A], spans[Side.B])), voices


def _padded(block: Samples, step: int) -> Samples:
    missing = -len(block) % step
    return np.concatenate([block, np.zeros((missing, 2), dtype=block.dtype)]) if missing else block


def _voice(size: Floats, square: Floats, whole_ms: int) -> tuple[Voice, list[tuple[int, int]]]:
    """Activity and level of one side from the mean size and the mean square of each block."""
    level = over = None
    envelope = np.convolve(size, _kernel())[: len(size)] if len(size) else size
    energy = float(square.sum(dtype=np.float64)) / _FULL**2
    for threshold in _THRESHOLDS.tolist():
        active = int(np.count_nonzero(_speech(envelope, threshold)))
        if not active:
            break
        seen = 10 * float(np.log10(energy / active))
        above = seen - threshold - _MARGIN_DB
        if above <= 0:  # the level lies between what this threshold and the one below it gave
            part = 0.0 if over is None else over / (over - above)
            level = seen if level is None else level + (seen - level) * part
            break
        level, over = seen, above
    if level is None:
        return Voice(0, None), []
    spans = _spans(np.sqrt(square), max(level - _MARGIN_DB, float(_THRESHOLDS[0])), whole_ms)
    return Voice(sum(end - begin for begin, end in spans), round(level, 1)), spans


def _kernel() -> Floats:
    """The envelope's filter: two exponential averages, one behind the other."""
    g = np.exp(-1 / _CONSTANT_BLOCKS)
    place = np.arange(_TAPS)
    taps = (place + 1) * (1 - g) ** 2 * g**place
    return np.asarray(taps / taps.sum(), dtype=np.float32)


def _speech(envelope: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Where the envelope reaches a threshold in dBFS, or did a moment ago."""
    place = np.arange(len(envelope))
    reached = envelope >= _FULL * 10 ** (threshold / 20)
    latest = np.maximum.accumulate(np.where(reached, place, -_HANGOVER_BLOCKS - 1))
    return place - latest <= _HANGOVER_BLOCKS


def _spans(size: Floats, threshold: float, whole_ms: int) -> list[tuple[int, int]]:
    """From when to when a side spoke: short pauses are part of it, clicks are not, and nothing hangs over."""
    reached = np.concatenate([[False], size >= _FULL * 10 ** (threshold / 20), [False]])
    edges = np.flatnonzero(np.diff(reached.astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    apart = begins[1:] - ends[:-1] > _HANGOVER_BLOCKS
    begins, ends = begins[np.append(True, apart)], ends[np.append(apart, True)]
    long = ends - begins >= _CLICK_BLOCKS
    in_ms = [np.minimum(one[long] * 1000 // _BLOCKS_A_SECOND, whole_ms).tolist() for one in (begins, ends)]
    return list(zip(*in_ms, strict=True))
