"""Listens to a finished recording: what is in its left and in its right channel?"""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True, slots=True)
class Side:
    """One channel: the strongest tone in it (None: silence) and between which seconds something sounds."""

    hz: float | None
    begins_s: float
    ends_s: float

    def __str__(self) -> str:
        if self.hz is None:
            return "silence"
        return f"{self.hz:.0f} Hz from {self.begins_s:.1f} s to {self.ends_s:.1f} s"


def sides_of(path: Path) -> tuple[Side, Side]:
    """The left and the right channel of an audio file. Raises av.FFmpegError where it is none."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.rate
        resampler = av.AudioResampler(format="s16p", layout="stereo", rate=rate)
        blocks = [out.to_ndarray() for frame in container.decode(stream) for out in resampler.resample(frame)]
    samples = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.int16)
    return _side(samples[0], rate), _side(samples[1], rate)


def _side(samples: np.ndarray[tuple[int], np.dtype[np.int16]], rate: int) -> Side:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 500)
    if not len(loud):
        return Side(None, 0, 0)
    part = samples[loud[0] : loud[-1] + 1].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    return Side(float(spectrum.argmax() * rate / len(part)), loud[0] / rate, loud[-1] / rate)
