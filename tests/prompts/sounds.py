"""Sounds to be uploaded, made by FFmpeg's program as strangers would, and what is heard in others."""

import subprocess
from pathlib import Path

import numpy as np

from xiaohao.prompts.sound import Samples, decoded, wav


def tone(seconds: float, hertz: float = 440.0, level: float = 0.1) -> Samples:
    """A sine, as it would be played."""
    time = np.arange(round(seconds * 8000)) / 8000
    return np.rint(np.sin(2 * np.pi * hertz * time) * level * 32767).astype(np.int16)


def tone_file(seconds: float = 2.0, hertz: float = 440.0, level: float = 0.1) -> bytes:
    """The same as a WAV file."""
    return wav(tone(seconds, hertz, level))


def encoded(folder: Path, suffix: str, *options: str, source: str = "sine=frequency=440:duration=2") -> bytes:
    """A file of another maker's: `ffmpeg -f lavfi -i SOURCE OPTIONS file.SUFFIX`."""
    file = folder / f"made.{suffix}"
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, *options, str(file)]
    subprocess.run(command, check=True)
    return file.read_bytes()


def pitch(content: bytes) -> float:
    """The strongest frequency in a file, in Hz."""
    samples = decoded(content).astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * 8000 / len(samples))


def stranger_loudness(file: Path) -> tuple[float, float]:
    """Integrated loudness (LUFS) and the highest sample (dBFS) as the program ffmpeg measures them."""
    command = [
        "ffmpeg",
        "-hide_banner",
        "-nostats",
        "-i",
        str(file),
        "-af",
        "ebur128=peak=sample",
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    summary = said[said.rindex("Summary:") :].split()
    return float(summary[summary.index("I:") + 1]), float(summary[summary.index("Peak:") + 1])
