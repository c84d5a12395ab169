"""The two channels on one time line, and the file they become."""

import hashlib
from fractions import Fraction
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Any, Final

import av
import msgspec
import numpy as np
import numpy.typing as npt

from xiaohao.recordings.model import AudioFile, CaptureError, Format, Side, Sound
from xiaohao.recordings.picture import Seen, look
from xiaohao.recordings.seal import seal

_CHANNELS: Final = 2
_SAMPLE_BYTES: Final = 2
#: RIFF, WAVE, `fmt ` (PCM) and the head of `data`
_WAV_HEADER: Final = Struct("<4sI4s4sIHHIIHH4sI")
#: RIFF counts its bytes in 32 bits
_LONGEST_BYTES: Final = 0xFFFF_FFFF - 64
_ENCODE_SECONDS: Final = 10

#: FFmpeg's names; bits a second for both channels, enough that neither side is heard on the other's channel
_CODERS: Final = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus")}
_BIT_RATES: Final = {
    ("mp3", 8000): 48_000,
    ("mp3", 16000): 64_000,
    ("opus", 8000): 40_000,
    ("opus", 16000): 56_000,
}
_OPTIONS: Final = {
    "mp3": {"joint_stereo": "0", "compression_level": "7"},
    "opus": {"application": "audio", "compression_level": "3", "frame_duration": "60"},
}


class Canvas:
    """A WAV file of a fixed length that begins as silence and is drawn upon, anywhere and in any order.

    It is mapped, not held: a call of hours costs disk, and where nobody spoke not even that.
    """

    def __init__(self, path: Path, samples: int, rate: int) -> None:
        """Raises CaptureError where the call is longer than a WAV file can be; OSError."""
        body = samples * _CHANNELS * _SAMPLE_BYTES
        if body > _LONGEST_BYTES:
            raise CaptureError("the call is longer than an audio file can be")
        self.path, self.samples, self.rate = path, samples, rate
        with path.open("wb") as file:
            file.write(_wav_header(body, rate))
            file.truncate(_WAV_HEADER.size + body)
        self._both: npt.NDArray[np.int16] | None = None
        if samples:
            self._both = np.memmap(
                path, dtype="<i2", mode="r+", offset=_WAV_HEADER.size, shape=(samples, _CHANNELS)
            )

    def __enter__(self) -> "Canvas":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._both = None  # the last reference unmaps it

    def draw(self, side: Side, at: int, sound: npt.NDArray[np.int16], *, mixed: bool) -> None:
        """Put `sound` on a channel from sample `at` on; what lies outside the call is cut off.

        `mixed` adds it to what is there, for two streams of one side at the same time.
        """
        first, end = max(at, 0), min(at + len(sound), self.samples)
        if self._both is None or first >= end:
            return
        sound = sound[first - at : end - at]
        place = self._both[first:end, side]
        if mixed:
            place[:] = np.clip(place.astype(np.int32) + sound, -32768, 32767)
        else:
            place[:] = sound

    def look(self) -> Seen:
        """What is drawn of it, and what is known of the voices."""
        return look(self.chunks(_ENCODE_SECONDS * self.rate), self.rate)

    def chunks(self, size: int) -> Any:
        """The audio in order, as arrays of (samples, 2)."""
        for first in range(0, self.samples, size):
            if self._both is not None:
                yield np.ascontiguousarray(self._both[first : first + size])


def _wav_header(body: int, rate: int) -> bytes:
    frame = _CHANNELS * _SAMPLE_BYTES
    riff = (b"RIFF", _WAV_HEADER.size - 8 + body, b"WAVE")
    form = (b"fmt ", 16, 1, _CHANNELS, rate, rate * frame, frame, 8 * _SAMPLE_BYTES)
    return _WAV_HEADER.pack(*riff, *form, b"data", body)


def finish(
    canvas: Canvas,
    target: Path,
    format_: Format,
    key: bytes,
    codecs: dict[Side, tuple[str, ...]],
    spoken: Seen | None = None,
) -> AudioFile:
    """Write the canvas to `target` in the wanted format, sealed with `key`, and what is drawn of it behind.

    `spoken` is what was seen of the voices before anything was mixed with them. Nothing is left in the clear
    beside the canvas, which is its maker's.
    """
    picture, voices = canvas.look()
    if spoken is not None:
        picture = msgspec.structs.replace(picture, voice=spoken[0].voice)
        voices = spoken[1]
    plain, behind = canvas.path, picture.packed()
    try:
        if format_ != "wav":
            plain = target.with_name(target.name + ".plain")
            _encode(canvas, plain, format_)
        with plain.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        size = plain.stat().st_size
        stored = seal(plain, behind, target, key)
    finally:
        plain.unlink(missing_ok=True)
    return AudioFile(
        format=format_,
        bytes=size,
        sha256=digest.hexdigest(),
        duration_ms=canvas.samples * 1000 // canvas.rate,
        rate=canvas.rate,
        caller=Sound(codecs.get(Side.A, ()), voices[Side.A]),
        callee=Sound(codecs.get(Side.B, ()), voices[Side.B]),
        picture_bytes=len(behind),
        stored=stored,
    )


def _encode(canvas: Canvas, target: Path, format_: Format) -> None:
    container_name, coder_name = _CODERS[format_]
    with av.open(str(target), "w", format=container_name) as container:
        stream: Any = container.add_stream(coder_name, rate=canvas.rate, options=_OPTIONS[format_])
        stream.layout = "stereo"
        stream.bit_rate = _BIT_RATES[format_, canvas.rate]
        stream.time_base = Fraction(1, canvas.rate)
        at = 0
        for chunk in canvas.chunks(_ENCODE_SECONDS * canvas.rate):
            frame = av.AudioFrame.from_ndarray(chunk.reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = canvas.rate, at, stream.time_base
            at += len(chunk)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
