"""The page about announcements says what is said."""

import re

from tests.repository.files import read

from xiaohao.bindings.model import PromptMoment
from xiaohao.prompts.defaults import default_texts
from xiaohao.prompts.marks import plain
from xiaohao.prompts.model import LANGUAGES, SITUATIONS, Situation
from xiaohao.prompts.service import MOMENTS

PAGE = read("docs/announcements.md")


def test_every_situation_and_its_texts_are_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    texts = default_texts()
    said = {word: tuple(plain(texts[word][language]) for language in LANGUAGES) for word in texts}
    assert {word: both for word, *both in rows} == {
        **{word: list(both) for word, both in said.items()},
        Situation.WAITING: ["(music)", "(music)"],
    }
    assert {word for word, *_ in rows} == SITUATIONS


def test_every_moment_of_a_binding_is_on_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE))
    for situation, moment in MOMENTS.items():
        if moment is not PromptMoment.REFUSED:
            assert rows.pop(moment.value) == situation
    assert rows == {}
