"""Sound as it is played: 8 kHz, one channel, 16 bit, of one loudness. numpy and FFmpeg (PyAV) do the work.

The loudness is the integrated loudness of EBU R 128 (ITU-R BS.1770-4): -23 LUFS, with no sample above
-3 dBFS. Speech at that loudness has an active level (ITU-T P.56) near -24 dBov, as telephones have it.
"""

import io
import wave
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import av
import av.error
import av.filter
import numpy as np
import numpy.typing as npt

from xiaohao.prompts.model import LONGEST_MS, SAMPLE_RATE, SHORTEST_MS

Samples = npt.NDArray[np.int16]

#: LUFS; what a prompt may differ from it; dBFS that no sample exceeds
LOUDNESS: Final = -23.0
TOLERANCE: Final = 1.0
CEILING: Final = -3.0
#: LUFS below which a file is silence: the gate of BS.1770-4
SILENCE: Final = -60.0
#: gating needs blocks of 400 ms: what is shorter than this is measured repeated
_MEASURED_S: Final = 3
_ROUNDS: Final = 4
_FULL: Final = 32768.0
_RATES: Final = range(4_000, 192_001)
_CHANNELS_MOST: Final = 8
#: the first bytes of a file, and which of FFmpeg's readers takes it: no other is ever tried
_SIGNATURES: Final = (
    (b"RIFF", "wav"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    *((bytes((0xFF, second)), "mp3") for second in (0xFB, 0xF3, 0xF2, 0xFA, 0xE3, 0xF1)),
)
_CODECS: Final = frozenset(
    {
        *("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"),
        *("mp3", "mp3float", "vorbis", "opus", "libopus", "libvorbis"),
    }
)


class SoundError(Exception):
    """A file is no prompt. `code` is stable snake_case, the text tells a person why and quotes nothing."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def decoded(content: bytes) -> Samples:
    """The sound in a WAV, MP3 or OGG file. Raises SoundError."""
    reader = next((name for begin, name in _SIGNATURES if content.startswith(begin)), None)
    if reader is None:
        raise SoundError("audio_not_supported", "The file is neither WAV, MP3 nor OGG.")
    if reader == "wav" and len(content) < _said_length(content):
        raise SoundError("audio_malformed", "The file is shorter than it says: its end is missing.")
    try:
        # A file in memory and one reader: nothing in it can name other files or addresses.
        with av.open(io.BytesIO(content), format=reader) as container:
            return _read(container)
    except (av.error.FFmpegError, ValueError, IndexError, MemoryError):
        raise SoundError(
            "audio_malformed", "The file cannot be decoded: it is damaged, or no audio."
        ) from None


def _said_length(wav: bytes) -> int:
    """How long a WAV file says that it is; 0 where it was written to a stream and says nothing."""
    said = int.from_bytes(wav[4:8], "little")
    return 0 if said in (0, 0xFFFF_FFFF) else said + 8


def _read(container: Any) -> Samples:
    if not container.streams.audio:
        raise SoundError("audio_malformed", "There is no sound in the file.")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    # there is none where FFmpeg does not know the coding that the file says
    if codec is None or codec.name not in _CODECS:
        raise SoundError("audio_not_supported", "The file's coding is none of WAV, MP3, Vorbis and Opus.")
    if codec.sample_rate not in _RATES or not 1 <= codec.channels <= _CHANNELS_MOST:
        raise SoundError("audio_not_supported", "Its sample rate or number of channels is out of bounds.")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    parts: list[Samples] = []
    length = 0
    for frame in _frames(container, stream):
        for made in resampler.resample(frame):
            part = made.to_ndarray().reshape(-1).astype(np.int16)
            parts.append(part)
            length += len(part)
        _check_longest(length)
    samples = np.concatenate(parts) if parts else silence(0)
    check_length(samples)
    return samples


def check_length(samples: Samples) -> None:
    """Raises SoundError where a prompt would be too long or too short."""
    _check_longest(len(samples))
    if duration_ms(samples) < SHORTEST_MS:
        raise SoundError("audio_too_short", f"A prompt has at least {SHORTEST_MS} milliseconds.")


def _check_longest(length: int) -> None:
    if length > LONGEST_MS * SAMPLE_RATE // 1000:
        raise SoundError("audio_too_long", f"A prompt has at most {LONGEST_MS // 1000} seconds.")


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    yield from container.decode(stream)
    yield None  # what the resampler still holds


def loudness(samples: Samples) -> float:
    """The integrated loudness in LUFS; about -70 for silence."""
    least = _MEASURED_S * SAMPLE_RATE
    if 0 < len(samples) < least:
        samples = np.tile(samples, -(-least // len(samples)))
    frames = _filtered(samples, ("ebur128", {"metadata": "1"}))
    # the last frames may be too short to have been measured
    said = [text for frame in frames if (text := frame.metadata.get("lavfi.r128.I")) is not None]
    return float(said[-1]) if said else SILENCE - 10


def levelled(samples: Samples) -> Samples:
    """The same sound at LOUDNESS and under CEILING. Raises SoundError for silence."""
    measured = loudness(samples)
    if measured < SILENCE:
        raise SoundError("audio_silent", "There is nothing to be heard in it.")
    limit = 10 ** (CEILING / 20)
    for _ in range(_ROUNDS):
        gained = samples.astype(np.float64) * 10 ** ((LOUDNESS - measured) / 20)
        if np.abs(gained).max() / _FULL > limit:
            gained = _limited(gained, limit)
        samples = np.clip(np.rint(gained), -limit * _FULL, limit * _FULL).astype(np.int16)
        measured = loudness(samples)
        # what is only clicks cannot be as loud: the ceiling goes first
        if abs(measured - LOUDNESS) < TOLERANCE / 10:
            break
    return samples


def _limited(samples: npt.NDArray[np.float64], limit: float) -> npt.NDArray[np.float64]:
    """Bring down what is over the limit for some milliseconds around it, so that nothing is cut off."""
    peaks = np.abs(samples) / _FULL
    wanted = np.minimum(1.0, limit / np.maximum(peaks, 1e-9))
    reach = SAMPLE_RATE // 100
    padded = np.pad(wanted, reach, constant_values=1.0)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    kernel = np.hanning(2 * reach + 1)
    eased = np.convolve(np.pad(lowest, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
    return samples * np.minimum(eased, wanted)


def _filtered(samples: Samples, *filters: tuple[str, dict[str, str]]) -> Iterator[Any]:
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="s16", layout="mono")
    chain = [source, *(graph.add(name, **options) for name, options in filters), graph.add("abuffersink")]
    for before, after in pairwise(chain):
        before.link_to(after)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "s16", "mono")
    frame.sample_rate = SAMPLE_RATE
    for given in (frame, None):
        graph.push(given)
        while True:
            try:
                yield graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break


def silence(milliseconds: int) -> Samples:
    """So much of nothing."""
    return np.zeros(milliseconds * SAMPLE_RATE // 1000, np.int16)


def duration_ms(samples: Samples) -> int:
    """How long it takes to play."""
    return len(samples) * 1000 // SAMPLE_RATE


def wav(samples: Samples) -> bytes:
    """A WAV file of it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def from_wav(content: bytes) -> Samples:
    """What `wav` made a file of."""
    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
