"""A PostgreSQL cluster of the test run's own: private folder, unix socket only, gone when the run ends."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}

_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
_RESTART_SEQUENCES = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false) FROM pg_sequences
"""


class Cluster:
    """A running server whose superuser is `postgres`, without password, for whoever reaches its folder."""

    def __init__(self, binaries: Path, folder: Path, settings: Mapping[str, str] = _SETTINGS) -> None:
        self._settings = settings
        self.binaries = binaries
        self.folder = folder
        self.data = folder / "data"
        self._server: subprocess.Popen[bytes] | None = None
        self._empty: list[str] = []
        self._serial = itertools.count(1)

    @classmethod
    @contextmanager
    def started(cls, settings: Mapping[str, str] = _SETTINGS) -> Iterator["Cluster"]:
        """Initialise and start; stop and remove at the end. The server dies with us if we are killed.

        `settings`: of the server; unless given those that make tests quick, which are not for measurements.
        """
        folder = Path(tempfile.mkdtemp(prefix="xiaohao-pg-"))
        cluster = cls(_binaries(), folder, settings)
        try:
            cluster._initialise()
            cluster.serve()
            yield cluster
        finally:
            cluster._stop()
            shutil.rmtree(folder)

    def _initialise(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        subprocess.run(
            [
                *_as_unprivileged(),
                *(self.binaries / "initdb", "--pgdata", self.data, "--username=postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
        )

    def serve(self) -> None:
        """Start the server process, again where it has ended, and wait until it takes connections."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        log = (self.folder / "log").open("ab")
        server = self._server = subprocess.Popen(
            [
                *(*_as_unprivileged(), "--pdeathsig=QUIT"),
                *(self.binaries / "postgres", "-D", self.data, "-k", self.folder, *settings),
            ],
            stdout=log,
            stderr=log,
            cwd="/",
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The server's process id, as it says itself."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def _stop(self) -> None:
        if self._server is not None:
            # "fast": SIGTERM would wait for whoever is still connected, for ever
            self._server.send_signal(signal.SIGINT)
            self._server.wait()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template1") -> None:
        self._run("CREATE DATABASE {} TEMPLATE {}", database, template)

    def drop(self, database: str) -> None:
        self._run("DROP DATABASE {} WITH (FORCE)", database)

    @contextmanager
    def lent(self, template: str) -> Iterator[str]:
        """The name of a database like `template`, empty; emptied and kept for the next one afterwards.

        A new database takes the server a third of a second, an empty one a hundredth.
        """
        if self._empty:
            name = self._empty.pop()
        else:
            name = f"lent_{next(self._serial)}"
            self.create(name, template)
        yield name
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(_END_OTHERS)
            tables = [row[0] for row in connection.execute(_TABLES) if row[0] != "alembic_version"]
            connection.execute(
                sql.SQL(";").join(sql.SQL("DELETE FROM {}").format(sql.Identifier(t)) for t in tables)
            )
            connection.execute(_RESTART_SEQUENCES)
        self._empty.append(name)

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError(
            "PostgreSQL's server is missing: apt-get install --no-install-recommends postgresql-15"
        )
    return found[-1].parent


def _as_unprivileged() -> list[str]:
    # The server refuses to run as root; its package brings the user it wants to be.
    return ["setpriv", *(["--reuid=postgres", "--regid=postgres", "--clear-groups"] * (os.geteuid() == 0))]
