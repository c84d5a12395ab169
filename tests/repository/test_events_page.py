"""docs/events.md shows every kind of event exactly as the code makes it, and explains every field."""

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from tests.repository.files import blocks, read

from xiaohao.api.app import create_app
from xiaohao.calls.model import Call, Party, Reason, Routed, State
from xiaohao.calls.wire import cdr_of_call
from xiaohao.clock import SECOND, parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.digests.model import Digest, Tally, digest_document
from xiaohao.notifications.http import DeliveryView
from xiaohao.notifications.model import CDR_BATCH, SEQUENCE, Kind, event_id
from xiaohao.notifications.rows import (
    digest_event_row,
    fraud_event_row,
    number_event_row,
    pool_event_row,
    spending_event_row,
)
from xiaohao.notifications.store import correction_event_row, event_row
from xiaohao.notifications.wire import (
    DOCUMENTS,
    BatchDocument,
    EventData,
    FraudEventData,
    PoolEventData,
    SpendingEventData,
    batch_document,
    event_document,
)
from xiaohao.numbers.lifecycle import NumberChanged
from xiaohao.numbers.lifecycle import Reason as NumberReason
from xiaohao.numbers.model import Kind as NumberKind
from xiaohao.numbers.model import NumberState, Verification
from xiaohao.recordings.model import Failure, Recording, RecordingState, Sound, Voice
from xiaohao.recordings.wire import recording_document
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

PAGE = read("docs/events.md")
CALL = "0199f3c2-a1b0-7c3e-9d5e-6f708192a3b4"
AT = parse_rfc3339("2026-11-23T03:03:58.120Z")
VAULT = Vault(bytes(32))


def documents() -> dict[str, Any]:
    """What the code makes of a call, a number, a pool and an hour."""
    later = msgspec.structs.replace
    received = Call(
        id=CALL, edge_id="edge1", received_at=AT, dialled="+861062000003", caller="+8613800000003",
        callee="+8613900000004", displayed="+861062000001", order_ref="order-4711",
        binding_id="bnd_5f0c2b7d9a8e4c61b3d2e1f0a9b8c7d6",
    )  # fmt: skip
    ringing = later(received, state=State.RINGING, ringing_at=AT + 2_190_000)
    answered = later(ringing, state=State.ANSWERED, answered_at=AT + 7_558_000)
    ended = later(
        answered, state=State.ENDED, ended_at=AT + 70 * SECOND, ended_by=Party.CALLEE,
        reason=Reason.CALLEE_HUNG_UP, sip_code=200, q850_cause=16,
    )  # fmt: skip
    assert ended.ended_at and answered.answered_at and ringing.ringing_at
    cdr = {"cdr": cdr_of_call(ended, recorded=True)}
    ready_at = ended.ended_at + 1_300_000
    recording = {"recording": recording_document(a_recording(ready_at), 180)}
    return {
        Kind.RECEIVED: of_call(Kind.RECEIVED, received, AT),
        Kind.RINGING: of_call(Kind.RINGING, ringing, ringing.ringing_at),
        Kind.ANSWERED: of_call(Kind.ANSWERED, answered, answered.answered_at),
        Kind.ENDED: of_call(Kind.ENDED, ended, ended.ended_at),
        Kind.CDR_CREATED: of_call(Kind.CDR_CREATED, ended, ended.ended_at, cdr),
        Kind.RECORDING_READY: of_call(Kind.RECORDING_READY, ended, ready_at, recording),
        Kind.RECORDING_FAILED: of_call(Kind.RECORDING_FAILED, ended, ready_at, a_failure()),
        Kind.CDR_CORRECTED: a_correction(ended),
        Kind.DIGEST_CREATED: a_digest(cdr["cdr"]),
        Kind.NUMBER_STATUS_CHANGED: a_number(),
        Kind.POOL_RUNNING_OUT: a_pool(),
        Kind.SPENDING_CHANGED: a_limit(),
        Kind.FRAUD_SUSPECTED: an_alarm(),
        Kind.ROUTING_ANSWER_REFUSED: an_answer(received),
    }


def of_call(kind: Kind, call: Call, at: int, extra: dict[str, Any] | None = None) -> Any:
    return json.loads(event_document(kind, event_id(call.id, kind), at, call, extra))


def a_correction(wrong: Call) -> Any:
    right = msgspec.structs.replace(wrong, ended_at=AT + 65 * SECOND)
    correction: dict[str, Any] = {
        "id": "cor_7b1d0c9e8f7a4b3c2d1e0f9a8b7c6d5e",
        "call_id": CALL,
        "number": 1,
        "corrects": CALL,
        "note": "the carrier lost our BYE",
        "changes": {"ended_at": {"from": "2026-11-23T03:05:08.120Z", "to": "2026-11-23T03:05:03.120Z"}},
        "created_at": "2026-11-24T01:20:00.000Z",
        "cdr": cdr_of_call(right, recorded=True),
    }
    extra = {"correction": correction}
    return opened(correction_event_row(VAULT, right, 1, parse_rfc3339(correction["created_at"]), extra))


def a_recording(ready_at: int) -> Recording:
    voices = Voice(31_240, -22.4), Voice(25_915, -27.1)
    return Recording(
        call_id=CALL, customer_id="cus_3f9d2c", state=RecordingState.READY, received_at=AT,
        ended_at=AT + 70 * SECOND, pool_id=None, error=None, failure=None, path="x", format="wav",
        size=2_240_044, sha256="4a8c0e7f6d3b2a190817263544536271809f8e7d6c5b4a392817061524334251",
        duration_ms=70_000, rate=16_000, caller=Sound(("G722",), voices[0]),
        callee=Sound(("PCMA",), voices[1]), picture_bytes=1, stored=None, key_sealed=b"x", ready_at=ready_at,
        delete_at=None, held_at=None, cut_off=False,
    )  # fmt: skip


def a_failure() -> dict[str, Any]:
    failed = replace(
        a_recording(0), state=RecordingState.FAILED, failure=Failure.CAPTURE, format=None, size=None,
        sha256=None, duration_ms=None, cut_off=None, rate=None, caller=None, callee=None, ready_at=None,
    )  # fmt: skip
    return {"recording": recording_document(failed, 180)}


def a_digest(cdr: dict[str, Any]) -> Any:
    tally = Tally()
    tally.add(cdr["call_id"], cdr["talk_ms"])
    made_at = AT // (3600 * SECOND) * 3600 * SECOND + 3904 * SECOND + 214_000
    hour = AT // (3600 * SECOND) * 3600 * SECOND
    digest = Digest("cus_3f9d2c", hour, 1, tally.count, tally.billable_s, tally.sha256, made_at)
    return opened(digest_event_row(VAULT, "cus_3f9d2c", digest_document(digest), made_at, made_at))


def a_number() -> Any:
    change = NumberChanged(
        seq=1207, number="+861062000001", kind=NumberKind.LANDLINE, city="10", pool_id="pool_8d1e4b",
        from_state=NumberState.AVAILABLE, to_state=NumberState.SUSPENDED, reason=NumberReason.COMPLAINT,
        suspended_until=AT + 86_400 * SECOND, at=AT, verification=Verification.NONE, verified_until=None,
    )  # fmt: skip
    return opened(number_event_row(VAULT, change, "cus_3f9d2c", AT))


def a_pool() -> Any:
    at = "2026-11-23T03:03:58.120Z"
    data = PoolEventData("pool_8d1e4b", at, 200, 198, 0, 151, 40, 7, 171, 3.5)
    return opened(pool_event_row(VAULT, "cus_3f9d2c", AT // (86_400 * SECOND), data, AT, AT))


def a_limit() -> Any:
    data = SpendingEventData("low", "4.80", "95.20", True)
    return opened(spending_event_row(VAULT, "cus_3f9d2c", 2, data, AT))


def an_alarm() -> Any:
    found = {"calls": 31, "numbers": 30, "answered": 4, "short": 3}
    until = "2026-11-23T04:03:58.120Z"
    data = FraudEventData("alm_7c1d2e", "rul_4f5a6b", "caller", "+8613800000003", found, until)
    return opened(fraud_event_row(VAULT, "cus_3f9d2c", data, AT))


def an_answer(received: Call) -> Any:
    routed = Routed("customer", "connect", "not_allowed", 23, "first", "display: is not one of your numbers")
    call = msgspec.structs.replace(received, customer_id="cus_3f9d2c", routing=routed)
    return opened(event_row(VAULT, Kind.ROUTING_ANSWER_REFUSED, call, AT, AT))


def opened(row: tuple[Any, ...]) -> Any:
    sealed = next(value for value in row if isinstance(value, bytes))
    return json.loads(VAULT.open(sealed))


def shown() -> dict[str, Any]:
    examples = [json.loads(block) for block in blocks(PAGE, "json")]
    return {example["type"]: example for example in examples}


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_shown_as_the_code_makes_it(kind: Kind) -> None:
    assert shown()[kind] == documents()[kind]


def test_nothing_else_is_shown_but_a_batch() -> None:
    assert set(shown()) == {*Kind, CDR_BATCH}
    batch = shown()[CDR_BATCH]
    made = batch_document([one["id"] for one in batch["events"]], ["{}"], AT)
    assert batch == {**json.loads(made[1]), "events": [documents()[Kind.CDR_CREATED]]}
    msgspec.convert(batch, BatchDocument)


def test_the_events_of_a_call_stand_in_their_order() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\d) \|", PAGE, re.MULTILINE)
    assert {kind: int(place) for kind, place in rows} == {kind.value: n for kind, n in SEQUENCE.items()}


def fields(head: str, after: str = "") -> set[str]:
    """The first column of the first table with this head behind the heading `after`."""
    text = PAGE[PAGE.index(f"## {after}") :] if after else PAGE
    table = text[text.index(f"| {head} |") :].split("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))


def test_what_is_on_the_page_is_what_openapi_says_is_posted() -> None:
    app = create_app(Settings(), Database("sqlite:///nowhere.db"), VAULT)
    assert set(app.openapi()["webhooks"]) == set(re.findall(r'"type": "([a-z_]+\.[a-z_]+)"', PAGE))


def test_every_field_of_the_envelope_is_explained() -> None:
    assert fields("field") == {*shown()[Kind.RECEIVED]}


def test_every_field_of_a_call_is_explained() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(EventData)}
    assert fields("field of `data`", "Events of a call") == names
    cdr = documents()[Kind.CDR_CREATED]["data"]["cdr"]
    assert fields("field of `cdr`, beside those above") == {"recording", *cdr} - (names - {"recording"})
    recording = documents()[Kind.RECORDING_READY]["data"]["recording"]
    assert fields("field of `recording`") == {*recording}
    correction = documents()[Kind.CDR_CORRECTED]["data"]["correction"]
    assert fields("field of `correction`") == {*correction}


@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.DIGEST_CREATED, Kind.NUMBER_STATUS_CHANGED, Kind.POOL_RUNNING_OUT, Kind.SPENDING_CHANGED),
        Kind.FRAUD_SUSPECTED,
        Kind.ROUTING_ANSWER_REFUSED,
    ],
)
def test_every_field_of_other_events_is_explained(kind: Kind) -> None:
    data = next(field for field in msgspec.structs.fields(DOCUMENTS[kind]) if field.name == "data")
    names = {field.encode_name for field in msgspec.structs.fields(data.type)}
    assert fields("field of `data`", kind.value) == names


def test_every_field_of_the_delivery_is_explained() -> None:
    assert fields("field of `delivery`") == set(DeliveryView.model_fields) - {"customer_id"}
