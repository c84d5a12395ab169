"""`xiaohao cdrs export`: a whole file or none, and an entry in the audit log."""

import asyncio
import csv
from pathlib import Path

import pytest
from pyarrow import parquet
from sqlalchemy import select
from typer.testing import CliRunner

from tests.calls_store.lives import CALLER, NOON, life
from xiaohao.calls.journal import CallJournal
from xiaohao.cli import app
from xiaohao.clock import SECOND, rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import audit
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import Vault
from xiaohao.settings import KEY_VARIABLE


async def test_export(
    database: Database, database_url: str, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, bytes(range(32)).hex())  # that of the fixture `vault`
    config = tmp_path / "xiaohao.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n')
    journal = CallJournal(database, vault)
    for n in range(3):
        await journal.write(life(f"cus_{n % 2}", received_at=NOON + n * SECOND))
    journal.close()

    async def export(name: str, *options: str) -> str:
        arguments = ["cdrs", "export", str(tmp_path / name), *options, "--config", str(config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        if isinstance(result.exception, ChoreFailed):
            return str(result.exception)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    until = ("--until", rfc3339(NOON + 2 * SECOND))
    assert (await export("some.csv", *until, "--customer", "cus_0")).endswith("some.csv")
    assert (tmp_path / "some.csv").stat().st_mode & 0o777 == 0o600, "real numbers stand in it"
    with (tmp_path / "some.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["customer_id"], row["caller"], row["talk_ms"]) for row in rows] == [
        ("cus_0", CALLER, "60000")
    ]
    await export(
        "all.parquet", "--reason", "callee_hung_up", "--number", "010 6200 0001", "--trunk", "trk_in"
    )
    assert parquet.ParquetFile(tmp_path / "all.parquet").metadata.num_rows == 3
    assert await export("x.xlsx") == f"{tmp_path}/x.xlsx: the name must end in .csv or .parquet"
    for option, value in (("--since", "yesterday"), ("--number", "x"), ("--reason", "bad luck")):
        assert await export("wrong.csv", option, value)
    assert not any((tmp_path / name).exists() for name in ("x.xlsx", "wrong.csv", ".wrong.csv.part"))
    async with database.read() as connection:
        found = (await connection.execute(select(audit.c.action, audit.c.key_id))).all()
    assert [tuple(row) for row in found] == [("export_cdrs", "command")] * 2
