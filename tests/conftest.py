"""Fixtures of every folder: a fresh migrated database, on SQLite and on PostgreSQL, and a vault."""

import asyncio
import gc
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from xdist.remote import Producer

from tests.postgresql import Cluster
from tests.sharing import Sharing
from tests.world import World
from xiaohao.database.engine import Database
from xiaohao.prompts import making
from xiaohao.secrecy import Vault


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    """See tests/sharing.py."""
    return Sharing(config, log)


def pytest_collection_finish() -> None:
    """What has been imported by now stays: to look through it for garbage took a quarter of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def vault() -> Vault:
    return Vault(bytes(range(32)))


@pytest.fixture(scope="session")
def default_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default set of prompts, made for this test run as an installation makes it."""
    return making.make(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of this test run's own, started when the first test wants it."""
    with Cluster.started() as cluster:
        cluster.create("template_xiaohao")
        migrate(cluster.url("template_xiaohao"))
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "xiaohao.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of the test's own, migrated and empty."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        copy = tmp_path / "xiaohao.db"
        shutil.copyfile(template, copy)
        yield f"sqlite:///{copy}"
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.lent("template_xiaohao") as name:
        yield cluster.url(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The same, opened."""
    database = Database(database_url)
    yield database
    await database.close()


def migrate(url: str) -> None:
    """Bring a database up to date from a test that may already have an event loop."""

    async def run() -> None:
        database = Database(url)
        await database.migrate()
        await database.close()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, run()).result()


@pytest.fixture
def world(database: Database, vault: Vault) -> World:
    """The services on the test's database."""
    return World(database, vault)
