"""The one place that makes the body of a webhook."""

import hashlib
from typing import Any, Final, Literal

import msgspec

from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.clock import rfc3339, rfc3339_local, rfc3339_or_none
from xiaohao.digests.model import DigestDocument
from xiaohao.notifications.model import CDR_BATCH, OF_CALLS, SEQUENCE, Kind
from xiaohao.numbers.lifecycle import NumberChanged
from xiaohao.numbers.lifecycle import Reason as NumberReason
from xiaohao.numbers.model import Kind as NumberKind
from xiaohao.numbers.model import NumberState, Verification

_encode = msgspec.json.Encoder().encode


class EventData(msgspec.Struct, frozen=True):
    """What is known of the call at the moment of the event. Moments are RFC 3339, UTC, milliseconds."""

    call_id: str
    state: State
    binding_id: str | None
    #: the binding has ended, and this call came in the time of grace after it
    in_grace: bool
    order_ref: str | None
    user_data: str | None
    caller: str | None
    callee: str | None
    dialled: str
    displayed: str | None
    received_at: str
    ringing_at: str | None
    answered_at: str | None
    ended_at: str | None
    ended_by: Party | None
    reason: Reason | None
    sip_code: int | None
    q850_cause: int | None
    #: of `cdr.created` only: `calls.wire.cdr_document`
    cdr: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: of `cdr.corrected` only: what `calls.corrections` makes
    correction: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    #: of `recording.ready` and `recording.failed` only
    recording: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class EventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` is the place of the kind in a call's life (1 to 7), not a count.

    Corrections of its CDR count from 101.
    """

    id: str
    type: Kind
    timestamp: str
    timestamp_local: str
    sequence: int
    data: EventData


class BatchDocument(msgspec.Struct, frozen=True):
    """The body of a POST with several records. Its `id` is no event's: each of `events` has its own."""

    id: str
    type: Literal["cdr.batch"]
    timestamp: str
    timestamp_local: str
    events: list[EventDocument]


class NumberEventData(msgspec.Struct, frozen=True):
    """What became of a number of the platform. No person stands in it."""

    number: str
    kind: NumberKind
    city: str | None
    pool_id: str | None
    from_state: NumberState | None
    to_state: NumberState
    reason: NumberReason
    suspended_until: str | None
    verification: Verification
    verified_until: str | None


class NumberEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` grows from one event of a number to the next, with gaps."""

    id: str
    type: Literal["number.status_changed"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: NumberEventData


class PoolEventData(msgspec.Struct, frozen=True):
    """How a pool stands, in numbers, and for how long it will do: see `planning.model.Standing`."""

    pool_id: str
    at: str
    total: int
    usable: int
    assigned: int
    used: int
    resting: int
    free: int
    peak: int
    days_left: float | None


class PoolEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` is the day since 1970 on a Chinese calendar: at most one event a day."""

    id: str
    type: Literal["pool.running_out"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: PoolEventData


class SpendingEventData(msgspec.Struct, frozen=True):
    """What a customer may still spend; amounts are exact text."""

    #: low | used_up | restored
    state: Literal["low", "used_up", "restored"]
    left: str
    this_month: str
    prepaid: bool


class SpendingEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` counts these events of the customer."""

    id: str
    type: Literal["spending.changed"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: SpendingEventData


class FraudEventData(msgspec.Struct, frozen=True):
    """Who is suspected of fraud, by which rule, and what was counted. `rule_id` null: the operator's."""

    alarm_id: str
    rule_id: str | None
    #: caller | displayed
    per: str
    #: the number of the caller, or the one that was displayed
    subject: str
    #: calls, numbers, answered, short
    found: dict[str, float]
    blocked_until: str | None


class FraudEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` is 1: an alarm tells once."""

    id: str
    type: Literal["policy.fraud_suspected"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: FraudEventData


class DigestEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` is the digest's revision."""

    id: str
    type: Literal["digest.created"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: DigestDocument


class RoutingEventData(msgspec.Struct, frozen=True):
    """What was wrong with a customer's answer about a call; it quotes no number of the answer's."""

    call_id: str
    caller: str | None
    dialled: str
    received_at: str
    #: not_allowed | not_understood
    verdict: str
    problem: str
    #: whose answer it is: first | second
    url: str | None
    #: who decided the call then: nobody, or the fallback that was taken
    decided_by: str


class RoutingEventDocument(msgspec.Struct, frozen=True):
    """A webhook's body. `sequence` is 0: it comes before what tells of the call."""

    id: str
    type: Literal["routing.answer_refused"]
    timestamp: str
    timestamp_local: str
    sequence: int
    data: RoutingEventData


#: the body of each kind
DOCUMENTS: Final[dict[Kind, type[msgspec.Struct]]] = {
    **dict.fromkeys((*OF_CALLS, Kind.CDR_CORRECTED), EventDocument),
    Kind.DIGEST_CREATED: DigestEventDocument,
    Kind.NUMBER_STATUS_CHANGED: NumberEventDocument,
    Kind.POOL_RUNNING_OUT: PoolEventDocument,
    Kind.SPENDING_CHANGED: SpendingEventDocument,
    Kind.FRAUD_SUSPECTED: FraudEventDocument,
    Kind.ROUTING_ANSWER_REFUSED: RoutingEventDocument,
}
#: everything that is POSTed, by its `type`
POSTED: Final[dict[str, type[msgspec.Struct]]] = {
    **{kind.value: document for kind, document in DOCUMENTS.items()},
    CDR_BATCH: BatchDocument,
}


def event_document(
    kind: Kind,
    event_id: str,
    occurred_at: int,
    call: Call,
    extra: dict[str, dict[str, Any]] | None = None,
    sequence: int | None = None,
) -> bytes:
    """The JSON of an event, ready to be POSTed.

    `occurred_at` is in microseconds; `extra` may hold `cdr`, `correction` or `recording`, documents that go
    into `data`; `sequence` is given where the kind alone does not say it.
    """
    extra = extra or {}
    data = EventData(
        call_id=call.id,
        state=call.state,
        binding_id=call.binding_id,
        in_grace=call.in_grace,
        order_ref=call.order_ref,
        user_data=call.user_data,
        caller=call.caller,
        callee=call.callee,
        dialled=call.dialled,
        displayed=call.displayed,
        received_at=rfc3339(call.received_at),
        ringing_at=rfc3339_or_none(call.ringing_at),
        answered_at=rfc3339_or_none(call.answered_at),
        ended_at=rfc3339_or_none(call.ended_at),
        ended_by=call.ended_by,
        reason=call.reason,
        sip_code=call.sip_code,
        q850_cause=call.q850_cause,
        cdr=extra.get("cdr", msgspec.UNSET),
        correction=extra.get("correction", msgspec.UNSET),
        recording=extra.get("recording", msgspec.UNSET),
    )
    return _encode(
        EventDocument(
            id=event_id,
            type=kind,
            timestamp=rfc3339(occurred_at),
            timestamp_local=rfc3339_local(occurred_at),
            sequence=SEQUENCE[kind] if sequence is None else sequence,
            data=data,
        )
    )


def pool_event_document(event_id: str, occurred_at: int, day: int, data: PoolEventData) -> bytes:
    """The JSON of an event of a pool; `occurred_at` in microseconds."""
    moments = rfc3339(occurred_at), rfc3339_local(occurred_at)
    return _encode(PoolEventDocument(event_id, "pool.running_out", *moments, day, data))


def spending_event_document(event_id: str, occurred_at: int, notice: int, data: SpendingEventData) -> bytes:
    """The JSON of `spending.changed`; `occurred_at` in microseconds."""
    moments = rfc3339(occurred_at), rfc3339_local(occurred_at)
    return _encode(SpendingEventDocument(event_id, "spending.changed", *moments, notice, data))


def fraud_event_document(event_id: str, occurred_at: int, data: FraudEventData) -> bytes:
    """The JSON of `policy.fraud_suspected`; `occurred_at` in microseconds."""
    moments = rfc3339(occurred_at), rfc3339_local(occurred_at)
    return _encode(FraudEventDocument(event_id, "policy.fraud_suspected", *moments, 1, data))


def routing_event_document(event_id: str, occurred_at: int, call: Call) -> bytes:
    """The JSON of `routing.answer_refused` for a call that is decided; `occurred_at` in microseconds."""
    routed = call.routing
    if routed is None:
        raise ValueError("nobody was asked about this call")
    data = RoutingEventData(
        call.id,
        call.caller,
        call.dialled,
        rfc3339(call.received_at),
        routed.verdict,
        routed.problem or "",
        routed.url,
        "nobody" if routed.verdict == "not_allowed" else routed.decided_by,
    )
    moments = rfc3339(occurred_at), rfc3339_local(occurred_at)
    return _encode(RoutingEventDocument(event_id, "routing.answer_refused", *moments, 0, data))


def digest_event_document(event_id: str, occurred_at: int, digest: DigestDocument) -> bytes:
    """The JSON of `digest.created`, ready to be POSTed."""
    return _encode(
        DigestEventDocument(
            id=event_id,
            type="digest.created",
            timestamp=rfc3339(occurred_at),
            timestamp_local=rfc3339_local(occurred_at),
            sequence=digest.revision,
            data=digest,
        )
    )


def batch_document(event_ids: list[str], events: list[str], now: int) -> tuple[str, str]:
    """Several events' JSON in one body, in this order: the batch's id and its JSON.

    The id follows from the events': the same ones, sent again together, have the same id. What is sent again
    in other company has not, so that a receiver must look at the ids of the events.
    """
    name = "bat_" + hashlib.sha256("\n".join(event_ids).encode()).hexdigest()[:32]
    head = _encode(
        {
            "id": name,
            "type": CDR_BATCH,
            "timestamp": rfc3339(now),
            "timestamp_local": rfc3339_local(now),
        }
    ).decode()
    return name, f'{head[:-1]},"events":[{",".join(events)}]}}'


def number_event_document(event_id: str, change: NumberChanged) -> bytes:
    """The JSON of `number.status_changed`, ready to be POSTed."""
    data = NumberEventData(
        number=change.number,
        kind=change.kind,
        city=change.city,
        pool_id=change.pool_id,
        from_state=change.from_state,
        to_state=change.to_state,
        reason=change.reason,
        suspended_until=rfc3339_or_none(change.suspended_until),
        verification=change.verification,
        verified_until=rfc3339_or_none(change.verified_until),
    )
    return _encode(
        NumberEventDocument(
            id=event_id,
            type="number.status_changed",
            timestamp=rfc3339(change.at),
            timestamp_local=rfc3339_local(change.at),
            sequence=change.seq,
            data=data,
        )
    )
