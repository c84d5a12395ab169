"""`xiaohao billing …` on a real database."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from tests.billing.scenes import LANDLINE, Scene, flat
from tests.billing.test_reconcile import a_trunk
from tests.billing.worlds import MONTH, START
from xiaohao.cli import app
from xiaohao.database.billing_tables import invoices, reratings
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

MASTER_KEY = bytes(range(32))


@pytest.fixture
def config(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", MASTER_KEY.hex())
    path = tmp_path / "xiaohao.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n[billing]\nseller = "讯众通信"\n')
    return path


def test_from_rating_to_the_printed_invoice(config: Path, database_url: str, tmp_path: Path) -> None:
    async def furnish() -> str:
        database = Database(database_url)
        scene = Scene(database, Vault(MASTER_KEY))
        scene.clock.now = START - 40 * 86_400 * 1_000_000  # October: surely over
        customer_id = await scene.customer()
        await scene.call(customer_id, 600, LANDLINE)
        await database.close()
        return customer_id

    async def ids(table) -> list[str]:  # type: ignore[no-untyped-def]
        database = Database(database_url)
        async with database.read() as connection:
            found = list((await connection.execute(select(table.c.id))).scalars())
        await database.close()
        return found

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    customer_id = asyncio.run(furnish())
    month = "2026-09"
    assert "1 calls rated" in run("rate")
    terms = tmp_path / "terms.json"
    terms.write_text(json.dumps(flat("1")))
    assert "difference: 7.50" in run("what-if", month, "--customer", customer_id, "--terms", str(terms))
    assert "2.50" in run("rerate", month)
    (rerating,) = asyncio.run(ids(reratings))
    assert f"{rerating} accepted" in run("accept", rerating)
    assert run("rerate", "2026-08", "--until", month).count(month) == 2  # the bar and the report
    assert "1 closed" in run("close", month)
    assert "0 closed" in run("close", month)
    (invoice,) = asyncio.run(ids(invoices))
    pdf = tmp_path / "invoice.pdf"
    run("pdf", invoice, "--to", str(pdf), "--language", "en")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert MONTH


def test_another_master_key_changes_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rate() -> tuple[int, str]:
        result = CliRunner().invoke(app, ["billing", "rate", "--config", str(config)])
        return result.exit_code, str(result.exception)

    assert rate()[0] == 0
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", bytes(range(1, 33)).hex())
    code, error = rate()
    assert code == 1
    assert "master key" in error


def test_a_carriers_file_is_compared_under_a_bar_that_knows_its_end(
    config: Path, database_url: str, tmp_path: Path
) -> None:
    async def furnish() -> str:
        database = Database(database_url)
        trunk_id = await a_trunk(Scene(database, Vault(MASTER_KEY)))
        await database.close()
        return trunk_id

    trunk_id = asyncio.run(furnish())
    mapping, file = tmp_path / "mapping.json", tmp_path / "file.csv"
    file.write_text("甲,乙,时,秒\n13866660001,01062000101,2026-11-02 08:00:00,61\n", encoding="gb18030")
    columns = {"leg": "in", "caller": "甲", "called": "乙", "begins_at": "时", "seconds": "秒"}

    def run(document: object) -> tuple[int, str, str]:
        mapping.write_text(json.dumps(document))
        arguments = ["reconcile", "2026-11", str(file), "--trunk", trunk_id, "--mapping", str(mapping)]
        result = CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)])
        return result.exit_code, result.output, str(result.exception)

    code, said, _ = run({**columns, "encoding": "gb18030"})
    assert code == 0
    assert "2/2" in said
    assert '"missing_here": 1' in said
    for wrong in ([], {**columns, "encoding": "nothing"}, {**columns, "encoding": "hex"}, columns):
        code, _, error = run(wrong)
        assert code == 1
        assert "mapping" in error or "encoding" in error or "codec" in error
