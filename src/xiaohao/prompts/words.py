"""How a written text is said: Mandarin in Pinyin, as the synthesiser is given it."""

import re
from typing import Final

from pypinyin import Style, lazy_pinyin, load_phrases_dict
from pypinyin.contrib.mmseg import retrain, seg

from xiaohao.prompts import marks
from xiaohao.prompts.model import Language

#: so many digits and more are a number to be dialled or an order: they are said one by one
_DIGITS: Final = re.compile(r"\d{5,}")
_PAUSES: Final = {"，": ", ", "、": ", ", "；": "; ", "：": ", ", "。": ". ", "！": "! ", "？": "? "}
_CHARACTERS: Final = re.compile(r"[\u3400-\u9fff]+")

#: where the dictionary takes two words for a third
_PHRASES: Final = {"拨打的": [["bō"], ["dǎ"], ["de"]], "重拨": [["chóng"], ["bō"]]}
load_phrases_dict(_PHRASES)
retrain(seg)


def spelled(text: str, language: Language) -> str:
    """The text as the synthesiser is given it: Mandarin as Pinyin with tones, word by word."""
    text = _DIGITS.sub(lambda found: " ".join(found[0]), text)
    return _pinyin(text) if language is Language.MANDARIN else text


def _pinyin(text: str) -> str:
    written, marked = marks.split(text)
    said = ""
    place = 0
    for part in re.split(f"({_CHARACTERS.pattern})", written):
        if not _CHARACTERS.fullmatch(part):
            said += "".join(_PAUSES.get(sign, sign) for sign in part)
            place += len(part)
            continue
        syllables = lazy_pinyin(part, style=Style.TONE3, neutral_tone_with_five=True, tone_sandhi=True)
        syllables = [marked.get(place + at, syllable) for at, syllable in enumerate(syllables)]
        at = 0
        for word in seg.cut(part):
            said += "".join(syllables[at : at + len(word)]) + " "
            at += len(word)
        place += len(part)
    return said.replace(" ,", ",").replace(" .", ".").strip()
