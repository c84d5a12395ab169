"""Every situation has its text in both languages, and every character of it is said as it can be said."""

import re
from pathlib import Path

import pytest
from pypinyin import Style, pinyin

from tests.prompts.sounds import stranger_loudness
from xiaohao.calls.model import Reason
from xiaohao.prompts import making, sound
from xiaohao.prompts.making import default_texts
from xiaohao.prompts.marks import is_well_marked, plain, split
from xiaohao.prompts.model import LANGUAGES, SITUATIONS, Language, Situation, situation_of
from xiaohao.prompts.words import spelled
from xiaohao.switch.causes import REFUSALS

TEXTS = default_texts()


def test_every_situation_is_said_in_both_languages() -> None:
    # music needs no translation
    assert TEXTS.keys() == SITUATIONS - {Situation.WAITING.value}
    for word, texts in TEXTS.items():
        assert tuple(texts) == LANGUAGES, word
        assert len(plain(texts[Language.MANDARIN])) >= 5, word
        assert len(texts[Language.ENGLISH].split()) >= 3, word


def test_every_refusal_is_a_situation() -> None:
    # it says that nothing can be said
    heard = REFUSALS.keys() - {Reason.QUEUE_UNAVAILABLE}
    assert {situation_of(reason) for reason in heard} <= SITUATIONS
    assert None not in {situation_of(reason) for reason in heard}
    for gone in (Reason.CALLER_CANCELLED, Reason.QUEUE_UNAVAILABLE, Reason.MEDIA_UNAVAILABLE):
        assert situation_of(gone) is None


@pytest.mark.parametrize("word", sorted(TEXTS))
def test_the_languages_are_what_they_say(word: str) -> None:
    chinese, english = TEXTS[word][Language.MANDARIN], TEXTS[word][Language.ENGLISH]
    assert is_well_marked(chinese)
    assert re.fullmatch(r"[\u4e00-\u9fff，。、]+。", plain(chinese))
    assert re.fullmatch(r"[A-Za-z,.' -]+\.", english)


@pytest.mark.parametrize("word", sorted(TEXTS))
def test_every_character_is_said_as_the_dictionary_has_it(word: str) -> None:
    """Sandhi changes tones only."""
    text = TEXTS[word][Language.MANDARIN]
    characters = re.sub(r"[，。、]", "", plain(text))
    said = re.findall(r"[a-zü]+[1-5]", spelled(text, Language.MANDARIN).replace("v", "ü"))
    assert len(said) == len(characters)
    for character, syllable in zip(characters, said, strict=True):
        known = {
            reading.replace("v", "ü")
            for reading in pinyin(character, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[
                0
            ]
        }
        if character in "一不":
            known |= {reading[:-1] + tone for reading in known for tone in "1245"}
        third = {reading[:-1] + "2" for reading in known if reading.endswith("3")}
        neutral = {reading[:-1] + "5" for reading in known}
        assert syllable in known | third | neutral, (character, syllable)


def test_how_a_character_is_said_can_be_written() -> None:
    assert split("重{chong2}拨一{yi4}通") == ("重拨一通", {0: "chong2", 2: "yi4"})
    assert plain("重{chong2}拨") == "重拨"
    assert "dou1" in spelled("都{dou1}", Language.MANDARIN)
    assert "du1" in spelled("都{du1}", Language.MANDARIN)
    for wrong in ("{chong2}拨", "重{chong}拨", "重{2}", "重{chong2", "a{chong2}", "重{CHONG2}"):
        assert not is_well_marked(wrong), wrong


def test_long_numbers_are_said_digit_by_digit() -> None:
    assert spelled("Call 4008001234 within 30 minutes", Language.ENGLISH) == (
        "Call 4 0 0 8 0 0 1 2 3 4 within 30 minutes"
    )


def test_the_default_set(default_prompts: Path) -> None:
    place = default_prompts
    assert making.default_set(place.parent) == place
    made = making.read(place)
    assert made.keys() == SITUATIONS
    contents = set()
    for word, prompt in made.items():
        samples = sound.from_wav(prompt.path.read_bytes())
        contents.add(samples.tobytes())
        assert prompt.duration_ms == sound.duration_ms(samples), word
        assert 2_000 < prompt.duration_ms < 30_000, word
        assert abs(sound.loudness(samples) - sound.LOUDNESS) < sound.TOLERANCE, word
    assert len(contents) >= len({str(texts) for texts in TEXTS.values()})
    for word in (Situation.WAITING, Situation.GOODBYE):
        integrated, peak = stranger_loudness(made[word].path)
        assert abs(integrated - sound.LOUDNESS) < sound.TOLERANCE
        assert peak <= sound.CEILING + 0.1
    before = (place / "goodbye.wav").stat().st_mtime_ns
    assert making.make(place.parent) == place
    assert (place / "goodbye.wav").stat().st_mtime_ns == before
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_the_music_repeats_without_a_seam() -> None:
    from xiaohao.prompts.music import waiting_music

    samples = waiting_music().astype(int)
    seam = abs(samples[0] - samples[-1])
    steps = abs(samples[1:] - samples[:-1])
    assert seam <= steps.max()
    assert len(samples) / 8000 > 20
