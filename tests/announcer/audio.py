"""Prompts that can be told apart with certainty, and the recognition of one in what a phone has received."""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 8000
Sound = npt.NDArray[np.float64]


def sweep(from_hz: int, to_hz: int, seconds: float) -> Sound:
    """A tone that slides: nothing else correlates with it, and only at one moment."""
    t = np.arange(round(RATE * seconds)) / RATE
    turns = from_hz * t + (to_hz - from_hz) * t * t / 2 / seconds
    return np.asarray(np.sin(2 * np.pi * turns) * 8000)


def write(path: Path, sound: Sound) -> None:
    """A prompt as the platform keeps it: 8 kHz, one channel, 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(sound.astype("<i2").tobytes())


@dataclass(frozen=True)
class Found:
    """How like the prompt the likest stretch is (1: the same but for loudness), and where it begins (s)."""

    likeness: float
    at_s: float


def find(prompt: Sound, heard: npt.NDArray[np.int16]) -> Found:
    """Where in `heard` the prompt is, by normalised cross-correlation."""
    line = np.pad(heard.astype(np.float64), (RATE // 10, RATE // 10))
    if len(line) < len(prompt):
        return Found(0.0, 0.0)
    size = len(line) + len(prompt)
    product = np.fft.irfft(np.fft.rfft(line, size) * np.conj(np.fft.rfft(prompt, size)), size)
    product = product[: len(line) - len(prompt) + 1]
    sums = np.concatenate([[0.0], np.cumsum(line**2)])
    energy = sums[len(prompt) :] - sums[: -len(prompt)]
    likeness = product / np.sqrt(np.maximum(energy, 1.0) * np.sum(prompt**2))
    best = int(np.argmax(likeness))
    return Found(float(likeness[best]), best / RATE - 0.1)


def is_heard(prompt: Sound, heard: npt.NDArray[np.int16]) -> bool:
    """Whether the prompt has been heard: another one, or half of it, is nowhere near so like it."""
    return find(prompt, heard).likeness > 0.8
