"""The body of a webhook."""

import msgspec

from tests.calls_store.lives import CALLEE, CALLER, NOON, life
from xiaohao.notifications.model import OF_CALLS, SEQUENCE, Kind, event_id
from xiaohao.notifications.wire import event_document

CALL_ID = "01980000-0000-7000-8000-000000000001"
DATA_FIELDS = {
    "call_id",
    "state",
    "binding_id",
    "in_grace",
    "order_ref",
    "user_data",
    "caller",
    "callee",
    "dialled",
    "displayed",
    "received_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "ended_by",
    "reason",
    "sip_code",
    "q850_cause",
}


def test_an_event_reads_as_documented() -> None:
    call = life(id=CALL_ID)[2].call
    name = event_id(CALL_ID, Kind.ANSWERED)
    document = msgspec.json.decode(event_document(Kind.ANSWERED, name, NOON + 5_000_000, call))
    assert {key: document[key] for key in document if key != "data"} == {
        "id": "evt_0198000000007000800000000000000103",
        "type": "call.answered",
        "timestamp": "2026-11-24T04:00:05.123Z",
        "timestamp_local": "2026-11-24T12:00:05.123+08:00",
        "sequence": 3,
    }
    data = document["data"]
    assert set(data) == DATA_FIELDS
    assert (data["caller"], data["callee"], data["state"]) == (CALLER, CALLEE, "answered")
    assert (data["ringing_at"], data["ended_at"]) == ("2026-11-24T04:00:02.123Z", None)


def test_what_comes_with_some_events_only_is_absent_in_others() -> None:
    call = life()[3].call
    with_cdr = event_document(Kind.CDR_CREATED, "evt_1", NOON, call, {"cdr": {"talk_ms": 1}})
    with_recording = event_document(Kind.RECORDING_READY, "evt_2", NOON, call, {"recording": {"bytes": 2}})
    assert msgspec.json.decode(with_cdr)["data"]["cdr"] == {"talk_ms": 1}
    assert msgspec.json.decode(with_recording)["data"]["recording"] == {"bytes": 2}
    assert "cdr" not in msgspec.json.decode(with_recording)["data"]


def test_each_kind_has_its_place() -> None:
    assert [SEQUENCE[kind] for kind in OF_CALLS] == [1, 2, 3, 4, 5, 6, 7]
    assert len({event_id(CALL_ID, kind) for kind in OF_CALLS}) == 7
