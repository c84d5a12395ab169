"""Policies from the API's use cases to the memory of a switch, and what is counted across processes."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select

from tests.api.facts import ended, journal_of
from tests.policies.claimers import AT_A_TIME, OF_THE_CALLER, claim
from tests.world import NOON, Clock, World, person, x_number, y_number
from xiaohao.bindings.model import Role
from xiaohao.calls.model import Call, Reason
from xiaohao.clock import SECOND, parse_rfc3339
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.database.policy_tables import policy_entries, policy_hits, policy_seats
from xiaohao.database.schema import calls, events
from xiaohao.errors import Refusal
from xiaohao.inventory import files
from xiaohao.policies import store
from xiaohao.policies.calendar import DayKind
from xiaohao.policies.counting import Counters
from xiaohao.policies.decision import Facts, decide
from xiaohao.policies.explaining import Explaining
from xiaohao.policies.fraud import FraudWatch
from xiaohao.policies.importing import EntryImport, Imported
from xiaohao.policies.model import Concurrent, Every, Fraud, Frequency, Hours, List, Per, SetBy, Spec, Times
from xiaohao.policies.service import NewEntry, Owner, Policies
from xiaohao.policies.sweeping import Sweeping
from xiaohao.policies.table import PolicyTable
from xiaohao.secrecy import Vault
from xiaohao.switch.policing import Policing

ALL = Owner(SetBy.OPERATOR, None)
CALL = Facts("", person(1), person(2), y_number(1), x_number(1), Role.A, NOON)


class House:
    """A customer, its policies, and a switch that has read them."""

    def __init__(self, world: World, customer_id: str) -> None:
        self.world, self.id = world, customer_id
        self.policies = Policies(world.database, world.vault, world.clock)
        self.table = PolicyTable(world.database, world.clock)
        self.mine = Owner(SetBy.CUSTOMER, customer_id)

    async def put(self, owner: Owner, *entries: NewEntry) -> list[str]:
        return [entry.id for entry in await self.policies.put_entries(owner, entries)]

    async def rule(self, owner: Owner, spec: Spec, number: str | None = None) -> str:
        return (await self.policies.add_rule(owner, "rule", spec, number)).id

    async def reason(self, **facts: Any) -> Reason | None:
        await self.table.load()
        call = replace(CALL, **{"customer_id": self.id, "at": self.world.clock.now, **facts})
        return decide(self.table.index, call, self.world.vault.index).reason


@pytest.fixture
async def house(world: World) -> House:
    return House(world, (await world.customer()).id)


async def test_what_is_changed_is_read_and_nothing_else(house: House) -> None:
    assert not await house.table.load()
    black = NewEntry(List.BLACK, person(1))
    (entry_id,) = await house.put(house.mine, black)
    assert await house.reason() is Reason.CALLER_BLACKLISTED
    assert await house.reason(customer_id="cus_other") is None
    # the other layer is not lifted by it, and a white one of the same people takes the black one's place
    await house.put(ALL, NewEntry(List.BLACK, person(2)))
    await house.put(house.mine, NewEntry(List.WHITE, person(1)))
    assert await house.reason() is Reason.CALLEE_BLACKLISTED
    (entry,) = await house.policies.entries(house.mine, "", 10)
    assert (entry.id, entry.list, entry.person) == (entry_id, List.WHITE, person(1))
    (operators,) = await house.policies.entries(ALL, "", 10)
    with pytest.raises(Refusal):
        await house.policies.remove_entry(house.mine, operators.id)
    await house.policies.remove_entry(ALL, operators.id)
    assert await house.reason() is None
    assert not await house.table.load()


async def test_an_entry_ends_and_its_row_goes(house: House) -> None:
    clock, database = house.world.clock, house.world.database
    pair = NewEntry(List.BLACK, person(2), person(1), expires_at=clock.now + 60 * SECOND)
    await house.put(house.mine, pair)
    assert await house.reason() is Reason.PAIR_BLACKLISTED
    assert await house.reason(caller=person(2), callee=person(1)) is Reason.PAIR_BLACKLISTED
    clock.forward(60)
    assert await house.reason() is None
    clock.forward(61)
    await Sweeping(database, clock).sweep()
    assert house.table.index.entries == 1
    await house.table.load()
    assert house.table.index.entries == 0
    assert await house.policies.entries(house.mine, "", 10) == []
    late = PolicyTable(database)
    await late.load()
    # one who was away while the row was there and went reads everything
    await house.put(house.mine, NewEntry(List.BLACK, prefix="+86138"))
    await late.load()
    (entry,) = await house.policies.entries(house.mine, "", 10)
    await house.policies.remove_entry(house.mine, entry.id)
    clock.forward(4000)
    await Sweeping(database, clock).sweep()
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(policy_entries))).scalar_one() == 0
    await late.load()
    assert late.index.entries == 0


def imported(
    database: Database, vault: Vault, owner: Owner, path: Path, clock: Clock, **how: Any
) -> Imported:
    direct = Direct(database.url)
    try:
        return EntryImport(direct, vault, owner, clock=clock).run(files.rows(path, files.Format.CSV), **how)
    finally:
        direct.close()


async def test_a_file_of_entries(house: House, tmp_path: Path) -> None:
    world = house.world
    path = tmp_path / "list.csv"
    lines = [f"black,{person(n)},,caller" for n in range(2000)]
    path.write_text("list,person,prefix,side\n" + "\n".join([*lines, "black,,+86170,", lines[0]]) + "\n")
    args = (world.database, world.vault, house.mine, path, world.clock)
    report = await asyncio.to_thread(imported, *args)
    assert (report.rows, report.written, report.refused) == (2002, 2001, 0)
    assert await house.reason() is Reason.CALLER_BLACKLISTED
    assert house.table.index.entries == 2001
    # the list in the next file takes its place
    world.clock.forward(1)
    path.write_text(f"list,person\nblack,{person(7)}\nwhite,{person(8)}\n")
    report = await asyncio.to_thread(imported, *args, replace=List.BLACK)
    assert (report.written, report.removed) == (2, 1999)
    assert await house.reason() is None
    assert await house.reason(caller=person(7)) is Reason.CALLER_BLACKLISTED
    path.write_text(f"list,person\nblack,{person(9)}\ngrey,{person(9)}\nblack,12\n")
    report = await asyncio.to_thread(imported, *args)
    assert (report.written, [fault.line for fault in report.faults]) == (0, [3, 4])
    assert await house.reason(caller=person(9)) is None


async def test_hours_follow_the_days_that_the_operator_says(house: House) -> None:
    await house.rule(house.mine, Hours((Times("08:00", "20:00", ("workday",)),)))
    saturday_worked = parse_rfc3339("2026-05-09T12:00:00+08:00")
    assert await house.reason(at=saturday_worked) is None
    assert await house.reason(at=parse_rfc3339("2026-05-01T12:00:00+08:00")) is Reason.OUTSIDE_HOURS
    unpublished = parse_rfc3339("2027-02-08T12:00:00+08:00")
    assert await house.reason(at=unpublished) is None
    await house.policies.set_day(date(2027, 2, 8), DayKind.HOLIDAY, "Spring Festival")
    assert await house.reason(at=unpublished) is Reason.OUTSIDE_HOURS
    await house.policies.set_day(date(2026, 5, 9), DayKind.HOLIDAY, "closed")
    assert await house.reason(at=saturday_worked) is Reason.OUTSIDE_HOURS
    await house.policies.unset_day(date(2027, 2, 8))
    assert await house.reason(at=unpublished) is None


async def test_an_explanation_counts_nothing(house: House) -> None:
    world = house.world
    rule_id = await house.rule(house.mine, Frequency(Per.CALLER, 1, Every.HOUR))
    explaining = Explaining(world.database, world.vault, world.clock)
    call = replace(CALL, customer_id=house.id)
    for _ in range(2):
        found = await explaining.explain(call)
        assert (found.reason, found.limits[0].count, found.limits[0].rule_id) == (None, 0, rule_id)
    await house.table.load()
    verdict = decide(house.table.index, call, world.vault.index)
    counters = Counters(world.database)
    one = replace(claim("call", 1), hits=verdict.hits, seats=())
    assert await counters.claim(one) is None
    found = await explaining.explain(call)
    assert (found.reason, found.limits[0].count) == (Reason.CALLER_TOO_OFTEN, 1)
    await counters.close()


async def test_two_processes_let_exactly_as_many_through(database_url: str, database: Database) -> None:
    command = [sys.executable, "-m", "tests.policies.claimers", database_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [await asyncio.create_subprocess_exec(*command, name, **pipes) for name in "ab"]
    said = await asyncio.gather(*(process.communicate(b"\n") for process in both))
    passed, seated = (sum(values) for values in zip(*(map(int, out.split()) for out, _ in said), strict=True))
    assert passed == OF_THE_CALLER
    assert seated <= AT_A_TIME
    async with database.read() as connection:
        for table, count in ((policy_hits, passed), (policy_seats, seated)):
            found = await connection.execute(select(func.count()).select_from(table))
            assert found.scalar_one() == count


async def test_a_switch_that_died_holds_no_line(database: Database) -> None:
    """A call counts while it is young, then only while the database knows it to be in progress."""
    counters = Counters(database)
    full = claim("first", 1).seats[0]
    one = replace(full, limit=replace(full.limit, most=1))
    first = replace(claim("first", 1), hits=(), seats=[one])
    assert await counters.claim(first) is None
    row = {"edge_id": "edge", "state": "ringing", "dialled": "", "received_at": 0, "facts_sealed": b""}
    async with database.begin() as connection:
        await connection.execute(insert(calls).values(id="first", **row))
    later = replace(first, call_id="second", at=first.at + 3600 * SECOND)
    assert (await counters.claim(later)) is one
    async with database.begin() as connection:
        await connection.execute(delete(calls))
    assert await counters.claim(later) is None
    counters.release("second")
    await asyncio.gather(*counters._tasks)
    assert await counters.claim(replace(later, call_id="third")) is None
    await Sweeping(database, lambda: later.at + 120 * SECOND).sweep()
    async with database.read() as connection:
        assert (await connection.execute(select(policy_seats.c.call_id))).scalars().all() == []
    await counters.close()


@pytest.mark.parametrize("per", [Per.CUSTOMER, Per.TRUNK, Per.CALLER])
async def test_a_call_that_waits_keeps_its_seat(house: House, per: Per) -> None:
    """While its caller waits it is one call at a time, and it does not stand in its own way afterwards."""
    world = house.world
    await house.rule(ALL, Concurrent(per, 1))
    await house.rule(ALL, Concurrent(Per.CALLEE, 0))  # who is called is not known while they wait
    one, other = (
        Call(f"call {n}", "edge", world.clock.now, x_number(1), person(1), customer_id=house.id) for n in "12"
    )
    one.trunk_in = other.trunk_in = "trk_1"
    policing = Policing(world.database, world.vault, 10_000)
    await policing.follow()
    full = {Per.CUSTOMER: "customer", Per.TRUNK: "trunk", Per.CALLER: "caller"}[per]
    assert await policing.seat(one) is None
    assert await policing.seat(other) is Reason(f"{full}_calls_full")
    one.callee, one.displayed = person(2), y_number(1)
    assert await policing.judge(one, "trk_2") is Reason.CALLEE_CALLS_FULL
    for rule in await house.policies.rules(ALL, "", 10):
        if rule.spec == Concurrent(Per.CALLEE, 0):
            await house.policies.remove_rule(ALL, rule.id)
    await policing.follow()
    assert await policing.judge(one, "trk_2") is None
    assert await policing.seat(other) is Reason(f"{full}_calls_full")
    policing.release(one.id)
    await asyncio.gather(*policing._counters._tasks)
    assert await policing.seat(other) is None
    await policing.close()


@pytest.mark.parametrize("two_workers", [False, True])
async def test_one_caller_who_tries_many_numbers(house: House, two_workers: bool) -> None:
    world = house.world
    rule_id = await house.rule(house.mine, Fraud(window_s=600, numbers=3, block_s=300))
    watches = [FraudWatch(world.database, world.vault, world.clock) for _ in range(1 + two_workers)]
    async with journal_of(world.database, world.vault) as journal:
        for n in range(1, 4):
            dialled = y_number(n % 3)
            await ended(
                journal,
                house.id,
                caller=person(1),
                dialled=dialled,
                received_at=world.clock.now - 10 * SECOND,
            )
            await ended(journal, house.id, caller=person(4), dialled=y_number(1), received_at=world.clock.now)
            if n < 3:
                assert [await watch.look() for watch in watches] == [0] * len(watches)
    assert sum([await watch.look() for watch in watches]) == 1
    (alarm,) = await house.policies.alarms(house.mine, "", 10)
    assert (alarm.rule_id, alarm.subject) == (rule_id, person(1))
    assert alarm.found["numbers"] == 3
    async with world.database.read() as connection:
        told = await connection.execute(select(events.c.kind).where(events.c.call_id == alarm.id))
        assert told.scalars().all() == ["policy.fraud_suspected"]
    assert await house.reason() is Reason.FRAUD_SUSPECTED
    assert await house.reason(caller=person(4)) is None
    await house.policies.lift_block(house.mine, alarm.id)
    assert await house.reason() is None
    # one who comes anew reads the same calls, and raises no second alarm
    assert await FraudWatch(world.database, world.vault, world.clock).look() == 0


async def test_a_rule_for_one_number_blocks_calls_to_that_number(world: World) -> None:
    house = House(world, (await world.ride()).customer.id)
    suspect = Fraud(window_s=600, least_calls=2, answer_ratio=1.0, block_s=300)
    await house.rule(house.mine, suspect, y_number(1))
    async with journal_of(world.database, world.vault) as journal:
        for _ in range(2):
            call = {"dialled": y_number(1), "received_at": world.clock.now}
            await ended(journal, house.id, caller=person(1), **call)
    assert await FraudWatch(world.database, world.vault, world.clock).look() == 1
    assert await house.reason(dialled=y_number(1)) is Reason.FRAUD_SUSPECTED
    assert await house.reason(dialled=y_number(2)) is None


async def test_ratios_of_short_and_unanswered_calls(house: House) -> None:
    world = house.world
    short = Fraud(window_s=600, per=Per.DISPLAYED, least_calls=4, short_s=4, short_ratio=0.9)
    await house.rule(ALL, short)
    await house.rule(ALL, Fraud(window_s=600, least_calls=4, answer_ratio=0.5))
    watch = FraudWatch(world.database, world.vault, world.clock)
    async with journal_of(world.database, world.vault) as journal:
        for n in range(4):
            assert await watch.look() == 0
            # each talks for three seconds, and each caller calls once
            at = world.clock.now - n
            await ended(journal, house.id, caller=person(n), displayed=x_number(1), received_at=at)
    assert await watch.look() == 1
    (alarm,) = await house.policies.alarms(ALL, "", 10)
    assert (alarm.subject, alarm.blocked_until, alarm.found["short"]) == (x_number(1), None, 4)
    assert await house.reason() is None


async def test_marks_move_by_one(database: Database) -> None:
    async with database.begin() as connection:
        assert await store.begin_change(connection) == 1
        assert await store.begin_change(connection) == 2
