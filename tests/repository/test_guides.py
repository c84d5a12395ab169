"""What the guides say is true: same structure in both languages, every key, code, command and link."""

import ast
import json
import re
import tomllib
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from tests.repository.files import ROOT, blocks, files, read, texts
from typer.testing import CliRunner

from xiaohao.api.app import create_app
from xiaohao.calls.model import Reason
from xiaohao.cli import app
from xiaohao.database.engine import Database
from xiaohao.notifications.model import SEQUENCE
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

PAGES = [path for path in files() if path.suffix == ".md"]
READMES = ("README.md", "README.zh-CN.md")


def headings(page: str) -> list[str]:
    """The level of every heading, in order."""
    outside = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+(?= )", outside, re.MULTILINE)


def test_both_readmes_say_the_same() -> None:
    english, chinese = map(read, READMES)
    assert headings(english) == headings(chinese)
    assert blocks(english) == blocks(chinese)
    for of_a_kind in (r"`[^`\n]+`", r"^\|.*\|$", r"^\d\. |^\* "):
        counts = [len(re.findall(of_a_kind, page, re.MULTILINE)) for page in (english, chinese)]
        assert counts[0] == counts[1], of_a_kind
    inline = [sorted(re.findall(r"`([^`\n]+)`", page)) for page in (english, chinese)]
    assert inline[0] == inline[1]


def test_the_readme_opens_with_what_it_is_the_two_commands_and_a_picture() -> None:
    for name in READMES:
        opening = read(name).split("\n## ")[0]
        assert blocks(opening) == ["make demo\nmake test\n"]
        assert opening.index("make test") < opening.index("![")


def test_both_pictures_are_the_same() -> None:
    def shapes(name: str) -> list[str]:
        return re.findall(r"<(?:rect|path|line|circle)\b[^>]*>", read(name))

    assert shapes("docs/architecture.svg") == shapes("docs/architecture.zh-CN.svg")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.MULTILINE))


def test_every_make_target_on_a_page_exists() -> None:
    for page in PAGES:
        text = page.read_text()
        said = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
        assert set(said) <= targets(), page.name


def test_help_lists_every_target_that_is_for_people() -> None:
    described = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    assert targets() - described == {"install", "install-test"}


def test_every_command_on_a_page_exists() -> None:
    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    known |= {group.name for group in app.registered_groups}
    for page in PAGES:
        said = set(re.findall(r"[`/]xiaohao ([a-z][a-z-]*)", page.read_text()))
        assert said <= known, page.name


@pytest.mark.parametrize("command", ["up", "edge", "switch", "web", "worker", "demo", "status"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Any) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            names = [
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            ]
            assert anchor in names, target


def test_every_page_of_the_documentation_is_listed() -> None:
    index = read("docs/README.md")
    for page in PAGES:
        if page.parent == ROOT / "docs" and page.name != "README.md":
            assert f"({page.name})" in index


def keys(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every key of the configuration with its value, `section.key`."""
    found = {}
    for name, item in msgspec.structs.asdict(value).items():
        if isinstance(item, msgspec.Struct):
            found |= keys(item, f"{prefix}{name}.")
        else:
            found[prefix + name] = item
    return found


def test_the_example_configuration_shows_every_key_with_its_default() -> None:
    text = read("docs/xiaohao.example.toml")
    assert msgspec.convert(tomllib.loads(text), Settings) == Settings()
    uncommented = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    shown = {
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in tomllib.loads(uncommented).items()
        for key in (value if isinstance(value, dict) else [""])
    }
    assert shown == set(keys(Settings()))


def test_the_operators_guide_explains_every_key_with_its_default() -> None:
    section = read("docs/operators.md").split("\n## Configuration\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \| (?:`(.*?)`|none) \| .+ \|$", section, re.MULTILINE)
    told = {key: tomllib.loads(f"value = {default}")["value"] if default else None for key, default in rows}
    assert told == keys(Settings())


def test_every_request_with_a_body_is_shown_with_one_that_is_taken() -> None:
    description = create_app(Settings(), Database("sqlite:///nowhere.db"), Vault(bytes(32))).openapi()
    for page, tags in (
        ("docs/billing.md", {"billing", "invoices"}),
        ("docs/announcements.md", {"prompts", "graphs"}),
    ):
        shown = re.findall(r"^\| `([A-Z]+) (/v1/\S+)` \| `(\{.+?\})` \|", read(page), re.MULTILINE)
        for method, path, body in shown:
            operation = description["paths"][path][method.lower()]
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            whole = {**schema, "components": description["components"]}
            jsonschema_rs.validate(whole, json.loads(body))
        with_body = {
            (method.upper(), path)
            for path, operations in description["paths"].items()
            for method, operation in operations.items()
            if tags & {*operation["tags"]}
            and "application/json" in operation.get("requestBody", {}).get("content", {})
        }
        assert with_body <= {(method, path) for method, path, _ in shown}


def test_every_reason_is_explained() -> None:
    assert set(re.findall(r"^\| `(\w+)`", read("docs/reason-codes.md"), re.MULTILINE)) == {*Reason}


def test_every_event_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\d) \|", read("docs/integrators.md"), re.MULTILINE)
    assert {kind: int(place) for kind, place in rows} == {kind.value: n for kind, n in SEQUENCE.items()}


def test_every_error_is_explained() -> None:
    places = {"Refusal": 0, "conflict": 0, "_forbidden": 0, "problem": 1}
    arguments = (
        node.args[places[node.func.id]]
        for name, text in texts()
        if name.startswith("src/") and name.endswith(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places
        if len(node.args) > 1
    )
    codes = {
        item.value for item in arguments if isinstance(item, ast.Constant) and isinstance(item.value, str)
    }
    assert len(codes) > 15
    explained = set(re.findall(r"`([a-z_]+)`", read("docs/integrators.md")))
    assert codes - explained == set()
