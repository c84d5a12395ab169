"""What is wrong with a graph is said by node and field; what is right is drawn, and fits the schema."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from tests.ivr.graphs import MENU, any_graph
from tests.repository.files import ROOT, read
from xiaohao.cli import app
from xiaohao.ivr import drawing, rules, wire
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.model import Graph
from xiaohao.ivr.rules import Fault, check
from xiaohao.prompts.model import SITUATIONS
from xiaohao.switch.causes import REFUSALS

Change = Callable[[dict[str, Any]], Any]
SCHEMA = jsonschema_rs.validator_for(wire.schema())


def play(target: str) -> dict[str, Any]:
    return {"do": "play", "prompt": "goodbye", "next": target}


def long_way(nodes: dict[str, Any]) -> None:
    for place in range(45):
        nodes[f"far{place}"] = play(f"far{place + 1}")
    nodes["far45"] = {"do": "hang_up", "reason": "unknown_caller"}
    nodes["bye"]["next"] = "far0"
    del nodes["end"]


#: what is done to the menu's nodes → the faults: node, field, code
WRONG: dict[str, tuple[Change, set[tuple[str | None, str | None, str]]]] = {
    "a node that is not there": (
        lambda nodes: nodes["find"].update(found="gone"),
        {("find", "found", "node_missing")},
    ),
    "a case that leads nowhere": (
        lambda nodes: nodes["which"]["cases"].update({"5": "gone"}),
        {("which", "cases.5", "node_missing")},
    ),
    "a node that nothing leads to": (
        lambda nodes: nodes.update(island=play("end")),
        {("island", None, "unreachable")},
    ),
    "a circle without a question": (
        lambda nodes: (nodes["bye"].update(next="round"), nodes.update(round=play("bye")), nodes.pop("end")),
        {("bye", None, "endless"), ("round", None, "endless")},
    ),
    "a question whose exhausted way leads back": (
        lambda nodes: nodes["menu"].update(exhausted="menu"),
        {("menu", None, "endless")},
    ),
    "a prompt that is not there": (
        lambda nodes: nodes["menu"].update(prompt="welcome"),
        {("menu", "prompt", "prompt_missing")},
    ),
    "a look-up without digits": (
        lambda nodes: nodes["menu"].update(nothing="find"),
        {("find", None, "no_digits")},
    ),
    "connecting with nobody": (
        lambda nodes: nodes["which"].update(otherwise="go"),
        {("go", "to", "nobody_found"), ("sorry", None, "unreachable")},
    ),
    "a reason that is none": (
        lambda nodes: nodes["end"].update(reason="because"),
        {("end", "reason", "reason")},
    ),
    "a reason that only the callee's side has": (
        lambda nodes: nodes["end"].update(reason="callee_busy"),
        {("end", "reason", "reason")},
    ),
    "a hotline that is no number": (
        lambda nodes: nodes["hotline"].update(to="hotline"),
        {("hotline", "to", "number")},
    ),
    "more digits at least than at most": (
        lambda nodes: nodes["ask"].update(least=4),
        {("ask", "least", "form")},
    ),
    "no case": (
        lambda nodes: nodes["which"].update(cases={}),
        {("which", "cases", "form")}
        | {(name, None, "unreachable") for name in ("hotline", "ask", "find", "go")},
    ),
    "too deep": (long_way, {(f"far{place}", None, "too_deep") for place in range(39, 46)}),
    "a field that there is not": (lambda nodes: nodes["ask"].update(loud=True), {("ask", None, "form")}),
    "a time that is none": (lambda nodes: nodes["ask"].update(first_ms=1), {("ask", "first_ms", "form")}),
    "a branch without a way out": (lambda nodes: nodes["which"].pop("otherwise"), {("which", None, "form")}),
    "something that cannot be done": (lambda nodes: nodes["bye"].update(do="sing"), {("bye", "do", "form")}),
    "no node": (lambda nodes: nodes.clear(), {(None, None, "form")}),
}


def faults(document: Any) -> list[Fault]:
    found = wire.read(document)
    return [found] if isinstance(found, Fault) else check(found, SITUATIONS)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_by_node_and_field(name: str) -> None:
    change, expected = WRONG[name]
    document = copy.deepcopy(MENU)
    change(document["nodes"])
    found = faults(document)
    named = {(one.node, one.field, one.code) for one in found}
    assert named == expected
    assert all(one.detail for one in found)


def test_what_is_right() -> None:
    assert faults(MENU) == []
    for graph in BUILT_IN.values():
        assert check(graph, SITUATIONS) == []
        assert wire.read(wire.document_of(graph)) == graph
        assert SCHEMA.is_valid(wire.document_of(graph))


def test_what_is_no_graph_at_all() -> None:
    for document in (None, 3, [], {}, {"start": "a"}, {"start": "a", "nodes": []}, {"nodes": {}, "start": 1}):
        assert [one.code for one in faults(document)] == ["form"]
        assert not SCHEMA.is_valid(document)


def test_reasons_have_their_codes() -> None:
    assert {reason.value for reason in REFUSALS} >= rules.REASONS


@given(any_graph())
@settings(max_examples=100, deadline=None)
def test_a_graph_written_is_the_graph_read(graph: Graph) -> None:
    document = json.loads(json.dumps(wire.document_of(graph)))
    assert wire.read(document) == graph
    assert SCHEMA.is_valid(document)


@given(any_graph())
@settings(max_examples=100, deadline=None)
def test_every_graph_can_be_drawn(graph: Graph) -> None:
    """A wrong one, too: a picture helps to see what is wrong."""
    picture = ElementTree.fromstring(drawing.draw(graph))
    shown = {group.get("data-node") for group in picture.iter("{http://www.w3.org/2000/svg}g")}
    assert shown == set(graph.nodes)
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    for node in graph.nodes.values():
        for field, _ in rules.ways(node):
            assert any(field.removeprefix("cases.") in (word or "").split(", ") for word in words)


def test_a_picture_shows_no_number() -> None:
    found = wire.read(MENU)
    assert isinstance(found, Graph)
    assert "4008001234" not in drawing.draw(found)


def test_the_published_schema_is_the_one_in_use() -> None:
    published = json.loads(read("docs/graph.schema.json"))
    assert published == wire.schema()


def test_the_pictures_on_the_page_are_the_graphs() -> None:
    for name, graph in BUILT_IN.items():
        assert read(f"docs/graph-{name.replace('_', '-')}.svg") == drawing.draw(graph)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["graphs", *arguments])
    return result.exit_code, result.output


def test_the_commands(tmp_path: Path) -> None:
    file = tmp_path / "menu.json"
    file.write_text(json.dumps(MENU))
    assert run("check", str(file)) == (0, f"{file} is fine\n")
    file.write_text(json.dumps(MENU).replace('"before_connect"', '"welcome"'))
    code, said = run("check", str(file))
    assert (code, said) == (1, "nodes.menu.prompt: prompt_missing: There is no prompt welcome.\n")
    assert run("check", str(file), "--prompt", "welcome")[0] == 0
    assert run("try", str(file), "digits:2", "digits:12#", "looked:found")[1].splitlines() == [
        "started",
        "  play prompt=welcome",
        "digits 2",
        "  stop",
        "  play prompt=ask_extension",
        "digits 12#",
        "  stop",
        "  collect most=2 timeout_ms=3000 terminators=#",
        "  collect most=1 timeout_ms=3000 terminators=#",
        "  look kind=extension digits=12",
        "looked found",
        "  connect to=None",
    ]
    assert run("draw", str(file), str(tmp_path / "menu.svg"))[0] == 0
    ElementTree.parse(tmp_path / "menu.svg")
    assert json.loads(run("schema")[1]) == wire.schema()
    assert (ROOT / "docs" / "graph.schema.json").is_file()
