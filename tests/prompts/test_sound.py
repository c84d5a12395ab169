"""Whatever comes in, what is played is 8 kHz, one channel, 16 bit, of one loudness; or it is refused."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.prompts.sounds import encoded, pitch, stranger_loudness, tone, tone_file
from xiaohao.prompts import sound
from xiaohao.prompts.sound import SoundError, decoded, levelled, loudness, wav

FORMATS = {
    "wav of a studio": ("wav", "-ar", "48000", "-ac", "2", "-c:a", "pcm_s24le"),
    "wav of a telephone": ("wav", "-ar", "8000", "-c:a", "pcm_alaw"),
    "mp3": ("mp3", "-ar", "44100", "-c:a", "libmp3lame", "-b:a", "64k"),
    "mp3 without tags": ("mp3", "-ar", "16000", "-id3v2_version", "0", "-write_xing", "0"),
    "ogg vorbis": ("ogg", "-ar", "44100", "-c:a", "libvorbis"),
    "ogg opus": ("ogg", "-ar", "48000", "-c:a", "libopus"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_people_send(tmp_path: Path, name: str) -> None:
    suffix, *options = FORMATS[name]
    made = wav(levelled(decoded(encoded(tmp_path, suffix, *options))))
    with wave.open(io.BytesIO(made)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert abs(file.getnframes() - 16_000) < 800
    assert abs(pitch(made) - 440) < 2


@pytest.mark.parametrize("level", [0.9, 0.1, 0.003])
def test_a_stranger_measures_one_loudness(tmp_path: Path, level: float) -> None:
    file = tmp_path / "levelled.wav"
    file.write_bytes(wav(levelled(tone(4.0, level=level))))
    integrated, peak = stranger_loudness(file)
    assert abs(integrated - sound.LOUDNESS) < sound.TOLERANCE
    assert peak <= sound.CEILING + 0.1


def test_a_short_one_is_as_loud() -> None:
    assert abs(loudness(levelled(tone(0.2, 1000.0, 0.02))) - sound.LOUDNESS) < sound.TOLERANCE


@given(
    level=st.floats(0.01, 1.0),
    quiet=st.floats(0.001, 1.0),
    seed=st.integers(0, 2**32 - 1),
    clicks=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_nothing_is_over_the_ceiling_nor_too_loud(
    level: float, quiet: float, seed: int, clicks: bool
) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(0, level / 4, 24_000) * np.repeat([1.0, quiet, 1.0], 8_000)
    if clicks:
        noise[random.integers(0, 24_000, 10)] = 1.0
    samples = levelled((np.clip(noise, -1, 1) * 32767).astype(np.int16))
    assert np.abs(samples.astype(int)).max() <= 10 ** (sound.CEILING / 20) * 32768
    assert loudness(samples) < sound.LOUDNESS + sound.TOLERANCE
    if not clicks:
        assert loudness(samples) > sound.LOUDNESS - sound.TOLERANCE


def silent_wav(seconds: float) -> bytes:
    return wav(sound.silence(round(seconds * 1000)))


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "audio_not_supported"),
    "text": (b"hello, this is no sound" * 100, "audio_not_supported"),
    "a playlist that names files": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "audio_not_supported"),
    "a concatenation that names files": (b"ffconcat version 1.0\nfile /etc/passwd\n", "audio_not_supported"),
    "a WAV header alone": (tone_file()[:44], "audio_malformed"),
    "a WAV file whose end is missing": (tone_file()[:3000], "audio_malformed"),
    "a WAV file of nothing but a name": (b"RIFF\x00\x00\x00\x00WAVE", "audio_malformed"),
    "noise that says it is OGG": (b"OggS" + bytes(range(256)) * 20, "audio_malformed"),
    "noise that says it is MP3": (b"ID3" + bytes(range(256)) * 20, "audio_malformed"),
    "silence": (silent_wav(2), "audio_silent"),
    "too long": (silent_wav(121), "audio_too_long"),
    "too short": (tone_file(0.05), "audio_too_short"),
    "too slow": (tone_file()[:24] + (100).to_bytes(4, "little") + tone_file()[28:], "audio_not_supported"),
    "too fast": (
        tone_file()[:24] + (4_000_000_000).to_bytes(4, "little") + tone_file()[28:],
        "audio_malformed",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_prompt(name: str) -> None:
    content, code = HOSTILE[name]
    with pytest.raises(SoundError) as refused:
        levelled(decoded(content))
    assert refused.value.code == code


def test_two_channels_that_cancel_each_other_are_silence(tmp_path: Path) -> None:
    options = ("-af", "pan=stereo|c0=c0|c1=-1*c0", "-c:a", "pcm_s16le")
    with pytest.raises(SoundError) as refused:
        levelled(decoded(encoded(tmp_path, "wav", *options)))
    assert refused.value.code == "audio_silent"


#: a WAV file whose coding is called something that there is not
@example(0, [(20, 0x99), (21, 0x99)])
@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_refused_or_decoded(which: int, damage: list[tuple[int, int]]) -> None:
    content = bytearray(_WELL[which])
    for place, value in damage:
        content[place % len(content)] = value
    try:
        samples = decoded(bytes(content))
    except SoundError:
        return
    assert samples.dtype == np.int16
    assert sound.SHORTEST_MS <= sound.duration_ms(samples) <= sound.LONGEST_MS


_WELL: list[bytes] = []


@pytest.fixture(autouse=True, scope="module")
def _well_made(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("well")
    for name in ("wav of a telephone", "mp3", "ogg vorbis", "ogg opus"):
        suffix, *options = FORMATS[name]
        _WELL.append(encoded(folder, suffix, *options))
