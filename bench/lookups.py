"""What recognising a call costs with few and with very many live bindings, and what a binding takes on disk.

Method: a database for each size, filled directly (`bench.crowd`), on SQLite and on PostgreSQL as it is
installed (filled without fsync). Then, 20,000 times for each size, in turns of 200 for one size after the
other, so that whatever else the machine does meets all sizes alike: the look-up of the switch with its
judgement, which is all that the database is asked about an ordinary INVITE; and what it is asked at the most,
where the customer decides the call: the look-up and the question about the number that is to be displayed.
Callers are drawn at random, half of them A and half B. Before, 2,000 for each that do not count, and each
file is read through once, so that the system has it in its memory as far as that goes. Besides the wait the
CPU of the asking thread is said, which others on the machine do not lengthen, and on SQLite how many look-ups
had to read the disk, with the CPU of those that had not: whether 13 GB stay in memory is up to the machine.

`LOOKUPS_FOLDER`: databases are made there and kept, and one that is there already is taken as it is.
"""

import os
import random
import resource
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import crowd
from bench.machine import percentile
from tests.postgresql import Cluster

from xiaohao.bindings.recognition import Outcome, judge
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.switch.lookup import Lookup, lookup_for

_LOOK_UPS = 20_000
_TURN = 200
#: what speeds up the filling, and nothing of what is measured
_FILLING = {"fsync": "off", "max_wal_size": "8GB", "listen_addresses": ""}


class _Times:
    """Microseconds: of waiting and of this thread's CPU."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.cpu: list[float] = []
        #: of those that read nothing from the disk
        self.in_memory: list[float] = []

    def add(self, wait: float, cpu: float, read: bool) -> None:
        self.waits.append(wait)
        self.cpu.append(cpu)
        if not read:
            self.in_memory.append(cpu)

    def said(self, first: "_Times") -> str:
        read = len(self.waits) - len(self.in_memory)
        return (
            f"{_said(self.waits, first.waits)}; CPU {_said(self.cpu, first.cpu)};"
            f" {read} read the disk, CPU of the others {_said(self.in_memory, first.in_memory)}"
        )


def _said(values: list[float], first: list[float]) -> str:
    p99, of_first = percentile(values, 0.99), percentile(first, 0.99)
    return f"median {statistics.median(values):.0f} µs, p99 {p99:.0f} µs, {p99 / of_first:.2f} × the first"


def _read_blocks() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock


async def _ask(
    lookup: Lookup, binding: int, count: int, by_a: bool, at_most: bool
) -> tuple[float, float, bool]:
    """Ask what is to be asked about one call; gives µs of wait and of CPU, and whether it read the disk."""
    key = crowd.a_key(binding, count) if by_a else crowd.b_key(binding, count)
    x, y = crowd.x_of(binding), crowd.y_of(binding)
    dialled, display = (y, x) if by_a else (x, y)
    blocks = _read_blocks()
    began, cpu = time.perf_counter(), time.thread_time()
    now = now_us()
    match = judge(await lookup.find(key, dialled, now), now)
    if at_most:
        await lookup.shown(display, "+8613700000000")
    took = (time.perf_counter() - began) * 1e6, (time.thread_time() - cpu) * 1e6
    if match.outcome is not Outcome.CONNECT or match.binding_id != crowd.id_of(binding):
        raise RuntimeError(f"{match.outcome} where {crowd.id_of(binding)} is live")
    return *took, _read_blocks() != blocks


async def _measure(looking: dict[int, Lookup]) -> None:
    times = {(count, at_most): _Times() for at_most in (False, True) for count in looking}
    rng = random.Random(1)
    for turn in range(-2_000 // _TURN, _LOOK_UPS // _TURN):
        for (count, at_most), of_size in times.items():
            for _ in range(_TURN):
                binding, by_a = rng.randrange(count), rng.random() < 0.5
                said = await _ask(looking[count], binding, count, by_a, at_most)
                if turn >= 0:
                    of_size.add(*said)
    first = min(looking)
    for (count, at_most), of_size in times.items():
        what = "all that may be asked" if at_most else "look-up"
        print(f"    {what}, {count}: {of_size.said(times[first, at_most])}")


def _read_through(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


@asynccontextmanager
async def _looking(urls: dict[int, str]) -> AsyncIterator[dict[int, Lookup]]:
    looking = {count: lookup_for(Database(url).url) for count, url in urls.items()}
    for lookup in looking.values():
        await lookup.open()
    try:
        yield looking
    finally:
        for lookup in looking.values():
            await lookup.close()


async def _on_sqlite(folder: Path, sizes: list[int]) -> None:
    print("  SQLite")
    urls = {}
    for count in sizes:
        path = folder / f"{count}.db"
        took = 0.0 if path.exists() else await crowd.fill(f"sqlite:///{path}", count)
        size = path.stat().st_size
        each = f"{size / 2**20:.0f} MiB, {size / count:.0f} bytes each"
        print(f"    {count} bindings: {each}; filled in {took:.0f} s")
        urls[count] = f"sqlite:///{path}"
    _read_through(folder)
    async with _looking(urls) as looking:
        await _measure(looking)


async def _on_postgresql(sizes: list[int]) -> None:
    print("  PostgreSQL")
    with Cluster.started(_FILLING) as cluster:
        urls = {count: cluster.url(f"crowd_{count}") for count in sizes}
        for count, url in urls.items():
            cluster.create(f"crowd_{count}")
            took = await crowd.fill(url, count)
            size = sum(path.stat().st_size for path in (cluster.data / "base").rglob("*") if path.is_file())
            print(f"    {count} bindings: {size / 2**20:.0f} MiB with those before; filled in {took:.0f} s")
        _read_through(cluster.data / "base")
        async with _looking(urls) as looking:
            await _measure(looking)


async def report(folder: Path, sizes: list[int]) -> None:
    """Print the times of look-ups and the bytes."""
    print("\nLook-up of a live binding (target: p99 at most 1.3 × the first)")
    kept = os.environ.get("LOOKUPS_FOLDER")
    where = folder if kept is None else Path(kept)
    await _on_sqlite(where, sizes)
    if kept is None:
        for count in sizes:
            (where / f"{count}.db").unlink()
    await _on_postgresql(sizes)
