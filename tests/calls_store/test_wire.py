"""The JSON form of a CDR."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls_store.lives import CALLEE, CALLER, Rows, life, received
from xiaohao.calls.journal import CallJournal
from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.calls.wire import cdr_document, cdr_of_call, live_document
from xiaohao.clock import parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.secrecy import SecrecyError, Vault

OPERATOR_ONLY = {"customer_id", "trunk_in", "trunk_out", "tries"}


async def cdr_row(database: Database, vault: Vault) -> dict[str, Any]:
    changes = life()
    await CallJournal(database, vault).write(changes)
    (row,) = (await Rows.of(database, changes[0].call.id)).cdrs
    return row


async def test_a_cdr_reads_as_documented(database: Database, vault: Vault) -> None:
    row = await cdr_row(database, vault)
    assert cdr_document(row, vault) == {
        "call_id": row["call_id"],
        "binding_id": "bnd_1",
        "in_grace": False,
        "order_ref": "order 17",
        "user_data": "{}",
        "caller": CALLER,
        "callee": CALLEE,
        "dialled": "+861062000001",
        "displayed": "+8613900000001",
        "received_at": "2026-11-24T04:00:00.123Z",
        "received_at_local": "2026-11-24T12:00:00.123+08:00",
        "ringing_at": "2026-11-24T04:00:02.123Z",
        "ringing_at_local": "2026-11-24T12:00:02.123+08:00",
        "answered_at": "2026-11-24T04:00:05.123Z",
        "answered_at_local": "2026-11-24T12:00:05.123+08:00",
        "ended_at": "2026-11-24T04:01:05.123Z",
        "ended_at_local": "2026-11-24T12:01:05.123+08:00",
        "ring_ms": 3_000,
        "talk_ms": 60_000,
        "ended_by": "callee",
        "reason": "callee_hung_up",
        "sip_code": None,
        "q850_cause": 16,
        "recording": f"/v1/recordings/{row['call_id']}",
        "routing": None,
    }


async def test_only_the_operator_sees_trunks(database: Database, vault: Vault) -> None:
    row = await cdr_row(database, vault)
    seen, all_of_it = cdr_document(row, vault), cdr_document(row, vault, for_operator=True)
    assert set(all_of_it) - set(seen) == OPERATOR_ONLY
    assert all_of_it["tries"] == [{"trunk_id": "trk_out", "at": "2026-11-24T04:00:00.123Z", "sip_code": None}]


async def test_another_master_key_opens_nothing(database: Database, vault: Vault) -> None:
    row = await cdr_row(database, vault)
    with pytest.raises(SecrecyError):
        cdr_document(row, Vault(b"another key" * 3))


def test_a_call_in_progress_has_no_cdr() -> None:
    with pytest.raises(ValueError):
        cdr_of_call(received(), recorded=False)


def test_a_live_call_reads_as_it_is() -> None:
    document = live_document(life()[1].call)
    assert (document["state"], document["ringing_at"]) == ("ringing", "2026-11-24T04:00:02.123Z")
    assert (document["answered_at"], OPERATOR_ONLY & set(document)) == (None, set())


def ended(ringing: int | None, answered: int | None, over: int) -> Call:
    call = received(received_at=0)
    return msgspec.structs.replace(
        call,
        state=State.ENDED,
        ringing_at=ringing,
        answered_at=answered,
        ended_at=over,
        ended_by=Party.CALLER,
        reason=Reason.CALLER_CANCELLED,
    )


@given(st.lists(st.integers(0, 10**12), min_size=3, max_size=3).map(sorted))
def test_durations_are_those_of_the_moments_shown(moments: list[int]) -> None:
    ringing, answered, over = moments
    document = cdr_of_call(ended(ringing, answered, over), recorded=False)
    shown = {key: parse_rfc3339(document[key]) for key in ("ringing_at", "answered_at", "ended_at")}
    assert document["ring_ms"] * 1000 == shown["answered_at"] - shown["ringing_at"]
    assert document["talk_ms"] * 1000 == shown["ended_at"] - shown["answered_at"]


def test_what_never_was_is_null_and_was_no_talk() -> None:
    unanswered = cdr_of_call(ended(1_000_000, None, 9_500_000), recorded=False)
    assert (unanswered["ring_ms"], unanswered["talk_ms"], unanswered["answered_at"]) == (8_500, 0, None)
    unrung = cdr_of_call(ended(None, None, 9_500_000), recorded=False)
    assert (unrung["ring_ms"], unrung["talk_ms"], unrung["recording"]) == (None, 0, None)
