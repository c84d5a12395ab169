"""The terms of a call: states, reasons, the facts kept while it lives, and its CDR.

Times are microseconds since 1970-01-01T00:00:00Z as the edge saw them.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

#: commands for the switch: end a call; end every call of a binding, whose id stands in the call's place
HANG_UP: Final = "hang_up"
HANG_UP_BINDING: Final = "hang_up_binding"


class State(StrEnum):
    """How far a call has come."""

    RECEIVED = "received"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class Party(StrEnum):
    """Who ended a call."""

    CALLER = "caller"
    CALLEE = "callee"
    PLATFORM = "platform"


class Reason(StrEnum):
    """Why a call ended, in our own words; `docs/reason-codes.md` explains each in two languages."""

    # answered
    CALLER_HUNG_UP = "caller_hung_up"
    CALLEE_HUNG_UP = "callee_hung_up"
    PLATFORM_HUNG_UP = "platform_hung_up"
    PLATFORM_STOPPED = "platform_stopped"
    MAX_DURATION = "max_duration"
    DEAD_MEDIA = "dead_media"
    # not answered
    CALLER_CANCELLED = "caller_cancelled"
    CALLEE_BUSY = "callee_busy"
    CALLEE_REJECTED = "callee_rejected"
    CALLEE_NO_ANSWER = "callee_no_answer"
    CALLEE_UNREACHABLE = "callee_unreachable"
    CALLEE_NUMBER_INVALID = "callee_number_invalid"
    TRUNK_FAILURE = "trunk_failure"
    # refused by the platform
    UNKNOWN_NUMBER = "unknown_number"
    UNKNOWN_CALLER = "unknown_caller"
    CALLER_WITHHELD = "caller_withheld"
    BINDING_EXPIRED = "binding_expired"
    NUMBER_NOT_IN_SERVICE = "number_not_in_service"
    CUSTOMER_SUSPENDED = "customer_suspended"
    CREDIT_EXHAUSTED = "credit_exhausted"
    DIRECTION_NOT_ALLOWED = "direction_not_allowed"
    CALLER_FROM_ABROAD = "caller_from_abroad"
    DISPLAY_NOT_ALLOWED = "display_not_allowed"
    NUMBER_NOT_VERIFIED = "number_not_verified"
    NO_LAST_CALLER = "no_last_caller"
    NO_Y_FREE = "no_y_free"
    EXTENSION_NEEDED = "extension_needed"
    EXTENSION_UNKNOWN = "extension_unknown"
    ROUTING_MISSING = "routing_missing"
    ROUTING_FAILED = "routing_failed"
    ROUTING_ANSWER_REFUSED = "routing_answer_refused"
    CUSTOMER_REFUSED = "customer_refused"
    CUSTOMER_ANNOUNCED = "customer_announced"
    QUEUE_TIMEOUT = "queue_timeout"
    QUEUE_FULL = "queue_full"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    NO_TRUNK = "no_trunk"
    CHANNELS_FULL = "channels_full"
    OVERLOAD = "overload"
    LOOP = "loop"
    # refused by a policy
    CALLER_BLACKLISTED = "caller_blacklisted"
    CALLEE_BLACKLISTED = "callee_blacklisted"
    PAIR_BLACKLISTED = "pair_blacklisted"
    NOT_WHITELISTED = "not_whitelisted"
    DIRECTION_BARRED = "direction_barred"
    FRAUD_SUSPECTED = "fraud_suspected"
    OUTSIDE_HOURS = "outside_hours"
    INTERNATIONAL_BARRED = "international_barred"
    PREMIUM_BARRED = "premium_barred"
    CALLER_TOO_OFTEN = "caller_too_often"
    CALLEE_TOO_OFTEN = "callee_too_often"
    PAIR_TOO_OFTEN = "pair_too_often"
    NUMBER_TOO_OFTEN = "number_too_often"
    CUSTOMER_CALLS_FULL = "customer_calls_full"
    TRUNK_CALLS_FULL = "trunk_calls_full"
    NUMBER_CALLS_FULL = "number_calls_full"
    CALLER_CALLS_FULL = "caller_calls_full"
    CALLEE_CALLS_FULL = "callee_calls_full"
    # trouble in the platform
    SWITCH_UNAVAILABLE = "switch_unavailable"
    MEDIA_UNAVAILABLE = "media_unavailable"
    MEDIA_LOST = "media_lost"
    EDGE_LOST = "edge_lost"
    PLATFORM_ERROR = "platform_error"


class Try(msgspec.Struct, frozen=True):
    """One attempt to reach the callee over one trunk."""

    trunk_id: str
    at: int
    #: final SIP response of this try; None while it is the one that went on
    sip_code: int | None = None


class Routed(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a call was decided whose customer was to be asked."""

    #: who decided: `customer`, or one of `routing.model.Fallback`, or `nobody`
    decided_by: str
    #: what was decided: connect | announce | queue | refuse
    action: str
    #: what came of asking: `routing.model.Verdict`
    verdict: str
    #: how long the call waited for it
    took_ms: int
    #: which URL's answer it is, or which was asked last: first | second
    url: str | None = None
    #: what is wrong with the answer, or why there was none; it quotes no number
    problem: str | None = None
    #: which question about the call it was: from 2 on the caller waited
    attempt: int = 1
    waited_ms: int = 0

    @property
    def is_told(self) -> bool:
        """Whether the customer hears that its answer could not be acted on."""
        return self.verdict in ("not_allowed", "not_understood")

    def refused_by(self, rule: str) -> "Routed":
        """The same where a rule keeps the customer's answer from being carried out; a fallback is none."""
        if self.decided_by != "customer":
            return self
        return msgspec.structs.replace(self, verdict="not_allowed", problem=f"policy: {rule}")


class Announcement(msgspec.Struct, frozen=True):
    """Something that the platform played to one side of a call, for so long as it was heard."""

    at: int
    #: the prompt's id
    prompt: str
    to: Party
    duration_ms: int
    #: its WAV file, on the machine of the edge
    path: str


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened to a call inside the platform: a step of its decision, or a word of ours."""

    what: str
    at: int
    #: how long it took
    us: int = 0
    #: what was found and why it was decided so; never a real number
    why: dict[str, Any] = {}


class Call(msgspec.Struct):
    """What the platform knows of one call. Holds real numbers: seal it before it is stored."""

    id: str
    edge_id: str
    received_at: int
    #: canonical form of the number dialled: a platform number, or what was dialled if it is nobody's
    dialled: str
    #: canonical real number of the caller; None where the CLI is withheld or unusable
    caller: str | None = None
    callee: str | None = None
    #: the platform number that the callee sees
    displayed: str | None = None
    customer_id: str | None = None
    binding_id: str | None = None
    #: of the number dialled
    pool_id: str | None = None
    #: JSON: moment → name of the prompt that is played then instead of what is chosen for all calls
    prompts: str | None = None
    #: of the binding: how its people reach one another, and which of them called
    mode: str | None = None
    role: str | None = None
    #: the binding has ended, and its time of grace has not
    in_grace: bool = False
    order_ref: str | None = None
    user_data: str | None = None
    trunk_in: str | None = None
    trunk_out: str | None = None
    record: bool = False
    #: it was to be recorded and is not, because the disk was full
    unrecorded: bool = False
    max_duration_s: int | None = None
    state: State = State.RECEIVED
    ringing_at: int | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    ended_by: Party | None = None
    reason: Reason | None = None
    sip_code: int | None = None
    q850_cause: int | None = None
    tries: list[Try] = msgspec.field(default_factory=list)
    #: how long the ACD had the call, waiting and talking; 0: not at all
    acd_ms: int = 0
    #: None: its customer was not to be asked
    routing: Routed | None = None
    announcements: list[Announcement] = msgspec.field(default_factory=list)
    #: of the machine when the call began: see `switch.steady`
    clock: str | None = None
    #: what was decided and done about it, in order
    path: list[Mark] = msgspec.field(default_factory=list)
