"""The one JSON form of a CDR and of a live call, for webhooks and for the API."""

from collections.abc import Mapping
from typing import Any

import msgspec

from xiaohao.calls.model import Call, Party, Reason, Routed, State, Try
from xiaohao.clock import rfc3339, rfc3339_local
from xiaohao.secrecy import Vault

_tries_of = msgspec.json.Decoder(list[Try]).decode
_routed_of = msgspec.json.Decoder(Routed).decode


def cdr_document(row: Mapping[str, Any], vault: Vault, for_operator: bool = False) -> dict[str, Any]:
    """The CDR of a row of the table `cdrs`. Raises secrecy.SecrecyError where the master key differs."""
    call = call_of(row, vault)
    return cdr_of_call(call, bool(row["recorded"]), for_operator)


def cdr_of_call(call: Call, recorded: bool, for_operator: bool = False) -> dict[str, Any]:
    """The CDR of a call that has ended.

    Moments are given twice, in UTC and on a Chinese clock, with milliseconds; a moment that never came is
    null. Durations are the differences of the milliseconds shown. Only the operator sees the trunks.
    """
    if call.ended_at is None or call.reason is None or call.ended_by is None:
        raise ValueError("a call has a CDR when it has ended")
    document: dict[str, Any] = {
        "call_id": call.id,
        "binding_id": call.binding_id,
        "in_grace": call.in_grace,
        "order_ref": call.order_ref,
        "user_data": call.user_data,
        "caller": call.caller,
        "callee": call.callee,
        "dialled": call.dialled,
        "displayed": call.displayed,
        **_twice("received_at", call.received_at),
        **_twice("ringing_at", call.ringing_at),
        **_twice("answered_at", call.answered_at),
        **_twice("ended_at", call.ended_at),
        "ring_ms": _ring_ms(call.ringing_at, call.answered_at, call.ended_at),
        "talk_ms": ms_between(call.answered_at, call.ended_at) or 0,
        "ended_by": call.ended_by.value,
        "reason": call.reason.value,
        "sip_code": call.sip_code,
        "q850_cause": call.q850_cause,
        "recording": recording_path(call.id) if recorded else None,
        "routing": routing_document(call.routing),
    }
    if for_operator:
        document["customer_id"] = call.customer_id
        document["trunk_in"] = call.trunk_in
        document["trunk_out"] = call.trunk_out
        document["tries"] = [
            {"trunk_id": attempt.trunk_id, "at": rfc3339(attempt.at), "sip_code": attempt.sip_code}
            for attempt in call.tries
        ]
    return document


def live_document(call: Call, for_operator: bool = False) -> dict[str, Any]:
    """A call in progress."""
    document: dict[str, Any] = {
        "call_id": call.id,
        "state": call.state.value,
        "binding_id": call.binding_id,
        "in_grace": call.in_grace,
        "order_ref": call.order_ref,
        "user_data": call.user_data,
        "caller": call.caller,
        "callee": call.callee,
        "dialled": call.dialled,
        "displayed": call.displayed,
        **_twice("received_at", call.received_at),
        **_twice("ringing_at", call.ringing_at),
        **_twice("answered_at", call.answered_at),
    }
    if for_operator:
        document["customer_id"] = call.customer_id
        document["trunk_in"] = call.trunk_in
        document["trunk_out"] = call.trunk_out
    return document


def routing_document(routed: Routed | None) -> dict[str, Any] | None:
    """How the call was decided, where its customer was to be asked."""
    if routed is None:
        return None
    return {name: getattr(routed, name) for name in Routed.__struct_fields__}


def recording_path(call_id: str) -> str:
    """Where the API gives out the recording of a call."""
    return f"/v1/recordings/{call_id}"


def call_of(row: Mapping[str, Any], vault: Vault) -> Call:
    """The call that a row of the table `cdrs` tells of, numbers in the clear. Raises secrecy.SecrecyError."""
    caller, callee = row["caller_sealed"], row["callee_sealed"]
    return Call(
        id=row["call_id"],
        edge_id="",
        received_at=row["received_at"],
        dialled=row["dialled"],
        caller=None if caller is None else vault.open(caller),
        callee=None if callee is None else vault.open(callee),
        displayed=row["displayed"],
        customer_id=row["customer_id"],
        binding_id=row["binding_id"],
        in_grace=bool(row["in_grace"]),
        order_ref=row["order_ref"],
        user_data=row["user_data"],
        trunk_in=row["trunk_in"],
        trunk_out=row["trunk_out"],
        record=bool(row["recorded"]),
        state=State.ENDED,
        ringing_at=row["ringing_at"],
        answered_at=row["answered_at"],
        ended_at=row["ended_at"],
        ended_by=Party(row["ended_by"]),
        reason=Reason(row["reason"]),
        sip_code=row["sip_code"],
        q850_cause=row["q850_cause"],
        tries=_tries_of(row["tries"]),
        acd_ms=row["acd_ms"],
        routing=None if row["routing"] is None else _routed_of(row["routing"]),
    )


def _twice(name: str, us: int | None) -> dict[str, str | None]:
    if us is None:
        return {name: None, f"{name}_local": None}
    return {name: rfc3339(us), f"{name}_local": rfc3339_local(us)}


def _ring_ms(ringing_at: int | None, answered_at: int | None, ended_at: int) -> int | None:
    return ms_between(ringing_at, ended_at if answered_at is None else answered_at)


def ms_between(start: int | None, end: int | None) -> int | None:
    """The difference of the milliseconds shown of two moments (microseconds); None where one never came."""
    if start is None or end is None:
        return None
    return max(end // 1000 - start // 1000, 0)
