"""What the platform played in a call, mixed into its recording: rtpengine's captures do not hold it.

Left is what A said and right what B said, so that left is what B heard and right what A heard: what was
played to A is laid on the right, what was played to B on the left.
"""

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xiaohao.calls.model import Announcement, Party
from xiaohao.recordings.decode import Resampler, Samples
from xiaohao.recordings.encode import Canvas
from xiaohao.recordings.model import Side


def mix(canvas: Canvas, announcements: Sequence[Announcement], received_at: int) -> None:
    """Draw each from its moment on, for so long as it was heard; `received_at` in µs since the epoch.

    One whose file is gone or damaged is left out: what the people said counts for more.
    """
    for one in announcements:
        try:
            sound, rate = _read(Path(one.path))
        except (OSError, EOFError, wave.Error):
            continue
        wanted = one.duration_ms * rate // 1000
        if len(sound) == 0 or wanted <= 0:
            continue
        sound = np.resize(sound, wanted)  # music goes round
        if rate != canvas.rate:
            resampler = Resampler(rate, canvas.rate)
            sound = np.concatenate([resampler.feed(sound), resampler.finish()])
        ear = Side.B if one.to is Party.CALLER else Side.A
        canvas.draw(ear, (one.at - received_at) * canvas.rate // 1_000_000, sound, mixed=True)


def _read(path: Path) -> tuple[Samples, int]:
    """The samples and the rate of a WAV file of one channel and 16 bit. Raises OSError, wave.Error."""
    with wave.open(str(path), "rb") as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise wave.Error("not one channel of 16 bit")
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"), file.getframerate()
