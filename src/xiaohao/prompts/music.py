"""The waiting music: a melody of the project's own, struck like small bells. Made, not recorded."""

from typing import Final

import numpy as np
import numpy.typing as npt

from xiaohao.prompts.model import SAMPLE_RATE
from xiaohao.prompts.sound import Samples

_BEAT_S: Final = 0.42
#: places in the scale and beats; None is a rest. Two halves that answer each other, and come home
_MELODY: Final[tuple[tuple[int | None, int], ...]] = (
    *((0, 2), (2, 1), (3, 1), (4, 2), (3, 1), (2, 1), (1, 2), (0, 1), (1, 1), (2, 3), (None, 1)),
    *((4, 2), (5, 1), (4, 1), (3, 2), (2, 1), (3, 1), (4, 1), (3, 1), (2, 1), (1, 1), (2, 3), (None, 1)),
    *((0, 2), (2, 1), (3, 1), (5, 2), (4, 1), (3, 1), (4, 2), (2, 1), (3, 1), (1, 3), (None, 1)),
    *((2, 2), (1, 1), (0, 1), (3, 2), (2, 1), (1, 1), (0, 1), (1, 1), (-1, 1), (1, 1), (0, 3), (None, 1)),
)
#: beneath each eight beats
_BASS: Final = (-5, -3, -4, -3, -5, -2, -4, -5)
#: semitones of a pentatonic scale over D
_SCALE: Final = (0, 2, 4, 7, 9)
_ROOT_HZ: Final = 587.33
_PARTIALS: Final = ((1.0, 1.0, 2.2), (2.0, 0.45, 3.5), (3.0, 0.2, 5.0), (4.07, 0.08, 8.0))


def waiting_music() -> Samples:
    """Once through the melody; it can be repeated without a seam."""
    beats = sum(length for _, length in _MELODY)
    whole = np.zeros(round(beats * _BEAT_S * SAMPLE_RATE))
    at = 0
    for place, length in _MELODY:
        if place is not None:
            _strike(whole, at, _pitch(place), 1.0, length)
        at += length
    for bar, place in enumerate(_BASS):
        _strike(whole, bar * 8, _pitch(place), 0.5, 8)
    loudest = np.abs(whole).max()
    made: Samples = np.rint(whole / loudest * 0.5 * 32767).astype(np.int16)
    return made


def _pitch(place: int) -> float:
    octave, step = divmod(place, len(_SCALE))
    return float(_ROOT_HZ * 2 ** (octave + _SCALE[step] / 12))


def _strike(whole: npt.NDArray[np.float64], beat: int, pitch: float, strength: float, beats: int) -> None:
    """Add a tone that rings on; what rings over the end rings at the beginning."""
    time = np.arange(round((beats + 2) * _BEAT_S * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(
        share * np.exp(-time * fading) * np.sin(2 * np.pi * pitch * ratio * time)
        for ratio, share, fading in _PARTIALS
        if pitch * ratio < SAMPLE_RATE * 0.42
    )
    tone = tone * np.minimum(1.0, time / 0.006) * strength
    places = (round(beat * _BEAT_S * SAMPLE_RATE) + np.arange(len(time))) % len(whole)
    np.add.at(whole, places, tone)
