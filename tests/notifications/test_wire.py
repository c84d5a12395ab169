"""The body of a webhook."""

import msgspec
import pytest

from tests.calls_store.lives import CALLEE, CALLER, NOON, life
from xiaohao.notifications.model import (
    OF_CALLS,
    SEQUENCE,
    Kind,
    correction_event_id,
    digest_event_id,
    event_id,
    fraud_event_id,
    number_event_id,
    pool_event_id,
    spending_event_id,
    told_of,
)
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


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        *((event_id(CALL_ID, kind), CALL_ID) for kind in (Kind.RECEIVED, Kind.ROUTING_ANSWER_REFUSED)),
        (correction_event_id(CALL_ID, 12), CALL_ID),
        (number_event_id("+861062000001", 7), "+861062000001"),
        (pool_event_id("pool_a1", 20_000), "pool_a1"),
        (spending_event_id("cus_a1", 3), "cus_a1"),
        (fraud_event_id("alm_a1"), "alm_a1"),
        (digest_event_id("dig_a1_498866", 2), "dig_a1_498866"),
        *((name, None) for name in ("", "evt_", "evt_x", "evt_d_1", "evt_z1_1", "xxx_na1_1", "evt_12")),
    ],
)
def test_an_id_says_what_its_event_tells_of(name: str, thing: str | None) -> None:
    """By that an event is found; its id has no index."""
    assert told_of(name) == thing
