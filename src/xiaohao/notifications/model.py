"""The terms of a notification: which kinds there are, and how an event is named."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What an event tells; the value is the `type` of the webhook."""

    RECEIVED = "call.received"
    RINGING = "call.ringing"
    ANSWERED = "call.answered"
    ENDED = "call.ended"
    CDR_CREATED = "cdr.created"
    RECORDING_READY = "recording.ready"


#: The place of each kind in a call's life: a receiver who got 3 but not 2 knows that there was no ringing.
SEQUENCE: dict[Kind, int] = {kind: place for place, kind in enumerate(Kind, start=1)}


class EventState(StrEnum):
    """What has become of an event's delivery."""

    DUE = "due"
    DELIVERED = "delivered"
    #: every try of 24 hours failed
    DEAD = "dead"
    #: the customer had no webhook URL when the event was to be delivered
    UNWANTED = "unwanted"


def event_id(call_id: str, kind: Kind) -> str:
    """The id of a call's event of this kind: `evt_`, call id without dashes, sequence in two digits."""
    return f"evt_{call_id.replace('-', '')}{SEQUENCE[kind]:02d}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is due. `before` counts the earlier ones of its call that are still due."""

    seq: int
    id: str
    customer_id: str
    call_id: str
    sequence: int
    body_sealed: bytes = field(repr=False)
    tries: int
    created_at: int
    before: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. `error` None: delivered at `at`. Else `retry_at` None: given up."""

    event: Event
    at: int
    error: str | None = None
    retry_at: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, and since when the oldest of it has been due (microseconds; None: nothing waits)."""

    due: int
    oldest_due_at: int | None
