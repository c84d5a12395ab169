"""`xiaohao key rotate` as an operator runs it: killed on the way, run again; keys in files or given."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, func, insert, literal, select
from tests.api.server import serving
from tests.filled import fill
from tests.rotation.test_rotation import NEW, OLD, contents
from tests.world import World

from xiaohao.database.engine import Database
from xiaohao.database.schema import audit
from xiaohao.rotation.files import KeyFiles
from xiaohao.rotation.service import Rotation
from xiaohao.secrecy import Vault
from xiaohao.settings import KEY_VARIABLE, Settings, SettingsError, read_key, write_key

#: enough for some tenths of a second between the first batch and the last
ROWS = 12_000
#: what the database is makes no difference there
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Path:
    (tmp_path / "xiaohao.toml").write_text(f'[database]\nurl = "{database_url}"\n')
    write_key(tmp_path / "data" / "master.key", OLD)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "xiaohao.cli", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != KEY_VARIABLE}, **more}


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def sealed_with_new(database: Database) -> int:
    """How many of the many rows have come over."""
    begins = func.substr(audit.c.details_sealed, 1, 5)
    query = select(func.count()).select_from(audit).where(begins == literal(Vault(NEW).prefix, LargeBinary))
    async with database.read() as connection:
        return int((await connection.execute(query)).scalar_one())


async def test_killed_on_the_way_and_run_again(world: World, folder: Path) -> None:
    await fill(world)
    vault = Vault(OLD)
    row = {"at": 1, "action": "evidence", "subject": "138****0000"}
    async with world.database.begin() as connection:
        rows = [{**row, "details_sealed": vault.seal(f'{{"row":{place}}}')} for place in range(ROWS)]
        await connection.execute(insert(audit), rows)
    before = await contents(world.database, vault)
    write_key(folder / "data" / "master.key.new", NEW)
    for part in (0.1, 0.6):
        process = await asyncio.create_subprocess_exec(
            *command("key", "rotate"), cwd=folder, env=environment(), stderr=asyncio.subprocess.DEVNULL
        )
        while await sealed_with_new(world.database) < part * ROWS:
            assert process.returncode is None, "it was done before it could be killed"
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    said = run(folder, "key", "create", "--operator")
    assert said.returncode == 1
    assert said.stderr.startswith("xiaohao: the master key is being replaced: bring `xiaohao key rotate`")
    assert read_key(folder / "data" / "master.key") == OLD
    said = run(folder, "key", "rotate")
    assert said.returncode == 0, said.stderr
    assert int(re.match(r"\d+", said.stdout)[0]) < 0.5 * ROWS  # type: ignore[index]
    assert await contents(world.database, Vault(NEW)) == before
    data = folder / "data"
    assert {file.name for file in data.glob("master.key*")} == {
        "master.key",
        f"master.key.{vault.key_id:08x}",
    }
    assert read_key(data / "master.key") == NEW
    assert all(file.stat().st_mode & 0o77 == 0 for file in data.glob("master.key*"))
    assert run(folder, "key", "create", "--operator").returncode == 0


@ON_SQLITE
async def test_a_key_from_the_environment(world: World, folder: Path) -> None:
    await fill(world)
    with serving(folder, world.database.url.render_as_string(), OLD):
        refused = run(folder, "key", "rotate")
    assert (refused.returncode, refused.stderr.splitlines()[-1][:45]) == (
        1,
        "xiaohao: the platform works on this database ",
    )
    assert not (folder / "data" / "master.key.new").exists()  # nothing was sealed with it
    (folder / "data" / "master.key").unlink()
    variables = {KEY_VARIABLE: OLD.hex()}
    said = run(folder, "key", "rotate", "--new-key-file", "next.key", **variables)
    assert said.returncode == 0, said.stderr
    assert f"Put the key in next.key into {KEY_VARIABLE}" in said.stdout
    new = read_key(folder / "next.key")
    await contents(world.database, Vault(new))
    # run again by mistake, or because the line was lost: nothing is done twice
    again = run(folder, "key", "rotate", "--new-key-file", "next.key", **variables)
    assert (again.returncode, again.stdout[:7]) == (0, "0 rows ")
    wrong = run(folder, "web", **variables)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1] == (
        f"xiaohao: the database was sealed with the master key {Vault(new).key_id:08x}, "
        f"this one is {Vault(OLD).key_id:08x}"
    )


@ON_SQLITE
@pytest.mark.parametrize("kind", ["switch", "worker", "migrate"])
async def test_a_wrong_key_is_told_at_the_start(
    kind: str, world: World, folder: Path, database_url: str
) -> None:
    other = Database(database_url, Vault(NEW).key_id)
    await other.agree()
    await other.close()
    said = run(folder, kind)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1].startswith("xiaohao: the database was sealed with the master key")
    assert "Traceback" not in said.stderr


async def test_no_key_is_made_for_a_database_that_has_one(world: World, folder: Path) -> None:
    owner = Database(world.database.url.render_as_string(hide_password=False), Vault(OLD).key_id)
    await owner.agree()
    await owner.close()
    key = folder / "data" / "master.key"
    key.unlink()
    said = run(folder, "migrate")
    assert said.returncode == 1
    assert f"is sealed with the key {Vault(OLD).key_id:08x}" in said.stderr
    assert "Traceback" not in said.stderr
    assert not key.exists()
    # A key that lies there unused and was made by somebody else is not removed by a refused rotation.
    write_key(key, NEW)
    write_key(folder / "data" / "master.key.new", OLD[::-1])
    assert run(folder, "key", "rotate").returncode == 1
    assert (folder / "data" / "master.key.new").exists()
    (folder / "data" / "master.key.new").unlink()
    assert run(folder, "key", "rotate").returncode == 1
    assert not (folder / "data" / "master.key.new").exists()


def test_no_key_is_made_while_the_database_says_nothing(tmp_path: Path) -> None:
    settings = Settings()
    settings.secrets.master_key_file = str(tmp_path / "master.key")
    settings.database.url = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(SettingsError, match="no other key is made"):
        settings.master_key()
    assert not (tmp_path / "master.key").exists()


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings()
    settings.secrets.master_key_file = str(tmp_path / "master.key")
    write_key(tmp_path / "master.key", OLD)
    yield settings


def test_a_crash_between_the_files_loses_no_key(settings: Settings, tmp_path: Path) -> None:
    files = KeyFiles.of(settings, None, from_environment=False)
    assert files.new_key(lambda: NEW) == NEW
    assert files.new_key(lambda: OLD) == NEW  # what was made before the crash is taken up
    kept = tmp_path / f"master.key.{Vault(OLD).key_id:08x}"
    write_key(kept, OLD)  # the crash came after the first of two steps
    assert files.swap(OLD) == kept
    assert (settings.master_key(), settings.old_master_keys()) == (NEW, [OLD])
    assert not files.coming.exists()
    with pytest.raises(FileExistsError):
        write_key(kept, NEW)


def test_what_lies_beside_the_key_is_no_old_key_by_chance(settings: Settings, tmp_path: Path) -> None:
    for name in ("master.key.new", "master.key.bak", "master.key.0123abcd.txt"):
        (tmp_path / name).write_text("not a key")
    assert settings.old_master_keys() == []


async def test_both_databases_take_an_empty_rotation(world: World) -> None:
    assert await Rotation(world.database, OLD, NEW).run() == 0
    assert await Rotation(world.database, OLD, NEW).is_over()
