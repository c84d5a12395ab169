"""What is measured of each voice and drawn of it, on signals of which it is known."""

import numpy as np
import numpy.typing as npt
import pytest

from xiaohao.recordings.model import Side, Voice
from xiaohao.recordings.picture import Picture, look

RATE = 8000


def seen(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> tuple[Picture, dict[Side, Voice]]:
    both = np.stack([left, right], axis=1).astype(np.int16)
    return look([both[at : at + 10 * RATE] for at in range(0, len(both), 10 * RATE)], RATE)


def silence(seconds: float) -> npt.NDArray[np.float64]:
    return np.zeros(round(seconds * RATE))


def speech(seconds: float, rms: float, seed: int = 1) -> npt.NDArray[np.float64]:
    """Noise in syllables, four a second."""
    samples = round(seconds * RATE)
    noise = np.random.default_rng(seed).normal(0, 1, samples)
    noise *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(samples) / RATE)
    return noise * rms / np.sqrt(np.mean(noise**2))


@pytest.mark.parametrize("level", [-12, -26, -40])
def test_the_level_is_that_of_the_speech_and_not_of_the_pauses(level: int) -> None:
    loud = speech(8, 32768 * 10 ** (level / 20))
    for before, behind in ((0, 0), (10, 30)):
        left = np.concatenate([silence(before), loud, silence(behind)])
        picture, voices = seen(left, silence(8 + before + behind))
        found = voices[Side.A].level
        assert found is not None
        assert found == pytest.approx(level, abs=0.5)
        assert voices[Side.A].ms == pytest.approx(8000, abs=60)
        assert voices[Side.B] == Voice(0, None)
        assert picture.voice[1] == []


def test_when_who_spoke() -> None:
    left = np.concatenate([silence(1), speech(2, 2000), silence(0.1), speech(1, 2000, 2), silence(1.9)])
    right = np.concatenate([silence(3.5), speech(1.5, 500), silence(1)])
    rustle = np.random.default_rng(3).normal(0, 8, len(left))  # below -60 dBFS
    picture, voices = seen(left + rustle, right + rustle)
    [(begin, end)] = picture.voice[0]  # a breath is no pause
    assert (begin, end) == (pytest.approx(1000, abs=30), pytest.approx(4100, abs=30))
    [(begin, end)] = picture.voice[1]
    assert (begin, end) == (pytest.approx(3500, abs=30), pytest.approx(5000, abs=30))
    assert voices[Side.A].ms == sum(end - begin for begin, end in picture.voice[0])


def test_a_click_is_nobodys_voice() -> None:
    left = silence(10)
    left[40_000:40_040] = 20_000
    assert seen(left, left)[0].voice == ([], [])


def test_the_waveform_has_the_peaks_of_both_sides() -> None:
    left = np.concatenate([silence(1), np.full(RATE, 16_384.0), -np.full(RATE, 8192.0)])
    right = np.concatenate([np.full(RATE, 1000.0), silence(2)])
    picture, _ = seen(left, right)
    assert Picture.unpacked(picture.packed()) == picture
    whole = picture.waveform(1000)
    assert (whole["length"], whole["samples_per_pixel"], whole["sample_rate"]) == (60, 400, RATE)
    assert np.array(whole["data"]).reshape(60, 4)[[0, 20, 40]].tolist() == [
        [0, 0, 3, 3],
        [64, 64, 0, 0],
        [-32, -32, 0, 0],
    ]
    few = picture.waveform(2)
    assert (few["length"], few["samples_per_pixel"]) == (2, 12_000)
    assert np.array(few["data"]).reshape(2, 4).tolist() == [[0, 64, 0, 3], [-32, 64, 0, 0]]
    assert picture.waveform(1)["data"] == [-32, 64, 0, 3]


def test_a_call_without_audio() -> None:
    picture, voices = look([], RATE)
    assert picture.waveform(10)["data"] == []
    assert voices == {Side.A: Voice(0, None), Side.B: Voice(0, None)}
