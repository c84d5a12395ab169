"""The page about announcements says what is said."""

import re

import msgspec
from tests.repository.files import blocks, read

from xiaohao.bindings.model import PromptMoment
from xiaohao.ivr import wire
from xiaohao.ivr.model import Branch, Collect, Connect, Graph, HangUp, Look, Play
from xiaohao.ivr.rules import FAULTS, check
from xiaohao.prompts.making import default_texts
from xiaohao.prompts.marks import plain
from xiaohao.prompts.model import LANGUAGES, SITUATIONS, Situation
from xiaohao.prompts.service import MOMENTS

PAGE = read("docs/announcements.md")


def test_every_situation_and_its_texts_are_on_the_page() -> None:
    table = PAGE[PAGE.index("| situation | Mandarin") :]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    texts = default_texts()
    said = {word: tuple(plain(texts[word][language]) for language in LANGUAGES) for word in texts}
    assert {word: both for word, *both in rows} == {
        **{word: list(both) for word, both in said.items()},
        Situation.WAITING: ["(music)", "(music)"],
    }
    assert {word for word, *_ in rows} == SITUATIONS


def test_the_graph_on_the_page_can_be_used() -> None:
    (document,) = blocks(PAGE, "json")
    graph = wire.read(msgspec.json.decode(document))
    assert isinstance(graph, Graph)
    assert check(graph, {*SITUATIONS, "menu"}) == []


def test_every_node_and_fault_is_on_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \| [^|]* \|$", PAGE, re.MULTILINE))
    for node in (Play, Collect, Branch, Look, Connect, HangUp):
        said = PAGE[PAGE.index("| node | fields") : PAGE.index("Keys that come")]
        assert rows.keys() >= {node.__struct_config__.tag}
        assert {f"`{field}`" for field in node.__struct_fields__} <= set(re.findall(r"`\w+`", said)), node
    for code in FAULTS - {"form", "number"}:
        assert f"(`{code}`)" in PAGE


def test_every_moment_of_a_binding_is_on_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE))
    for situation, moment in MOMENTS.items():
        if moment is not PromptMoment.REFUSED:
            assert rows.pop(moment.value) == situation
    assert rows == {}
