"""Text made speech by espeak-ng, which works offline: a program of Debian's, run as a process of its own."""

import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

import numpy as np

from xiaohao.prompts.model import Language
from xiaohao.prompts.sound import Samples, SoundError, decoded, levelled, silence
from xiaohao.prompts.words import spelled

PROGRAM: Final = "espeak-ng"
#: words a minute
_SPEED: Final = "150"
_VOICES: Final = {Language.MANDARIN: "cmn-latn-pinyin", Language.ENGLISH: "en-us"}
_TIMEOUT_S: Final = 20
_BETWEEN_LANGUAGES_MS: Final = 500
#: a phone's first moments of audio are lost now and then
_LEAD_MS: Final = 150
_TAIL_MS: Final = 250


def is_there() -> bool:
    """Whether the synthesiser is installed."""
    return shutil.which(PROGRAM) is not None


def said(texts: Sequence[tuple[Language, str]]) -> Samples:
    """The texts one after the other, each at the loudness of all prompts. Raises SoundError."""
    parts = [silence(_LEAD_MS)]
    for place, (language, text) in enumerate(texts):
        if place:
            parts.append(silence(_BETWEEN_LANGUAGES_MS))
        parts.append(levelled(decoded(_spoken(spelled(text, language), language))))
    parts.append(silence(_TAIL_MS))
    return np.concatenate(parts)


def _spoken(text: str, language: Language) -> bytes:
    command = [PROGRAM, "-v", _VOICES[language], "-s", _SPEED, "-b", "1", "--stdin", "--stdout"]
    try:
        done = subprocess.run(  # noqa: S603 – a fixed program; the text goes to its standard input
            command, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise SoundError("speech_unavailable", "espeak-ng is not installed on this machine.") from None
    except subprocess.TimeoutExpired:
        raise SoundError("text_not_speakable", "The text takes too long to say.") from None
    if done.returncode or not done.stdout:
        raise SoundError("text_not_speakable", "The text cannot be said.")
    return _with_true_length(done.stdout)


def _with_true_length(content: bytes) -> bytes:
    """espeak-ng writes a pipe's WAV header before it knows the length."""
    header = bytearray(content[:44])
    header[4:8] = (len(content) - 8).to_bytes(4, "little")
    header[40:44] = (len(content) - 44).to_bytes(4, "little")
    return bytes(header) + content[44:]
