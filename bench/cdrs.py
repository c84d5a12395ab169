"""CDRs that are many: what one more costs to write, and how long a search takes, on SQLite and PostgreSQL.

Method: a database is filled to each size in turn, with its indexes away meanwhile and made again after: 100
customers, 20,000 people, 2,000 numbers, over 90 days. Then 5,000 calls end through the switch's journal, 100
in a transaction (each is a CDR, two events and often a request for a recording); CPU is the process's,
PostgreSQL's own is not counted. Then each kind of search is asked 100 times at random, a page of 50, as the
API does, with every real number of it opened. Times are of the machine as it is: look at how they grow.

Run: `python -m bench.cdrs [sqlite|postgresql|both] [CDRs …]`
"""

import asyncio
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Index, text
from sqlalchemy.schema import CreateIndex, DropIndex
from tests.calls_store.lives import life
from tests.postgresql import Cluster

from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallJournal
from xiaohao.calls.model import Reason
from xiaohao.calls.records import CallRecords, CdrFilter
from xiaohao.clock import SECOND
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs
from xiaohao.secrecy import Vault

DAY = 86_400 * SECOND
BEGAN = 1_790_000_000 * SECOND
DAYS = 90
CUSTOMERS = [f"cus_{place:032}" for place in range(100)]
NUMBERS = [f"+861062{place:06}" for place in range(2000)]
COLUMNS = (
    *("call_id", "customer_id", "binding_id", "caller_key", "caller_sealed", "callee_key", "callee_sealed"),
    *(
        "dialled",
        "displayed",
        "trunk_in",
        "trunk_out",
        "received_at",
        "ringing_at",
        "answered_at",
        "ended_at",
    ),
    *("ended_by", "reason", "sip_code", "q850_cause", "order_ref", "user_data", "tries", "recorded"),
)
INSERTED = 5000
ASKED = 100
PAGE = 50
#: PostgreSQL as it is installed
SETTINGS = {"listen_addresses": "", "max_connections": "50", "max_wal_size": "4GB"}
VAULT = Vault(bytes(32))


def people(count: int = 20_000) -> list[tuple[str, bytes, bytes]]:
    numbers = [f"+861380{place:07}" for place in range(count)]
    return [(number, VAULT.index(number), VAULT.seal(number)) for number in numbers]


PEOPLE = people()


def rows(first: int, last: int, whole: int) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(first)
    for place in range(first, last):
        (_, caller, caller_sealed), (_, callee, callee_sealed) = chance.choices(PEOPLE, k=2)
        at = BEGAN + DAYS * DAY * place // whole
        answered = at + 5 * SECOND if chance.random() < 0.6 else None
        ended = (answered or at) + chance.randint(1, 600) * SECOND
        yield (
            f"{place:015}-8000-8000-{place:012}",
            chance.choice(CUSTOMERS),
            f"bnd_{place // 5:032}",
            *(caller, caller_sealed, callee, callee_sealed),
            *chance.choices(NUMBERS, k=2),
            *("trk_in", "trk_out", at, at + 2 * SECOND, answered, ended),
            *("caller", "caller_hung_up" if answered else "caller_cancelled", 200, 16),
            *(f"order {place}", None, "[]", place % 3 == 0),
        )


def indexes() -> list[Index]:
    return sorted(cdrs.indexes, key=lambda index: str(index.name))


async def fill(database: Database, there: int, whole: int) -> None:
    async with database.begin() as connection:
        for index in indexes():
            await connection.execute(DropIndex(index))
    step = 100_000
    for first in range(there, whole, step):
        await asyncio.to_thread(put, database, rows(first, min(first + step, whole), whole))
    async with database.begin() as connection:
        for index in indexes():
            await connection.execute(CreateIndex(index))
    async with database.begin() as connection:
        await connection.execute(text("ANALYZE"))


def put(database: Database, found: Iterator[tuple[Any, ...]]) -> None:
    names = ", ".join(COLUMNS)
    if database.is_sqlite:
        with closing(sqlite3.connect(database.url.database or "")) as connection, connection:
            marks = ", ".join("?" * len(COLUMNS))
            connection.executemany(f"INSERT INTO cdrs ({names}) VALUES ({marks})", found)
        return
    with (
        psycopg.connect(database.url.render_as_string(hide_password=False)) as server,
        server.cursor().copy(f"COPY cdrs ({names}) FROM STDIN") as copy,
    ):
        for row in found:
            copy.write_row(row)


async def insert(database: Database) -> None:
    journal = CallJournal(database, VAULT)
    ends = []
    for place in range(INSERTED):
        at = BEGAN + DAYS * DAY + place * SECOND
        ends.append(life(random.choice(CUSTOMERS), record=place % 3 == 0, received_at=at)[-1])
    began, cpu = time.perf_counter(), time.process_time()
    for first in range(0, INSERTED, 100):
        await journal.write(ends[first : first + 100])
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"  write: {INSERTED / took:,.0f} a second, CPU {cpu / INSERTED * 1e6:.0f} µs each", flush=True)


def questions(chance: random.Random, records: CallRecords, middle: int) -> dict[str, Any]:
    customer, (person, *_) = chance.choice(CUSTOMERS), chance.choice(PEOPLE)
    day = BEGAN + chance.randrange(DAYS) * DAY
    within = CdrFilter(since=day, until=day + DAY)
    rare = CdrFilter(since=day, until=day + DAY, reason=Reason.CREDIT_EXHAUSTED)
    return {
        "a customer's newest": records.page_cdrs(customer, None, PAGE, CdrFilter()),
        "a customer's, in the middle": records.page_cdrs(customer, (middle, 0), PAGE, CdrFilter()),
        "a customer's day": records.page_cdrs(customer, None, PAGE, within),
        "a person's, for the operator": records.page_cdrs(None, None, PAGE, CdrFilter(person=person)),
        "a person's, for a customer": records.page_cdrs(customer, None, PAGE, CdrFilter(person=person)),
        "a number's": records.page_cdrs(None, None, PAGE, CdrFilter(number=chance.choice(NUMBERS))),
        "everybody's day": records.page_cdrs(None, None, PAGE, within),
        "a customer's day, of a reason that no call had": records.page_cdrs(customer, None, PAGE, rare),
    }


async def search(database: Database) -> None:
    records = CallRecords(database, VAULT, Audit(database, VAULT))
    chance = random.Random(7)
    middle = BEGAN + DAYS * DAY // 2
    took: dict[str, list[float]] = {}
    for _ in range(ASKED):
        for name, question in questions(chance, records, middle).items():
            began = time.perf_counter()
            await question
            took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
    for name, times in took.items():
        times.sort()
        worst = times[int(len(times) * 0.95)]
        print(f"  {name}: {statistics.median(times):.1f} ms, 95 in 100 below {worst:.1f} ms", flush=True)


async def measure(url: str, sizes: Sequence[int]) -> None:
    print(url.split(":")[0])
    database = Database(url)
    await database.migrate()
    there = 0
    for size in sizes:
        began = time.perf_counter()
        await fill(database, there, size)
        there = size
        print(f" {size:,} CDRs, filled in {time.perf_counter() - began:.0f} s", flush=True)
        await insert(database)
        await search(database)
    await database.close()


def main() -> None:
    which = sys.argv[1] if len(sys.argv) > 1 else "both"
    sizes = [int(one) for one in sys.argv[2:]] or [1_000_000]
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load average before: {', '.join(f'{part:.1f}' for part in os.getloadavg())}", flush=True)
    folder_of_all = Path("run")
    folder_of_all.mkdir(exist_ok=True)
    if which in ("sqlite", "both"):
        with tempfile.TemporaryDirectory(dir=folder_of_all.absolute()) as folder:
            asyncio.run(measure(f"sqlite:///{folder}/cdrs.db", sizes))
    if which in ("postgresql", "both"):
        with Cluster.started(SETTINGS) as cluster:
            cluster.create("cdrs")
            asyncio.run(measure(cluster.url("cdrs"), sizes))


if __name__ == "__main__":
    main()
