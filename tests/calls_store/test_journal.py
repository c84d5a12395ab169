"""The journal: every call in exactly one CDR, its events with it, however often it is told."""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls_store.lives import CALLEE, CALLER, NOON, Rows, every_value, life, received
from tests.ids import new_call_id
from xiaohao.calls import store
from xiaohao.calls.journal import CallEnded, CallJournal, CallMoved, Change
from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

ALL_KINDS = ["call.received", "call.ringing", "call.answered", "call.ended", "cdr.created"]


@pytest.fixture
def journal(database: Database, vault: Vault) -> CallJournal:
    return CallJournal(database, vault)


async def test_a_call_in_progress_is_there_until_its_cdr(journal: CallJournal, database: Database) -> None:
    began, ringing, answered, ended = life()
    for change in (began, ringing, answered):
        await journal.write([change])
        assert await journal.live() == [change.call]
    await journal.write([ended])
    assert await journal.live() == []
    found = await Rows.of(database, began.call.id)
    assert (len(found.cdrs), len(found.recordings), found.kinds) == (1, 1, ALL_KINDS)


async def test_the_cdr_holds_the_facts(journal: CallJournal, database: Database, vault: Vault) -> None:
    changes = life()
    await journal.write(changes)
    (row,) = (await Rows.of(database, changes[0].call.id)).cdrs
    assert (row["received_at"], row["ringing_at"]) == (NOON, NOON + 2_000_000)
    assert (row["answered_at"], row["ended_at"]) == (NOON + 5_000_000, NOON + 65_000_000)
    assert (row["ended_by"], row["reason"], row["q850_cause"]) == ("callee", "callee_hung_up", 16)
    assert (row["trunk_in"], row["trunk_out"], row["recorded"]) == ("trk_in", "trk_out", True)
    assert (vault.open(row["caller_sealed"]), vault.open(row["callee_sealed"])) == (CALLER, CALLEE)
    assert (row["caller_key"], row["callee_key"]) == (vault.index(CALLER), vault.index(CALLEE))


async def test_each_event_tells_the_call_as_it_was(
    journal: CallJournal, database: Database, vault: Vault
) -> None:
    changes = life()
    await journal.write(changes)
    found = await Rows.of(database, changes[0].call.id)
    bodies = [msgspec.json.decode(vault.open(row["body_sealed"])) for row in found.events]
    assert [body["sequence"] for body in bodies] == [1, 2, 3, 4, 5]
    assert [body["id"] for body in bodies] == [row["id"] for row in found.events]
    states = [body["data"]["state"] for body in bodies]
    assert states == ["received", "ringing", "answered", "ended", "ended"]
    assert [body["data"]["answered_at"] is None for body in bodies] == [True, True, False, False, False]
    assert bodies[4]["data"]["cdr"]["talk_ms"] == 60_000
    assert {(row["state"], row["tries"]) for row in found.events} == {("due", 0)}


async def test_a_call_that_was_not_recorded_wants_no_recording(
    journal: CallJournal, database: Database
) -> None:
    changes = life(record=False)
    await journal.write(changes)
    assert (await Rows.of(database, changes[0].call.id)).recordings == []


async def test_nobody_is_told_of_a_call_to_nobody(journal: CallJournal, database: Database) -> None:
    changes = life(customer_id=None)
    await journal.write(changes)
    found = await Rows.of(database, changes[0].call.id)
    assert (len(found.cdrs), found.events) == (1, [])


async def test_the_first_end_counts(journal: CallJournal, database: Database) -> None:
    changes = life()
    await journal.write(changes)
    other = msgspec.structs.replace(
        changes[3].call, reason=Reason.EDGE_LOST, ended_by=Party.PLATFORM, ended_at=NOON + 99_000_000
    )
    await journal.write([CallEnded(other, True)])
    found = await Rows.of(database, other.id)
    assert ([row["reason"] for row in found.cdrs], found.kinds) == (["callee_hung_up"], ALL_KINDS)


async def test_a_late_change_does_not_open_a_call_again(journal: CallJournal, database: Database) -> None:
    began, ringing, answered, ended = life()
    await journal.write([began, ended])
    for late in (began, ringing, answered):
        await journal.write([late])
    found = await Rows.of(database, began.call.id)
    assert (found.calls, found.kinds) == ([], ["call.received", "call.ended", "cdr.created"])


async def test_a_late_change_in_the_same_group_does_not_open_a_call_again(
    journal: CallJournal, database: Database
) -> None:
    began, ringing, answered, ended = life()
    await journal.write([began, ended, ringing, answered, ended])
    found = await Rows.of(database, began.call.id)
    assert (found.calls, found.kinds) == ([], ["call.received", "call.ended", "cdr.created"])


async def test_a_late_change_does_not_take_a_call_back(journal: CallJournal) -> None:
    began, ringing, answered, _ = life()
    await journal.write([began, answered])
    await journal.write([ringing])
    assert [call.state for call in await journal.live()] == [State.ANSWERED]


async def test_a_change_without_a_new_state_is_kept_and_not_told(
    journal: CallJournal, database: Database
) -> None:
    began = life()[0]
    moved = msgspec.structs.replace(began.call, trunk_out="trk_second")
    await journal.write([began, CallMoved(moved)])
    assert await journal.live() == [moved]
    assert (await Rows.of(database, moved.id)).kinds == ["call.received"]


async def test_calls_of_a_big_group_do_not_mix(journal: CallJournal, database: Database) -> None:
    lives = [life(received_at=NOON + n) for n in range(45)]
    await journal.write([change for stage in zip(*lives, strict=True) for change in stage])
    for n, changes in enumerate(lives):
        found = await Rows.of(database, changes[0].call.id)
        assert ([row["received_at"] for row in found.cdrs], found.kinds) == ([NOON + n], ALL_KINDS)
        assert (found.calls, len(found.recordings)) == ([], 1)


def normal(found: Rows, vault: Vault, call_id: str) -> list[Any]:
    """Rows without what differs each time: serial numbers, moments of storing, nonces, the id."""

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in row.items() if k not in ("seq", "due_at", "created_at")}
        opened = {
            k: vault.open(v).replace(call_id, "ID") if k.endswith("_sealed") and v is not None else v
            for k, v in kept.items()
        }
        undashed = call_id.replace("-", "")
        return {
            k: v.replace(call_id, "ID").replace(undashed, "ID") if isinstance(v, str) else v
            for k, v in opened.items()
        }

    return [
        [plain(row) for row in table] for table in (found.calls, found.cdrs, found.events, found.recordings)
    ]


def in_batches(changes: list[Change], cuts: list[int]) -> list[list[Change]]:
    edges = sorted({0, len(changes), *(cut % (len(changes) + 1) for cut in cuts)})
    return [changes[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.integers(0, 3), unique=True, min_size=1).map(sorted),
    times=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    again=st.booleans(),
)
async def test_told_any_number_of_times_it_is_as_told_once(
    journal: CallJournal,
    database: Database,
    vault: Vault,
    chosen: list[int],
    times: list[int],
    cuts: list[int],
    again: bool,
) -> None:
    once, often = life(id=new_call_id()), life(id=new_call_id())
    for place in chosen:
        await journal.write([once[place]])
    told = [often[place] for place in chosen for _ in range(times[place])]
    for batch in in_batches(told, cuts):
        await journal.write(batch)
        if again:
            await journal.write(batch)
    expected = normal(await Rows.of(database, once[0].call.id), vault, once[0].call.id)
    assert normal(await Rows.of(database, often[0].call.id), vault, often[0].call.id) == expected


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.glob("xiaohao.db*")]


async def test_no_real_number_is_in_the_database(
    journal: CallJournal, database: Database, tmp_path: Path
) -> None:
    began, ringing, *_ = life()
    await journal.write([began, ringing])
    await journal.write(life())
    markers = [spelling.encode() for number in (CALLER, CALLEE) for spelling in (number, number[3:])]
    values = await every_value(database)
    assert len(values) > 100
    assert not [marker for marker in markers for value in values if marker in value]
    assert not [marker for marker in markers for content in contents(tmp_path) if marker in content]


async def test_commands_are_given_out_once(journal: CallJournal, database: Database) -> None:
    call = received()
    async with database.begin() as connection:
        await store.put_command(connection, call.id, "hang_up", NOON)
        await store.put_command(connection, "other", "hang_up", NOON)
    assert await journal.take_commands() == [(call.id, "hang_up"), ("other", "hang_up")]
    assert await journal.take_commands() == []


async def test_facts_come_back_whole(journal: CallJournal) -> None:
    call: Call = life()[1].call
    await journal.write([CallMoved(call)])
    assert await journal.live() == [call]
