"""`xiaohao plan` as it is typed."""

import asyncio
import csv
import json
import tomllib
from pathlib import Path

import pytest
from tests.conftest import migrate
from tests.repository.files import ROOT, read
from tests.world import World
from typer.testing import CliRunner

from xiaohao.cli import app
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.planning.computing import compute
from xiaohao.planning.wire import PlanRequest
from xiaohao.planning.words import WORDS
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import Vault

EXAMPLE = ROOT / "docs" / "plan.example.toml"


def plan(*arguments: str | Path) -> str:
    """What the command prints. Raises ChoreFailed, which the program shows as one line."""
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_table_and_files_in_every_form(tmp_path: Path) -> None:
    files = {kind: tmp_path / f"plan.{kind}" for kind in ("json", "csv", "svg", "png")}
    outputs = [part for file in files.values() for part in ("--output", file)]
    text = plan("--city", "Chengdu", "--drivers", "50", "--orders", "600", "--recycle", "7200", *outputs)
    document = json.loads(files["json"].read_text())
    assert document["recycle_s"] == 7200.0
    assert f"{document['x']:,} for drivers (X), {document['y']:,} for passengers (Y)" in text
    (row, total) = csv.DictReader(files["csv"].read_text("utf-8-sig").splitlines())
    assert (row["city"], int(row["y"])) == ("Chengdu", document["y"])
    assert int(total["x"]) == document["x"]
    assert files["svg"].read_text().startswith("<?xml")
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_a_file_changed_by_options_and_tried_on_the_allocator(tmp_path: Path) -> None:
    demand = tmp_path / "demand.json"
    demand.write_text(json.dumps({"cities": [{"city": "成都", "drivers": 8, "orders_a_day": 80}]}))
    text = plan(demand, "--language", "zh", "--recycle", "3600", "--simulate", "--days", "1")
    assert "司机号码" in text
    assert "1 小时" in text
    assert "8 drivers on" in text
    assert "theory" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--city", "x"], "cities.0.drivers: is missing"),
        (["missing.toml"], "missing.toml"),
        ([str(EXAMPLE), "--drivers", "3"], "leave out the options that describe one"),
        (["--city", "x", "--drivers", "3", "--orders", "0"], "a day without orders needs no plan"),
        (["--city", "x", "--drivers", "3", "--orders", "9", "--output", "plan.xls"], "name it .json"),
    ],
)
def test_what_an_operator_can_put_right_is_said_plainly(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ChoreFailed, match=complaint.replace(".", r"\.")):
        plan(*arguments)


def test_the_history_of_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", bytes(range(32)).hex())
    url = f"sqlite:///{tmp_path}/data/xiaohao.db"
    migrate(url)

    async def furnish() -> str:
        world = World(Database(url), Vault(bytes(range(32))))
        world.clock.now = now_us()
        ride = await world.ride()
        for passenger in (101, 102):
            await ride.reserve(1, passenger, expires_in_s=60)
        await world.database.close()
        return ride.y_pool.id

    pool_id = asyncio.run(furnish())
    config = tmp_path / "xiaohao.toml"
    config.write_text("")
    text = plan("--pool", pool_id, "--config", config)
    assert "for drivers (X)" in text
    with pytest.raises(ChoreFailed, match="no such pool"):
        plan("--pool", "pool_0", "--config", config)


@pytest.mark.parametrize(("name", "language"), [("docs/plan.svg", "en"), ("docs/plan.zh-CN.svg", "zh")])
def test_the_guide_s_pictures_are_those_of_its_example(name: str, language: str) -> None:
    found = compute(PlanRequest.model_validate(tomllib.loads(EXAMPLE.read_text())).demand())
    words = {language.value: words for language, words in WORDS.items()}[language]
    assert words.title.format(x=found.x, y=found.y) in read(name)
