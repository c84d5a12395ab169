"""The default set, made from its texts on this machine: at installation or, failing that, at the first start.

`python -m xiaohao.prompts.making [FOLDER]` makes it, where it is not there yet, in FOLDER or beside the
installed program. It takes some seconds.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from xiaohao.prompts.model import LANGUAGES, Language, Prompt, Situation

#: to be raised with every change of what the makers of sound do
_EDITION: Final = 1
_INDEX: Final = "index.json"
_NICENESS: Final = 10


def installed() -> Path:
    """Where an installation makes the set for all platforms that it starts."""
    return Path(sys.prefix) / "share" / "xiaohao" / "prompts"


def default_set(folder: Path) -> Path | None:
    """Where the set of this version of the texts is, if it has been made: in the folder, or installed."""
    places = (parent / _name() for parent in (folder, installed()))
    return next((place for place in places if (place / _INDEX).is_file()), None)


def default_texts() -> dict[str, dict[Language, str]]:
    """The texts of the set by situation, with the marks of how they are said."""
    return msgspec.json.decode(_texts(), type=dict[str, dict[Language, str]])


def read(place: Path) -> dict[str, Prompt]:
    """The prompts of the default set by their situations."""
    durations = msgspec.json.decode((place / _INDEX).read_bytes(), type=dict[str, int])
    return {
        word: Prompt(
            id=word,
            name=word,
            path=place / f"{word}.wav",
            duration_ms=duration_ms,
            languages=() if word == Situation.WAITING else LANGUAGES,
        )
        for word, duration_ms in durations.items()
    }


def make(folder: Path) -> Path:
    """Make the set in a folder unless it is there. Raises sound.SoundError, OSError."""
    place = folder / _name()
    if (place / _INDEX).is_file():
        return place
    # Whoever only reads the set needs none of what makes sound.
    from xiaohao.prompts import music, sound, speech  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    coming = Path(tempfile.mkdtemp(prefix="making-", dir=folder))
    try:
        durations: dict[str, int] = {}
        for word, text in default_texts().items():
            samples = speech.said([(language, text[language]) for language in LANGUAGES])
            (coming / f"{word}.wav").write_bytes(sound.wav(samples))
            durations[word] = sound.duration_ms(samples)
        samples = sound.levelled(music.waiting_music())
        (coming / f"{Situation.WAITING}.wav").write_bytes(sound.wav(samples))
        durations[Situation.WAITING] = sound.duration_ms(samples)
        (coming / _INDEX).write_bytes(msgspec.json.encode(durations))
        coming.chmod(0o755)
        try:
            coming.rename(place)
        except OSError:
            if not (place / _INDEX).is_file():  # else somebody else was quicker
                raise
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return place


def _texts() -> bytes:
    return (resources.files("xiaohao.prompts") / "texts.json").read_bytes()


def _name() -> str:
    return f"default-{hashlib.sha256(_texts()).hexdigest()[:12]}-{_EDITION}"


def main() -> int:
    """Make the set."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    from xiaohao.prompts.sound import SoundError  # noqa: PLC0415

    try:
        make(Path(sys.argv[1]) if len(sys.argv) > 1 else installed())
    except (SoundError, OSError) as error:
        sys.stderr.write(f"the default prompts cannot be made: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
