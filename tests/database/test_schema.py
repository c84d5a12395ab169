"""The migrations make the schema that `schema.py` describes, however many processes start at once."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from tests.postgresql import Cluster

from xiaohao.database import migrations
from xiaohao.database.engine import Database
from xiaohao.database.schema import metadata

_START = """
import asyncio, sys
from xiaohao.database.engine import Database

async def start():
    database = Database(sys.argv[1])
    await database.migrate()
    await database.ping()
    await database.close()

asyncio.run(start())
"""
_POSTGRESQL_SHAPE = """
SELECT table_name || '.' || column_name, data_type, is_nullable, coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conname, pg_get_constraintdef(oid), contype::text, conrelid::regclass::text
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""
_SQLITE_SHAPE = "SELECT name, sql, tbl_name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a database in which nothing is yet; on SQLite not even its folder."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/xiaohao.db"
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    cluster.create("empty")
    yield cluster.url("empty")
    cluster.drop("empty")


async def test_migrations_make_what_the_schema_describes(empty_url: str) -> None:
    database = Database(empty_url)
    await database.migrate()
    migrated = await shape(database)
    async with database.begin() as connection:
        await connection.run_sync(drop_everything)
        await connection.run_sync(metadata.create_all)
    described = await shape(database)
    await database.close()
    assert migrated == described
    assert len(described) > len(metadata.tables)


async def test_four_processes_start_at_once(empty_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _START, empty_url) for _ in range(4)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0, 0]


async def test_a_second_time_changes_nothing(database: Database) -> None:
    before = await shape(database)
    await database.migrate()
    assert await shape(database) == before


async def test_down_to_nothing_and_up_again(database: Database) -> None:
    before = await shape(database)
    async with database.begin() as connection:
        await connection.run_sync(downgrade)
    assert await shape(database) == []
    await database.migrate()
    assert await shape(database) == before


async def shape(database: Database) -> list[tuple[str, ...]]:
    """Everything about the tables, except Alembic's own, that must be equal in both ways of making them."""
    query = _SQLITE_SHAPE if database.is_sqlite else _POSTGRESQL_SHAPE
    async with database.read() as connection:
        rows = (await connection.execute(text(query))).all()
    # Columns of a UNIQUE that is written at the column or at the table: the same thing, differently spaced.
    return sorted(
        tuple(re.sub(r"\s+", " ", value) for value in row)
        for row in rows
        if "alembic_version" not in str(row)
    )


def drop_everything(connection: Connection) -> None:
    for table in inspect(connection).get_table_names():
        connection.execute(text(f"DROP TABLE {table}"))


def downgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.downgrade(config, "base")
