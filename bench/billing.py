"""Rating, rating anew and the month's close: CDRs a second and memory, on SQLite and PostgreSQL.

Method: CDRs of one customer are written straight into the table, over a month, on 100 numbers of three kinds,
six tenths answered, talking 1 to 600 s. Then, each in a process of its own, whose CPU and highest memory are
taken from the system: rating them as the worker does (usage and running sums, in transactions of 500); the
month's bill from what is stored; a rerating's whole report, from the CDRs, by one process and by two; and the
close of a month of many customers with 100 calls each. At last how soon a prepaid customer is stopped whose
money a call has used up. PostgreSQL's own memory and CPU are not counted.

Run: `python -m bench.billing [CDRs] [customers]`
"""

import asyncio
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import insert, select
from tests.calls_store.lives import life
from tests.postgresql import Cluster

from xiaohao.billing import calendar, usage_store
from xiaohao.billing.closing import Closing
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import Reratings
from xiaohao.billing.runs import Month
from xiaohao.billing.service import Billing, Limits
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs, customers
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

MONTH = 202610
START = calendar.start_of(MONTH)
LENGTH = calendar.end_of(MONTH) - START
NUMBERS = (
    [f"+8640012300{place:02}" for place in range(10)]
    + [f"+8610620000{place:02}" for place in range(60)]
    + [f"+86170000000{place:02}" for place in range(30)]
)
ONE = "cus_one"
STOPS = 30
#: how long the worker rests between two rounds of rating
RATING_S = 0.4
#: PostgreSQL as it is installed, but that it looks at once at how its tables grew
SETTINGS = {"listen_addresses": "", "max_connections": "50", "autovacuum_naptime": "5s"}


def later() -> int:
    return calendar.end_of(MONTH) + 86_400 * SECOND


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.migrate()
    try:
        yield database
    finally:
        await database.close()


async def furnish(url: str, count: int, companies: int) -> None:
    chance = random.Random(1)
    owners = [(ONE, count)] + [(f"cus_{place:04}", 100) for place in range(companies)]
    async with opened(url) as database:
        now = {"state": "active", "real_names": False, "created_at": 0, "updated_at": 0}
        async with database.begin() as connection:
            await connection.execute(
                insert(customers), [{"id": owner, "name": owner, **now} for owner, _ in owners]
            )
        place = 0
        for owner, calls in owners:
            for first in range(0, calls, 20_000):
                rows = []
                for number in range(first, min(first + 20_000, calls)):
                    place += 1
                    at = START + LENGTH * number // calls
                    answered = at + 5 * SECOND if chance.random() < 0.6 else None
                    rows.append(
                        {
                            "call_id": f"{place:08}-0000-8000-8000-{place:012}",
                            "customer_id": owner,
                            "dialled": chance.choice(NUMBERS),
                            "displayed": NUMBERS[-1],
                            "received_at": at,
                            "ringing_at": at + SECOND,
                            "answered_at": answered,
                            "ended_at": (answered or at) + chance.randint(1_000, 600_000) * 1000,
                            "ended_by": "caller",
                            "reason": "caller_hung_up",
                            "order_ref": f"order {place}",
                            "tries": "[]",
                            "recorded": place % 3 == 0,
                        }
                    )
                async with database.begin() as connection:
                    await connection.execute(insert(cdrs), rows)


async def rate(database: Database) -> int:
    rated = await Rater(database, Vault(bytes(32)), later).rate_due()
    async with database.begin() as connection:  # as the worker does when nothing has come for a minute
        await usage_store.raise_low_mark(connection, await usage_store.newest_cdr(connection))
    return rated


async def stored(database: Database) -> int:
    month = await Month.of(database, ONE, MONTH)
    bill = await month.bill()
    return sum(day.calls for day in bill.days)


async def rerate(database: Database, processes: int = 1) -> int:
    """What `xiaohao billing rerate` does: the report with its differences and both bills."""
    rater = Rater(database, Vault(bytes(32)), later)
    made = await Reratings(database, rater, later).prepare(ONE, MONTH, processes=processes)
    report = made.report
    assert report["changed"] == 0
    return int(report["calls"])


async def share(database: Database) -> int:
    """The same by two processes, `--processes 2`."""
    return await rerate(database, 2)


async def close(database: Database) -> int:
    return await Closing(database, Rater(database, Vault(bytes(32)), later), clock=later).close_all(MONTH)


async def stop(database: Database) -> int:
    """From the CDR that takes the last money to the state that every switch reads with its next call."""
    vault, took = Vault(bytes(32)), []
    billing, journal = Billing(database, vault), CallJournal(database, vault)
    customer_id = (await Tenants(database, vault).create_customer("prepaid")).id
    await billing.set_limits(customer_id, Limits(prepaid=True))
    rating = asyncio.create_task(rate_for_ever(Rater(database, vault)))
    await asyncio.sleep(RATING_S)  # it has looked back
    for _ in range(STOPS):
        account = await billing.account(customer_id)
        await billing.pay_in(customer_id, 1_000_000 - (account.left or 0), "transfer")
        end = life(customer_id, record=False, received_at=now_us() - 900 * SECOND)[-1]
        await asyncio.sleep(random.random())
        began = time.perf_counter()
        await journal.write([CallEnded(replace(end.call, ended_at=now_us()), False)])
        while await state(database, customer_id) != "exhausted" and not rating.done():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        if rating.done():
            rating.result()
        took.append((time.perf_counter() - began) * 1000)
    rating.cancel()
    took.sort()
    print(f"  stopped after {took[STOPS // 2]:.0f} ms (median), {took[-1]:.0f} ms at most")
    return STOPS


async def rate_for_ever(rater: Rater) -> None:
    while True:
        await rater.rate_due()
        await asyncio.sleep(RATING_S)


async def state(database: Database, customer_id: str) -> str:
    async with database.read() as connection:
        query = select(customers.c.state).where(customers.c.id == customer_id)
        return str((await connection.execute(query)).scalar_one())


WORK = {"rate": rate, "stored": stored, "rerate": rerate, "share": share, "close": close, "stop": stop}


def cpu() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


async def one(what: str, url: str) -> None:
    async with opened(url) as database:
        before = cpu()
        began = time.perf_counter()
        count = await WORK[what](database)
        took = time.perf_counter() - began
    used = cpu() - before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  {what:>6}: {count:,} in {took:.1f} s = {count / took:,.0f} a second; "
        f"CPU {used / count * 1e6:.1f} µs each; highest memory {most / 1024:.0f} MiB"
    )


def measure(url: str, count: int, companies: int) -> None:
    print(url.split(":")[0])
    asyncio.run(furnish(url, count, companies))
    for what in WORK:
        subprocess.run([sys.executable, "-m", "bench.billing", what, url], check=True)


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in WORK:
        asyncio.run(one(sys.argv[1], sys.argv[2]))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    companies = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load average before: {', '.join(f'{part:.1f}' for part in os.getloadavg())}")
    print(f"{count:,} CDRs of one customer, {companies:,} customers with 100 each", flush=True)
    folder_of_all = Path("run")
    folder_of_all.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder_of_all.absolute()) as folder,
        Cluster.started(SETTINGS) as cluster,
    ):
        measure(f"sqlite:///{folder}/billing.db", count, companies)
        cluster.create("billing")
        measure(cluster.url("billing"), count, companies)


if __name__ == "__main__":
    main()
