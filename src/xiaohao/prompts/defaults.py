"""The default set as it is shown: its texts, and its sound where it has been made on this machine."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xiaohao.prompts import making
from xiaohao.prompts.marks import plain
from xiaohao.prompts.model import SITUATIONS, Language


@dataclass(frozen=True, slots=True)
class Announcement:
    """A situation, and what the default set says in it; nothing where it plays music."""

    situation: str
    texts: Mapping[Language, str]


class Defaults:
    """The default set, as the web process shows it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[Announcement]:
        """Every situation, by its word."""
        return self._all

    @cached_property
    def _all(self) -> list[Announcement]:
        texts = making.default_texts()
        return [
            Announcement(word, {name: plain(text) for name, text in texts.get(word, {}).items()})
            for word in sorted(SITUATIONS)
        ]

    async def audio(self, situation: str) -> bytes | None:
        """The WAV file, if there is such a situation and the set has been made on this machine."""
        place = making.default_set(self._folder)
        if situation not in SITUATIONS or place is None:
            return None
        return await asyncio.to_thread((place / f"{situation}.wav").read_bytes)
