"""A copy of the database without the key shows no number: in no spelling, on neither database."""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from tests.filled import MARKERS, A, fill
from tests.world import World

from xiaohao.database.engine import Database
from xiaohao.secrecy import masked

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def writings(number: str) -> dict[str, bytes]:
    """Ways in which a number could stand in a file."""
    national = number.removeprefix("+86")
    plain = national.encode()
    found = {"digits": plain, "backwards": plain[::-1], "hex": plain.hex().encode()}
    found["hex of hex"] = plain.hex().encode().hex().encode()
    found["UTF-16"] = national.encode("utf-16-le")
    for shift in range(3):
        # in base64 a text looks different at each of three places; its ends mix with their neighbours
        encoded = base64.b64encode(bytes(shift) + plain + bytes(2))
        found[f"base64, {shift}"] = encoded[4 * bool(shift) : 4 * ((shift + len(plain)) // 3)]
        found[f"base64 for URLs, {shift}"] = found[f"base64, {shift}"].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    for digits in (national, f"86{national}"):
        even = digits if len(digits) % 2 == 0 else f"{digits}f"
        packed = bytes.fromhex(even)
        found[f"two digits a byte, {digits[:2]}"] = packed[:-1]
        found[f"swapped digits, {digits[:2]}"] = bytes((b << 4 | b >> 4) & 0xFF for b in packed)[:-1]
        for order in ("big", "little"):
            found[f"integer, {order}, {digits[:2]}"] = int(digits).to_bytes(6, order).strip(b"\0")
    for sign in ("-", " ", "."):
        found[f"grouped by {sign!r}"] = sign.join((national[:3], national[3:7], national[7:])).encode()
    return found


def found_in(data: bytes) -> list[tuple[str, str]]:
    lower = data.lower()
    return [
        (masked(number), name)
        for number in MARKERS
        for name, writing in writings(number).items()
        if writing in data or (name.startswith("hex") and writing in lower)
    ]


def sqlite_files(database: Database, folder: Path) -> Iterator[bytes]:
    path = Path(str(database.url.database))
    names = [path, *path.parent.glob(f"{path.name}-*")]
    assert len(names) >= 2, "the log is part of what is searched"
    copies = [shutil.copy(name, folder / name.name) for name in names]
    return (Path(copy).read_bytes() for copy in copies)


def postgresql_tables(url: str) -> Iterator[bytes]:
    with psycopg.connect(url) as connection:
        tables = [row[0] for row in connection.execute(TABLES)]
        assert len(tables) >= 15
        for table in tables:
            for form in ("text", "binary"):
                statement = sql.SQL("COPY {} TO STDOUT (FORMAT {})").format(
                    sql.Identifier(table), sql.SQL(form)
                )
                with connection.cursor().copy(statement) as copy:
                    yield b"".join(bytes(block) for block in copy)


def postgresql_dump(url: str) -> bytes:
    """What `pg_dump` writes, the way in which databases are mostly copied."""
    done = subprocess.run(["pg_dump", "--dbname", url], capture_output=True, check=True)
    assert b"COPY public.legs" in done.stdout
    return done.stdout


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


async def test_no_number_is_found(world: World, copies: Path) -> None:
    await fill(world)
    url = world.database.url.render_as_string(hide_password=False)
    parts = 0
    if world.database.is_sqlite:
        everything = [*sqlite_files(world.database, copies)]
    else:
        everything = [*postgresql_tables(url), postgresql_dump(url)]
    for data in everything:
        assert found_in(data) == []
        parts += len(data)
    assert parts > 30_000, "there is something in it"


async def test_the_search_finds_what_is_there(world: World, copies: Path) -> None:
    """Otherwise the other test would prove nothing."""
    written = [
        A,
        A.removeprefix("+86").encode().hex(),
        base64.b64encode(f"{{'a':'{A}'}}".encode()).decode(),
    ]
    async with world.database.begin() as connection:
        for place, value in enumerate(written):
            statement = text("INSERT INTO leases (name, owner, until) VALUES (:name, :owner, 1)")
            await connection.execute(statement, {"name": f"{place}", "owner": value})
    if world.database.is_sqlite:
        everything = [*sqlite_files(world.database, copies)]
    else:
        everything = [*postgresql_tables(world.database.url.render_as_string(hide_password=False))]
    names = {name for data in everything for _, name in found_in(data)}
    assert {"digits", "hex"} < names
    assert any(name.startswith("base64") for name in names)


@pytest.mark.parametrize("shift", range(3))
def test_every_writing_is_recognised(shift: int) -> None:
    national = A.removeprefix("+86").encode()
    blob = bytes(shift) + base64.b64encode(b"x" * shift + national + b"yyy")
    assert any(name.startswith("base64") for _, name in found_in(blob)), shift
