"""Any policies, clock and calls: two switches decide as a slow, obvious model does."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from tests.policies.obvious import Obvious, Place
from xiaohao.bindings.model import Role
from xiaohao.calls.model import Reason
from xiaohao.clock import SECOND, parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import calls as calls_table
from xiaohao.policies.counting import Claim, Counters
from xiaohao.policies.decision import Facts, decide
from xiaohao.policies.index import Block, EntryRow, Index
from xiaohao.policies.model import (
    Concurrent,
    Destinations,
    Direction,
    Every,
    Frequency,
    Hours,
    Kind,
    List,
    OnlyListed,
    Per,
    Rule,
    SetBy,
    Side,
    Spec,
    Times,
    Window,
)
from xiaohao.policies.service import NewEntry, Owner, entry_row
from xiaohao.secrecy import Vault

PEOPLE = (
    "+8613800000001",
    "+8613800000002",
    "+8613700000003",
    "+85223456789",
    "+18005550123",
    "+881612345678",
)
SHOWN = ("+8617000000001", "+8617000000002")
DIALLED = ("+861062000001", "+861062000002")
TRUNKS = (None, "trk_1", "trk_2")
#: around the May Day of 2026 with its make-up working day, in a year whose holidays are published
START = parse_rfc3339("2026-04-30T00:00:00Z")
_serial = itertools.count(1)
KEPT = Vault(bytes(32))

places = st.sampled_from(["all", "operator", "customer", "customer"])
numbers = st.sampled_from([None, *DIALLED])
prefixes = st.sampled_from(["+86", "+86138", "+861380000", "+852", "+1", "+881"])
#: few people, and few moments beside any half an hour, so that things meet often
FEW = PEOPLE[:3]
borders = st.sampled_from([START, START + 86_400 * SECOND, START + 200_000 * SECOND])
moments = borders | st.integers(0, 12 * 48).map(lambda half_hours: START + half_hours * 1800 * SECOND)
entries = st.one_of(
    st.builds(
        NewEntry,
        list=st.sampled_from(List),
        person=st.sampled_from(FEW),
        side=st.sampled_from(Side),
        expires_at=st.none() | borders,
    ),
    st.builds(
        NewEntry,
        list=st.sampled_from(List),
        prefix=prefixes,
        side=st.sampled_from(Side),
        expires_at=st.none(),
    ),
    st.lists(st.sampled_from(FEW), min_size=2, max_size=2, unique=True).flatmap(
        lambda two: st.builds(
            NewEntry, list=st.sampled_from(List), person=st.just(two[0]), other=st.just(two[1])
        )
    ),
)
clock_times = st.sampled_from(["00:00", "06:30", "12:00", "18:00", "24:00"])
days = st.lists(st.sampled_from(["mon", "sat", "sun", "workday", "day_off", "holiday"]), max_size=2)
counted: st.SearchStrategy[Spec] = st.one_of(
    st.builds(
        Frequency,
        st.sampled_from([Per.CALLER, Per.CALLEE, Per.PAIR, Per.DISPLAYED]),
        st.integers(0, 3),
        st.sampled_from(Every),
        st.sampled_from(Window),
    ),
    st.builds(
        Concurrent,
        st.sampled_from([Per.CUSTOMER, Per.DISPLAYED, Per.CALLER, Per.CALLEE]),
        st.integers(0, 3),
    ),
    st.builds(Concurrent, st.just(Per.TRUNK), st.integers(0, 4), st.sampled_from([None, "trk_1"])),
)
specs: st.SearchStrategy[Spec] = st.one_of(
    st.builds(
        Hours,
        st.lists(st.builds(Times, clock_times, clock_times, days.map(tuple)), min_size=1, max_size=2).map(
            tuple
        ),
        st.sampled_from(["Asia/Shanghai", "Europe/Berlin"]),
    ),
    st.builds(Direction, st.sampled_from([(Role.A,), (Role.B,), (Role.A, Role.B)])),
    st.builds(OnlyListed),
    st.builds(
        Destinations,
        st.lists(st.sampled_from(["+852", "+1", "+881"]), max_size=2).map(tuple),
        st.lists(st.sampled_from(["+881", "+8816"]), max_size=1).map(tuple),
    ),
)
blocks = st.tuples(places, st.sampled_from(["caller", "displayed"]), st.sampled_from(PEOPLE + SHOWN), moments)
facts = st.builds(
    Facts,
    st.sampled_from(["cus_1", "cus_1", "cus_2"]),
    st.sampled_from([None, *FEW, *FEW]),
    st.sampled_from(FEW) | st.sampled_from(PEOPLE),
    st.sampled_from(DIALLED),
    st.sampled_from(SHOWN),
    st.sampled_from([None, Role.A, Role.B]),
    moments,
)
steps = st.tuples(
    st.sampled_from([0, 1, 30, 60, 3600, 86_400]),  # seconds since the last one
    st.sampled_from([None, *PEOPLE[:2]]),
    st.sampled_from(PEOPLE[:2]),
    st.sampled_from(DIALLED),
    st.sampled_from(SHOWN),
    st.none(),
    st.tuples(st.sampled_from(TRUNKS), st.sampled_from(TRUNKS)),
    st.sampled_from([False, False, False, True]),  # which of two customers
    st.sampled_from(["end", "lose", None, None]),  # what becomes of the oldest call before
)


#: a minute after the one before it, in and out over one trunk
A_CALL = (60, FEW[0], FEW[1], DIALLED[0], SHOWN[0], None, ("trk_1", "trk_1"), False, None)


@given(
    st.lists(st.tuples(places, entries), max_size=8),
    st.lists(st.tuples(places, numbers, specs), max_size=3),
    st.lists(blocks, max_size=2),
    st.lists(facts, min_size=1, max_size=6),
)
@settings(max_examples=500, deadline=None)
def test_lists_and_rules_say_what_the_model_says(
    lists: list[tuple[str, NewEntry]],
    rules: list[tuple[str, str | None, Spec]],
    blocked: list[tuple[str, str, str, int]],
    asked: list[Facts],
) -> None:
    index, obvious = world(KEPT, "cus_1", lists, rules, blocked)
    for call in asked:
        expected, found = obvious.ask(call), decide(index, call, KEPT.index).reason
        if expected is Reason.LOOP:
            assert found in (Reason.CALLER_BLACKLISTED, Reason.CALLEE_BLACKLISTED)
        else:
            assert found is expected


@given(
    st.lists(st.tuples(places, entries), max_size=1),
    st.lists(st.tuples(places, st.none() | numbers, counted), min_size=1, max_size=4),
    st.just([]),
    st.lists(steps, min_size=2, max_size=14),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example([], [("customer", None, Frequency(Per.CALLER, 1, Every.MINUTE))], [], [A_CALL, A_CALL, A_CALL])
@example([], [("operator", None, Concurrent(Per.TRUNK, 1))], [], [A_CALL])
def test_two_switches_decide_as_the_model_does(
    runner: asyncio.Runner,
    database: Database,
    vault: Vault,
    lists: list[tuple[str, NewEntry]],
    rules: list[tuple[str, str | None, Spec]],
    blocked: list[tuple[str, str, str, int]],
    calls: list[tuple[Any, ...]],
) -> None:
    runner.run(play(database, vault, lists, rules, blocked, calls))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def play(
    database: Database,
    vault: Vault,
    lists: list[tuple[str, NewEntry]],
    rules: list[tuple[str, str | None, Spec]],
    blocked: list[tuple[str, str, str, int]],
    calls: list[tuple[Any, ...]],
) -> None:
    example = next(_serial)
    # keys of their own, so that examples share a database
    theirs = Vault(bytes(28) + example.to_bytes(4))
    customers = (f"cus_{example}_1", f"cus_{example}_2")
    index, obvious = world(theirs, customers[0], lists, rules, blocked)
    switches = [Counters(database), Counters(database)]
    now = START
    for turn, (later, caller, callee, dialled, shown, role, trunks, second, before) in enumerate(calls):
        now += later * SECOND
        if before is not None and obvious.seats:
            oldest = next(iter(obvious.seats))
            await over(database, switches[turn % 2], oldest, lost=before == "lose")
            if before == "end":
                del obvious.seats[oldest]
            else:
                obvious.seats[oldest] = (obvious.seats[oldest][0], False)
        call_id = f"call-{example}-{turn}"
        facts = Facts(customers[second], caller, callee, dialled, shown, role, now, *trunks)
        verdict = decide(index, facts, theirs.index)
        reason = verdict.reason
        if reason is None and (verdict.hits or verdict.seats):
            full = await switches[turn % 2].claim(Claim(call_id, now, verdict.hits, verdict.seats))
            reason = None if full is None else full.reason
        expected = obvious.ask(facts)
        if expected is Reason.LOOP:
            assert reason in (Reason.CALLER_BLACKLISTED, Reason.CALLEE_BLACKLISTED)
        else:
            assert reason is expected, (facts.at, reason, expected)
        if reason is None:
            obvious.seats[call_id] = (facts, True)
            await begun(database, call_id)
    for counters in switches:
        await counters.close()


def world(
    vault: Vault,
    customer_id: str,
    lists: list[tuple[str, NewEntry]],
    rules: list[tuple[str, str | None, Spec]],
    blocked: list[tuple[str, str, str, int]],
) -> tuple[Index, Obvious]:
    index, obvious = Index(), Obvious()
    where: dict[str, Place] = {
        "all": ("operator", ""),
        "operator": ("operator", customer_id),
        "customer": ("customer", customer_id),
    }
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    kept: dict[tuple[object, ...], tuple[Place, NewEntry]] = {}
    for place, entry in lists:
        set_by, about = where[place]
        row = entry_row(entry, Owner(SetBy(set_by), about), vault, 0, None, 1)
        whom = (set_by, about, row["person_key"], row["other_key"], row["prefix"])
        rows[whom], kept[whom] = row, (where[place], entry)
    obvious.entries = list(kept.values())
    index.take_entries(
        EntryRow(*(row.get(name) for name in EntryRow._fields))  # type: ignore[arg-type]
        for row in rows.values()
    )
    obvious.rules = [(where[place], number, spec) for place, number, spec in rules]
    index.take_rules(
        Rule(f"rul_{n}", SetBy(set_by), about, "rule", number, True, spec, 0, 0)
        for n, ((set_by, about), number, spec) in enumerate(obvious.rules)
    )
    obvious.blocks = [(where[place], per, number, until) for place, per, number, until in blocked]
    index.take_blocks(
        Block(*place, per, vault.index(number), until, "alm_1")
        for place, per, number, until in obvious.blocks
    )
    return index, obvious


async def begun(database: Database, call_id: str) -> None:
    """The journal writes the call down."""
    facts = {"edge_id": "edge", "state": "ringing", "dialled": "", "received_at": 0, "facts_sealed": b""}
    async with database.begin() as connection:
        await connection.execute(insert(calls_table).values(id=call_id, **facts))


async def over(database: Database, switch: Counters, call_id: str, lost: bool) -> None:
    """The call's row goes with its CDR; a switch that lives gives its seats back, too."""
    async with database.begin() as connection:
        await connection.execute(delete(calls_table).where(calls_table.c.id == call_id))
    if not lost:
        switch.release(call_id)
        await asyncio.gather(*switch._tasks)


def test_kinds_are_told_apart() -> None:
    assert NewEntry(List.BLACK, prefix="+86170").kind is Kind.PREFIX
    assert NewEntry(List.BLACK, PEOPLE[0]).kind is Kind.PERSON
    assert NewEntry(List.BLACK, PEOPLE[0], PEOPLE[1]).kind is Kind.PAIR
