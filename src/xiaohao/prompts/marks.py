"""How a character is said may follow it in braces: `重{chong2}拨`. Pure text, quick to load."""

import re
from typing import Final

_SAID: Final = re.compile(r"\{([a-zü]{1,6}[1-5])\}")
_MARK: Final = re.compile(r"[\u3400-\u9fff]\{[a-zü]{1,6}[1-5]\}")


def plain(text: str) -> str:
    """The text as it is read, without how it is said."""
    return _SAID.sub("", text)


def is_well_marked(text: str) -> bool:
    """Whether braces stand behind a Chinese character only, and hold a syllable in Pinyin with its tone."""
    return not re.search(r"[{}]", _MARK.sub("", text))


def split(text: str) -> tuple[str, dict[int, str]]:
    """The text as it is read, and how the characters at some places of it are said."""
    marked: dict[int, str] = {}
    written = ""
    end = 0
    for found in _SAID.finditer(text):
        written += text[end : found.start()]
        marked[len(written) - 1] = found[1]
        end = found.end()
    return written + text[end:], marked
