"""China's ring-back tone as a prompt (GB/T 3380): 450 Hz for a second, then four seconds of silence."""

import asyncio
import wave
from pathlib import Path
from typing import Final

import numpy as np

from xiaohao.prompts.model import SAMPLE_RATE, Prompt

_HZ: Final = 450
_ON_S, _OFF_S = 1, 4
#: -10 dBm0 (ITU-T E.180 section 6), where the loudest sample there is belongs to a tone of 3.14 dBm0
_AMPLITUDE: Final = 7200
#: what a trace and a recording call it
RINGBACK: Final = "ringback"


class Tones:
    """Tones in a folder of their own; made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ringback(self) -> Prompt:
        """One period of it, to be played again and again. Raises OSError."""
        path = self._folder / f"{RINGBACK}.wav"
        await asyncio.to_thread(_make, path)
        return Prompt(RINGBACK, RINGBACK, path, (_ON_S + _OFF_S) * 1000, ())


def _make(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sound = np.zeros((_ON_S + _OFF_S) * SAMPLE_RATE, dtype="<i2")
    t = np.arange(_ON_S * SAMPLE_RATE) / SAMPLE_RATE
    sound[: len(t)] = np.round(np.sin(2 * np.pi * _HZ * t) * _AMPLITUDE)
    draft = path.with_suffix(".draft")
    with wave.open(str(draft), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    draft.replace(path)
