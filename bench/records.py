"""What CDRs cost when there are very many: to write one more, to find some, to take all out.

`python -m bench.records [CDRs …]` (1 and 10 million unless said otherwise). For each number and each of the
two databases: a database filled directly, with every index, a year of calls of 50 customers, 10,000 platform
numbers and one person for 20 calls, blobs as long as the real ones; ANALYZE on PostgreSQL, as it does by
itself, nothing on SQLite. Then the product's own code: the journal writes ended calls in groups of 20, CDRs
alone; each kind of search asks 200 times for its first 50 CDRs at a random place; an export writes the
latest 200,000 CDRs as CSV and as Parquet in a process of its own. Searches are warm as far as the machine's
memory goes.
"""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from bench.machine import about, percentile
from sqlalchemy import text
from tests import postgresql
from tests.postgresql import Cluster

from xiaohao.audit.service import Audit
from xiaohao.calls import store
from xiaohao.calls.exporting import Format, written
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.calls.model import Call, Party, Reason, State, Try
from xiaohao.calls.records import CallRecords, CdrFilter
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

_CUSTOMERS, _NUMBERS, _CALLS_A_PERSON = 50, 10_000, 20
_YEAR = 365 * 86_400 * SECOND
_START = now_us() - _YEAR
_EXPORTED = 200_000
_TRIES = 200
_GROUP = 20
_VAULT = Vault(bytes(32))
_COLUMNS = store._CDR_COLUMNS
_OPERATOR = Principal("key_bench", None, None)
#: a server as one would run it on a machine of this size, on the disk and not beside it
_SERVER = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
}


def _customer(n: int) -> str:
    return f"cus_{n % _CUSTOMERS:032x}"


def _person(n: int) -> str:
    return f"+86138{n:08}"


def _number(n: int) -> str:
    return f"+8617{n % _NUMBERS:09}"


#: stands in every row for whoever it is: sealing costs more than the row
_BLOB = _VAULT.seal(_person(1))


def _rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the table in the order of writing; `keys` of people are as random as real ones."""
    dice = random.Random(1)
    persons = max(count // _CALLS_A_PERSON, 1)
    keys: dict[int, bytes] = {}

    def key(n: int) -> bytes:
        # the blind index costs more than the row: a made-up one of the same length for all but a few
        if n not in keys:
            keys[n] = _VAULT.index(_person(n)) if n < 1000 else dice.randbytes(16)
        return keys[n]

    step = _YEAR // count
    known = Call(
        "", "edge1", 0, "", ended_by=Party.CALLER, reason=Reason.CALLER_HUNG_UP, sip_code=200, q850_cause=16
    )
    known.tries = [Try("trk_0", _START)]
    known.ended_at, known.state = 1, State.ENDED
    base = list(store.cdr_row(known, True, _VAULT))
    place = {name: n for n, name in enumerate(_COLUMNS)}
    for n in range(count):
        at = _START + n * step
        row = base.copy()
        values = {
            "call_id": f"{at // 10**8:08d}-{at % 10**8:08d}-8000-{n:012d}",
            "customer_id": _customer(n),
            "binding_id": f"bnd_{n // 3:032x}",
            "caller_key": key(dice.randrange(persons)),
            "caller_sealed": _BLOB,
            "callee_key": key(dice.randrange(persons)),
            "callee_sealed": _BLOB,
            "dialled": _number(dice.randrange(_NUMBERS)),
            "displayed": _number(dice.randrange(_NUMBERS)),
            "trunk_in": f"trk_{n % 7}",
            "trunk_out": f"trk_{n % 5}",
            "received_at": at,
            "ringing_at": at + 2 * SECOND,
            "answered_at": at + 5 * SECOND if n % 4 else None,
            "ended_at": at + 60 * SECOND,
        }
        for name, value in values.items():
            row[place[name]] = value
        yield tuple(row)


def _fill_sqlite(path: Path, count: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {setting}")
    made = [sql for (sql,) in connection.execute(_MADE_BY)]
    connection.execute("BEGIN")
    for index in cdrs.indexes:
        connection.execute(f"DROP INDEX {index.name}")
    marks = ", ".join("?" * len(_COLUMNS))
    insert = f"INSERT INTO cdrs ({', '.join(_COLUMNS)}) VALUES ({marks})"
    connection.executemany(insert, _rows(count))
    for sql in made:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


_MADE_BY = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'cdrs' AND sql IS NOT NULL"


def _fill_postgresql(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'cdrs'")
        made = [sql for name, sql in found if name in {index.name for index in cdrs.indexes}]
        for index in cdrs.indexes:
            connection.execute(f"DROP INDEX {index.name}")
        with connection.cursor().copy(f"COPY cdrs ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
            for row in _rows(count):
                copy.write_row(row)
        for sql in made:
            connection.execute(sql)
        connection.execute("ANALYZE cdrs")
        connection.execute("CHECKPOINT")


async def _searches(database: Database, count: int) -> None:
    records = CallRecords(database, _VAULT, Audit(database, _VAULT))
    dice = random.Random(2)

    def moment() -> int:
        return _START + dice.randrange(_YEAR)

    def of(customer: str | None, **wanted: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: records.page_cdrs(customer, None, 50, CdrFilter(**wanted))

    def follow(place: int) -> Awaitable[Any]:
        return records.follow_cdrs(None, place, 50, CdrFilter())

    def of_any(**wanted: Any) -> Callable[[], Awaitable[Any]]:
        return of(_customer(dice.randrange(_CUSTOMERS)), **wanted)

    def window(customer: str | None, **more: Any) -> Callable[[], Awaitable[Any]]:
        at = moment()
        return of(customer, since=at, until=at + 86_400 * SECOND, **more)

    kinds: dict[str, Callable[[], Callable[[], Awaitable[Any]]]] = {
        "newest of a customer": lambda: of_any(),
        "newest of all": lambda: of(None),
        "a day of a customer": lambda: window(_customer(dice.randrange(_CUSTOMERS))),
        "a day of all, one trunk": lambda: window(None, trunk_id="trk_3"),
        "a person of a customer": lambda: of_any(person=_person(dice.randrange(1000))),
        "a person": lambda: of(None, person=_person(dice.randrange(1000))),
        "a number of a customer": lambda: of_any(number=_number(dice.randrange(_NUMBERS))),
        "a number, in a day": lambda: window(None, number=_number(dice.randrange(_NUMBERS))),
        "a binding": lambda: of(None, binding_id=f"bnd_{dice.randrange(count // 3):032x}"),
        "followed from a place": lambda: lambda: follow(dice.randrange(count)),
    }  # fmt: skip
    for name, make in kinds.items():
        took = []
        for _ in range(_TRIES):
            ask = make()
            began = time.perf_counter()
            await ask()
            took.append((time.perf_counter() - began) * 1000)
        print(f"    {name:<24} p50 {percentile(took, 0.5):7.1f} ms   p99 {percentile(took, 0.99):7.1f} ms")


def _insert(database: Database, groups: int = 150) -> None:
    """Calls that belong to nobody: their CDR is all that is written."""
    journal = CallJournal(database, _VAULT)
    took = []
    try:
        for n in range(groups):
            now = now_us()
            group = []
            for i in range(_GROUP):
                name = f"{now // 10**8:08d}-{now % 10**8:08d}-8000-{n:06d}{i:06d}"
                call = Call(name, "edge1", now, _number(n * 7919 + i))
                call.caller = _person(random.randrange(10**8))
                call.callee = _person(random.randrange(10**8))
                call.displayed, call.binding_id = _number(random.randrange(_NUMBERS)), f"bnd_{now:032x}"
                call.state, call.ended_at, call.ended_by = State.ENDED, now, Party.CALLER
                call.reason = Reason.CALLER_HUNG_UP
                group.append(CallEnded(call, record=False))
            began = time.perf_counter()
            journal.write_now(group)
            took.append((time.perf_counter() - began) * 1000 / _GROUP)
    finally:
        journal.close()
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(f"    written in groups of {_GROUP}: p50 {p50:.2f} ms a CDR, p99 {p99:.2f} ms")


def _peak_mib() -> float:
    """The most memory that this process has had; `getrusage` would tell of its parent's, too."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def _export(url: str, format_: str) -> None:
    """In a process of its own, so that its memory is its own."""
    database = Database(url)
    records = CallRecords(database, _VAULT, Audit(database, _VAULT))
    async with database.read() as connection:
        newest = (await connection.execute(text("SELECT max(received_at) FROM cdrs"))).scalar_one()
        count = (await connection.execute(text("SELECT max(seq) FROM cdrs"))).scalar_one()
    since = newest - int(_YEAR / count * _EXPORTED)
    began, size = time.perf_counter(), 0
    pages = await records.export(_OPERATOR, CdrFilter(since=since), format_)
    async for part in written(pages, Format(format_), for_operator=True):
        size += len(part)
    took = time.perf_counter() - began
    peak = _peak_mib()
    print(
        f"    {_EXPORTED:,} as {format_}: {_EXPORTED / took:,.0f} a second, {size / 2**20:.0f} MiB,"
        f" the process {peak:.0f} MiB"
    )
    await database.close()


async def _one(url: str, fill: Callable[[], None], size: Callable[[], int], count: int) -> None:
    database = Database(url)
    await database.migrate()
    await database.close()
    began = time.perf_counter()
    await asyncio.to_thread(fill)
    took = time.perf_counter() - began
    print(f"    filled in {took:.0f} s, {size() / count:.0f} bytes a CDR with its indexes")
    database = Database(url)
    await _searches(database, count)
    await asyncio.to_thread(_insert, database)
    await database.close()
    for format_ in ("csv", "parquet"):
        arguments = [sys.executable, "-m", "bench.records", "--export", url, format_]
        process = await asyncio.create_subprocess_exec(*arguments)
        await process.wait()


@contextmanager
def _place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_FOLDER", "."))).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    if sys.argv[1:2] == ["--export"]:
        asyncio.run(_export(*sys.argv[2:]))
        return
    print(about(), flush=True)
    for count in [int(argument) for argument in sys.argv[1:]] or [1_000_000, 10_000_000]:
        with _place() as folder:
            print(f"  SQLite, {count:,} CDRs", flush=True)
            path = folder / "xiaohao.db"
            asyncio.run(
                _one(
                    f"sqlite:///{path}",
                    lambda path=path, count=count: _fill_sqlite(path, count),  # type: ignore[misc]
                    lambda path=path: path.stat().st_size,  # type: ignore[misc]
                    count,
                )
            )
        postgresql._SETTINGS.update(_SERVER)
        with Cluster.started() as cluster:
            print(f"  PostgreSQL, {count:,} CDRs", flush=True)
            cluster.create("xiaohao")
            url = cluster.url("xiaohao")

            def size(url: str = url) -> int:
                with psycopg.connect(url) as connection:
                    row = connection.execute("SELECT pg_total_relation_size('cdrs')").fetchone()
                    return int(row[0]) if row else 0

            asyncio.run(_one(url, lambda url=url, count=count: _fill_postgresql(url, count), size, count))  # type: ignore[misc]


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main()
