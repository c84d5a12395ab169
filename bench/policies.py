"""What policies cost a call: in memory with 100,000 entries and 1,000 rules, and where something is counted.

`python -m bench.policies [entries] [rules]`. Method: a database of its own (SQLite; with BENCH_POSTGRESQL, an
URL, PostgreSQL too), whose lists and rules are written by the use cases and read by a switch's `PolicyTable`:
nine entries of ten are people, the others prefixes and pairs, half the operator's; the rules are of many
kinds, half of them for one number each. Then the decision for calls between people who are on no list and
people who are on a white one, in turns of 1,000 for the full house and for one without any policy, so that
whatever else the machine does meets both; in CPU time, so that what takes the processor away does not count.
What is counted is measured apart: one call after the other, then 50 at a time, each with limits of frequency
and of calls at a time.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.machine import about, percentile

from xiaohao.bindings.model import Role
from xiaohao.clock import now_us
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.policies.counting import Claim, Counters
from xiaohao.policies.decision import Facts, decide
from xiaohao.policies.importing import EntryImport
from xiaohao.policies.index import Index
from xiaohao.policies.model import (
    Concurrent,
    Destinations,
    Direction,
    Every,
    Frequency,
    Hours,
    Per,
    SetBy,
    Spec,
    Times,
)
from xiaohao.policies.service import Owner, Policies
from xiaohao.policies.table import PolicyTable
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

_TURN, _TURNS = 1000, 40
_WEEK = Hours((Times("08:00", "07:59"),))
_KINDS: tuple[Spec, ...] = (
    Frequency(Per.CALLER, 1000, Every.HOUR),
    Frequency(Per.DISPLAYED, 100_000, Every.DAY),
    Frequency(Per.PAIR, 500, Every.MINUTE),
    Concurrent(Per.CUSTOMER, 10_000),
    _WEEK,
    Direction((Role.A, Role.B)),
    Destinations(("+852",)),
)


def _person(place: int) -> str:
    return f"+86138{place:08}"


def _lines(entries: int) -> list[tuple[int, list[str]]]:
    lines = [["list", "person", "other", "prefix"]]
    for place in range(entries):
        which = "white" if place % 4 == 0 else "black"
        if place % 20 == 1:
            lines.append([which, "", "", f"+8613{place % 10_000_000:07}"[:11]])
        elif place % 20 == 2:
            lines.append([which, _person(place), _person(place + 10_000_000), ""])
        else:
            lines.append([which, _person(place), "", ""])
    return list(enumerate(lines, 1))


async def _furnish(database: Database, vault: Vault, entries: int, rules: int) -> str:
    customer = await Tenants(database, vault).create_customer("bench")
    policies = Policies(database, vault)
    owners = [Owner(SetBy.OPERATOR, None), Owner(SetBy.CUSTOMER, customer.id)]
    began = time.perf_counter()
    for owner in owners:
        direct = Direct(database.url)
        lines = _lines(entries // 2)
        report = await asyncio.to_thread(EntryImport(direct, vault, owner).run, lines)
        direct.close()
        if report.refused:
            raise SystemExit(f"the list is refused: {report.faults[0]}")
    print(f"  {entries} entries imported in {time.perf_counter() - began:.1f} s")
    for place in range(rules):
        spec = _KINDS[place % len(_KINDS)]
        number = f"+86106{place:07}" if place % 2 else None
        await policies.add_rule(owners[place // 2 % 2], f"rule {place}", spec, number)
    return customer.id


async def _loaded(database: Database) -> PolicyTable:
    table = PolicyTable(database)
    longest, began = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    ticking = asyncio.ensure_future(tick())
    await table.load()
    ticking.cancel()
    took = time.perf_counter() - began
    print(f"  read into memory in {took:.1f} s, the event loop busy for {longest * 1000:.1f} ms at a time")
    return table


def _calls(customer_id: str, entries: int) -> list[Facts]:
    dice = random.Random(4)
    now = now_us()
    calls = []
    for place in range(_TURN):
        unlisted = dice.randrange(20_000_000, 90_000_000)
        listed = dice.randrange(0, entries // 2) // 20 * 20  # on a white list
        caller = f"+86187{unlisted:08}" if place % 2 else _person(listed)
        number = f"+86106{dice.randrange(1000):07}"
        calls.append(
            Facts(customer_id, caller, f"+86159{unlisted:08}", number, "+8617000000001", Role.A, now + place)
        )
    return calls


def _turn(index: Index, calls: list[Facts], vault: Vault) -> list[float]:
    took = []
    for call in calls:
        began = time.thread_time()
        verdict = decide(index, call, vault.index)
        took.append(time.thread_time() - began)
        if verdict.reason is not None:
            raise SystemExit(f"a call of the benchmark is refused: {verdict.reason}")
    return took


def _in_memory(table: PolicyTable, calls: list[Facts], vault: Vault) -> None:
    houses = {"no policies": Index(), "all of them": table.index}
    took: dict[str, list[float]] = {name: [] for name in houses}
    for turn in range(_TURNS):
        for name, index in houses.items():
            found = _turn(index, calls, vault)
            if turn:
                took[name] += found
    for name, found in took.items():
        found.sort()
        print(
            f"  a decision, {name}: median {statistics.median(found) * 1e6:.1f} us,"
            f" p99 {percentile(found, 0.99) * 1e6:.1f} us"
        )


async def _counted(database: Database, table: PolicyTable, calls: list[Facts], vault: Vault) -> None:
    counters = Counters(database)
    verdicts = [
        decide(table.index, call, vault.index) for call in calls if call.caller and "+86187" in call.caller
    ]
    claims = [Claim(f"call {n}", calls[n].at, v.hits, v.seats) for n, v in enumerate(verdicts)]
    print(f"  {len(claims[0].hits)} limits of frequency and {len(claims[0].seats)} of calls at a time a call")

    async def one(claim: Claim) -> float:
        began = time.perf_counter()
        if await counters.claim(claim) is not None:
            raise SystemExit("a call of the benchmark is refused")
        return time.perf_counter() - began

    alone = sorted([await one(claim) for claim in claims[:300]])
    _say("counted one after the other", alone, sum(alone), len(alone))
    began, busy = time.perf_counter(), time.process_time()
    room = asyncio.Semaphore(50)

    async def in_turn(claim: Claim) -> float:
        async with room:
            return await one(replace(claim, call_id=f"{claim.call_id} again"))

    found = sorted(await asyncio.gather(*map(in_turn, claims * 4)))
    _say("counted 50 at a time", found, time.perf_counter() - began, len(found))
    print(f"  CPU of each of these: {(time.process_time() - busy) / len(found) * 1000:.2f} ms")
    await counters.close()


def _say(what: str, took: list[float], seconds: float, count: int) -> None:
    median, p99 = statistics.median(took) * 1000, percentile(took, 0.99) * 1000
    print(f"  {what}: median {median:.2f} ms, p99 {p99:.2f} ms, {count / seconds:.0f} a second")


async def report(url: str, entries: int, rules: int) -> None:
    """Measure on one database."""
    database, vault = Database(url), Vault(bytes(32))
    print(database.url.get_backend_name())
    await database.migrate()
    customer_id = await _furnish(database, vault, entries, rules)
    table = await _loaded(database)
    calls = _calls(customer_id, entries)
    _in_memory(table, calls, vault)
    await _counted(database, table, calls, vault)
    await database.close()


async def main(*arguments: Any) -> None:
    """Measure on each database."""
    entries = int(arguments[0]) if arguments else 100_000
    rules = int(arguments[1]) if len(arguments) > 1 else 1000
    print(about())
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER", ".")) as folder:
        await report(f"sqlite:///{Path(folder) / 'xiaohao.db'}", entries, rules)
    if url := os.environ.get("BENCH_POSTGRESQL"):
        await report(url, entries, rules)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
