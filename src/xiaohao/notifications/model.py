"""The terms of a notification: which kinds there are, and how an event is named."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What an event tells; the value is the `type` of the webhook."""

    RECEIVED = "call.received"
    RINGING = "call.ringing"
    ANSWERED = "call.answered"
    ENDED = "call.ended"
    CDR_CREATED = "cdr.created"
    CDR_CORRECTED = "cdr.corrected"
    RECORDING_READY = "recording.ready"
    RECORDING_FAILED = "recording.failed"
    DIGEST_CREATED = "digest.created"
    NUMBER_STATUS_CHANGED = "number.status_changed"
    POOL_RUNNING_OUT = "pool.running_out"
    SPENDING_CHANGED = "spending.changed"
    FRAUD_SUSPECTED = "policy.fraud_suspected"
    ROUTING_ANSWER_REFUSED = "routing.answer_refused"


#: `type` of a POST that holds several events `cdr.created`
CDR_BATCH: Final = "cdr.batch"
#: events in one such POST at the most
LARGEST_BATCH: Final = 50
#: What tells of a call, in the order of its life.
OF_CALLS: Final = (
    Kind.RECEIVED,
    Kind.RINGING,
    Kind.ANSWERED,
    Kind.ENDED,
    Kind.CDR_CREATED,
    Kind.RECORDING_READY,
    Kind.RECORDING_FAILED,
)

#: The place of each kind in a call's life: a receiver who got 3 but not 2 knows that there was no ringing.
SEQUENCE: dict[Kind, int] = {kind: place for place, kind in enumerate(OF_CALLS, start=1)}
#: What a customer answered about a call comes before the call itself.
SEQUENCE[Kind.ROUTING_ANSWER_REFUSED] = 0


class EventState(StrEnum):
    """What has become of an event's delivery."""

    DUE = "due"
    DELIVERED = "delivered"
    #: every try failed, for as long as is tried
    DEAD = "dead"
    #: the customer had no webhook URL when the event was to be delivered, or does not want this kind
    UNWANTED = "unwanted"


def event_id(call_id: str, kind: Kind) -> str:
    """The id of a call's event of this kind: `evt_`, call id without dashes, sequence in two digits."""
    return f"evt_{call_id.replace('-', '')}{SEQUENCE[kind]:02d}"


#: the n-th correction of a call's CDR comes in this place of its life, and n behind it
FIRST_CORRECTION: Final = 100


def correction_event_id(call_id: str, number: int) -> str:
    """The id of an event of a correction: `evt_`, call id without dashes, `c`, which correction it is."""
    return f"evt_{call_id.replace('-', '')}c{number}"


def number_event_id(number: str, sequence: int) -> str:
    """The id of an event of a platform number: `evt_n`, its digits, `_`, its sequence."""
    return f"evt_n{number.removeprefix('+')}_{sequence}"


def pool_event_id(pool_id: str, day: int) -> str:
    """The id of an event of a pool: `evt_p`, what follows the prefix of its id, `_`, the day since 1970."""
    return f"evt_p{pool_id.removeprefix('pool_')}_{day}"


def spending_event_id(customer_id: str, notice: int) -> str:
    """The id of an event of a customer's limits: `evt_s`, what follows the prefix of its id, `_`, a count."""
    return f"evt_s{customer_id.removeprefix('cus_')}_{notice}"


def fraud_event_id(alarm_id: str) -> str:
    """The id of the event of an alarm: `evt_a`, what follows the prefix of the alarm's id, `_1`."""
    return f"evt_a{alarm_id.removeprefix('alm_')}_1"


def digest_event_id(digest_id: str, revision: int) -> str:
    """The id of an event of a digest: `evt_d`, what follows the prefix of its id, `_`, its revision."""
    return f"evt_d{digest_id.removeprefix('dig_')}_{revision}"


_OF_A_CALL: Final = re.compile(
    r"evt_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})(?:[0-9]{2}|c[0-9]+)"
)
#: behind `evt_`, of what is no call; and what ids of such things begin with
_OF_OTHERS: Final = {"n": "+", "p": "pool_", "s": "cus_", "a": "alm_", "d": "dig_"}


def told_of(name: str) -> str | None:
    """What the event of this id tells of: the `call_id` of its row. None: no event has such an id."""
    if of_call := _OF_A_CALL.fullmatch(name):
        return "-".join(of_call.groups())
    thing, _, _ = name[5:].rpartition("_")
    begins = _OF_OTHERS.get(name[4:5])
    return f"{begins}{thing}" if begins is not None and thing and name.startswith("evt_") else None


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is due. `before` counts the earlier ones of its call that are still due.

    `call_id` is what the event tells of, a call or something else such as a number; `since` is when it was
    stored, or asked for again (`replayed`).
    """

    seq: int
    id: str
    customer_id: str
    call_id: str
    sequence: int
    kind: str
    body_sealed: bytes = field(repr=False)
    tries: int
    since: int
    replayed: bool
    before: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. `error` None: delivered at `at`. Else `retry_at` None: given up.

    `unwanted`: there was none, because the customer does not want this kind.
    """

    event: Event
    at: int
    error: str | None = None
    retry_at: int | None = None
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, and since when the oldest of it has been due (microseconds; None: nothing waits)."""

    due: int
    oldest_due_at: int | None
