"""CPU that a call costs the switch for its journal: call row, five events, CDR and request for a recording.

Method: calls begin at random moments at a given rate; each begins, rings after 0.2 s, is answered after 0.4
and ends after 0.8. The same loop runs first with a writer that throws everything away (the floor: what
making the calls and their timers costs) and then with the real one, on SQLite on this disk and on a
PostgreSQL server of the bench's own (whose CPU is not counted: it may be on another machine). Printed is the
CPU time of the process, user and system, all threads, less the floor's, a call; the time from `put` to the
commit; and how many changes were written in one transaction.

Run: `python -m bench.journal [calls a second] [seconds]`
"""

import asyncio
import gc
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from tests.calls_store.lives import NOON, life
from tests.postgresql import Cluster

from xiaohao.calls.journal import CallJournal, Change, JournalWriter
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

CUSTOMER = "cus_0123456789abcdef0123456789abcdef"
BINDING = "bnd_0123456789abcdef0123456789abcdef"
PAUSES = (0.2, 0.2, 0.4)


class Nowhere:
    """The floor: takes changes and forgets them."""

    groups = 0

    def put(self, change: Change) -> None:
        pass

    async def drain(self) -> None:
        pass

    async def close(self) -> int:
        return 0


class Measured(CallJournal):
    """The journal, with a clock: when was each call's end put, and when was it committed."""

    groups = 0
    ends: dict[str, float]
    waits: list[float]

    def write_now(self, batch: list[Change]) -> bool:  # type: ignore[override]
        told = super().write_now(batch)
        now = time.perf_counter()
        self.groups += 1
        self.waits += [now - self.ends.pop(id_) for id_ in [c.call.id for c in batch] if id_ in self.ends]
        return told


def main() -> None:
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{rate:g} calls a second for {seconds:g} s, 4 changes each")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, Cluster.started() as cluster:
        cluster.create("journal")
        floor = uvloop.run(measure(None, rate, seconds, 0.0))
        uvloop.run(measure(f"sqlite:///{folder}/journal.db", rate, seconds, floor))
        uvloop.run(measure(cluster.url("journal"), rate, seconds, floor))


async def measure(url: str | None, rate: float, seconds: float, floor: float) -> float:
    writer: Nowhere | JournalWriter = Nowhere()
    ends: dict[str, float] = {}
    if url is not None:
        database = Database(url)
        await database.migrate()
        journal = Measured(database, Vault(bytes(32)))
        journal.ends, journal.waits = ends, []
        writer = JournalWriter(journal)
        await play(writer, ends, rate, 1.0)  # statements are compiled, caches are warm
        journal.groups, journal.waits = 0, []
    gc.collect()
    gc.freeze()
    before = cpu()
    calls = await play(writer, ends, rate, seconds)
    spent = (cpu() - before) / calls * 1e6
    if url is None:
        print(f"floor: {spent:.0f} µs a call")
        return spent
    waits = sorted(journal.waits)
    print(
        f"{url.split(':')[0]}: {spent - floor:.0f} µs a call; put to commit: median "
        f"{statistics.median(waits) * 1e3:.1f} ms, p99 {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms; "
        f"{calls * 4 / journal.groups:.1f} changes a transaction"
    )
    await writer.close()
    journal.close()
    await database.close()
    return spent


async def play(writer: Nowhere | JournalWriter, ends: dict[str, float], rate: float, seconds: float) -> int:
    """Let calls come, at random, and wait until all is written; gives their number."""
    end, tasks, at = time.perf_counter() + seconds, [], time.perf_counter()
    while at < end:
        at += random.expovariate(rate)
        await asyncio.sleep(at - time.perf_counter())
        tasks.append(asyncio.create_task(live(writer, ends, NOON + len(tasks))))
    await asyncio.gather(*tasks)
    await writer.drain()
    return len(tasks)


async def live(writer: Nowhere | JournalWriter, ends: dict[str, float], at: int) -> None:
    changes = [
        msgspec.structs.replace(
            change, call=msgspec.structs.replace(change.call, customer_id=CUSTOMER, binding_id=BINDING)
        )
        for change in life(received_at=at)
    ]
    for change, pause in zip(changes, PAUSES, strict=False):
        writer.put(change)
        await asyncio.sleep(pause)
    ends[changes[-1].call.id] = time.perf_counter()
    writer.put(changes[-1])


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
