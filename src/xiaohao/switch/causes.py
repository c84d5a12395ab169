"""SIP response codes, Q.850 causes and the platform's reasons: which belongs to which.

Sources: RFC 3261 section 21, RFC 3398 section 7 (ISUP mapping), RFC 5079 (433), ITU-T Q.850.
"""

from dataclasses import dataclass
from typing import Final

from xiaohao.calls.model import Party, Reason
from xiaohao.edge.q850 import USUAL_CAUSES
from xiaohao.routing.model import RefusalReason


@dataclass(frozen=True, slots=True)
class Refusal:
    """How the caller's network is told that the platform does not connect."""

    sip_code: int
    phrase: str
    q850_cause: int


REFUSALS: Final[dict[Reason, Refusal]] = {
    Reason.UNKNOWN_NUMBER: Refusal(404, "Not Found", 1),
    Reason.UNKNOWN_CALLER: Refusal(403, "Forbidden", 21),
    Reason.CALLER_WITHHELD: Refusal(433, "Anonymity Disallowed", 21),
    Reason.BINDING_EXPIRED: Refusal(410, "Gone", 22),
    Reason.NUMBER_NOT_IN_SERVICE: Refusal(404, "Not Found", 1),
    Reason.CUSTOMER_SUSPENDED: Refusal(403, "Forbidden", 21),
    Reason.CREDIT_EXHAUSTED: Refusal(403, "Forbidden", 21),
    Reason.DIRECTION_NOT_ALLOWED: Refusal(403, "Forbidden", 21),
    Reason.CALLER_FROM_ABROAD: Refusal(403, "Forbidden", 21),
    Reason.DISPLAY_NOT_ALLOWED: Refusal(403, "Forbidden", 29),
    Reason.NUMBER_NOT_VERIFIED: Refusal(403, "Forbidden", 29),
    Reason.NO_LAST_CALLER: Refusal(404, "Not Found", 1),
    Reason.NO_Y_FREE: Refusal(480, "Temporarily Unavailable", 31),
    Reason.EXTENSION_NEEDED: Refusal(484, "Address Incomplete", 28),
    Reason.EXTENSION_UNKNOWN: Refusal(404, "Not Found", 1),
    Reason.ROUTING_MISSING: Refusal(480, "Temporarily Unavailable", 31),
    Reason.ROUTING_FAILED: Refusal(480, "Temporarily Unavailable", 41),
    Reason.ROUTING_ANSWER_REFUSED: Refusal(403, "Forbidden", 29),
    Reason.CUSTOMER_REFUSED: Refusal(403, "Forbidden", 21),
    Reason.CUSTOMER_ANNOUNCED: Refusal(480, "Temporarily Unavailable", 31),
    # Nobody was rung, and nobody responded (RFC 3398 section 8.2.6.1: 480 and 18); nothing to try another way
    # for, as 34 or 42 would be.
    Reason.QUEUE_TIMEOUT: Refusal(480, "Temporarily Unavailable", 18),
    Reason.QUEUE_FULL: Refusal(486, "Busy Here", 17),
    Reason.QUEUE_UNAVAILABLE: Refusal(480, "Temporarily Unavailable", 41),
    Reason.NO_TRUNK: Refusal(503, "Service Unavailable", 38),
    Reason.CHANNELS_FULL: Refusal(503, "Service Unavailable", 34),
    Reason.LOOP: Refusal(482, "Loop Detected", 25),
    # What is refused for good is rejected, what may be let through later is unavailable: with a 5xx the
    # caller's carrier would try its next route.
    Reason.CALLER_BLACKLISTED: Refusal(403, "Forbidden", 21),
    Reason.CALLEE_BLACKLISTED: Refusal(403, "Forbidden", 21),
    Reason.PAIR_BLACKLISTED: Refusal(403, "Forbidden", 21),
    Reason.NOT_WHITELISTED: Refusal(403, "Forbidden", 21),
    Reason.DIRECTION_BARRED: Refusal(403, "Forbidden", 21),
    Reason.FRAUD_SUSPECTED: Refusal(403, "Forbidden", 21),
    Reason.OUTSIDE_HOURS: Refusal(480, "Temporarily Unavailable", 31),
    Reason.INTERNATIONAL_BARRED: Refusal(403, "Forbidden", 21),
    Reason.PREMIUM_BARRED: Refusal(403, "Forbidden", 21),
    Reason.CALLER_TOO_OFTEN: Refusal(480, "Temporarily Unavailable", 31),
    Reason.CALLEE_TOO_OFTEN: Refusal(480, "Temporarily Unavailable", 31),
    Reason.PAIR_TOO_OFTEN: Refusal(480, "Temporarily Unavailable", 31),
    Reason.NUMBER_TOO_OFTEN: Refusal(480, "Temporarily Unavailable", 31),
    Reason.CUSTOMER_CALLS_FULL: Refusal(480, "Temporarily Unavailable", 31),
    Reason.TRUNK_CALLS_FULL: Refusal(480, "Temporarily Unavailable", 31),
    Reason.NUMBER_CALLS_FULL: Refusal(480, "Temporarily Unavailable", 31),
    Reason.CALLER_CALLS_FULL: Refusal(480, "Temporarily Unavailable", 31),
    Reason.CALLEE_CALLS_FULL: Refusal(480, "Temporarily Unavailable", 31),
    Reason.PLATFORM_ERROR: Refusal(503, "Service Unavailable", 41),
}

#: what the caller's network is told of a call that its customer refuses
AS_THE_CUSTOMER_REFUSES: Final[dict[RefusalReason, Refusal]] = {
    RefusalReason.NOT_ALLOWED: REFUSALS[Reason.CUSTOMER_REFUSED],
    RefusalReason.REJECTED: Refusal(603, "Decline", 21),
    RefusalReason.BUSY: Refusal(486, "Busy Here", 17),
    RefusalReason.UNAVAILABLE: Refusal(480, "Temporarily Unavailable", 20),
    RefusalReason.UNKNOWN_NUMBER: Refusal(404, "Not Found", 1),
}

#: what both phones are told when the platform ends an answered call
PLATFORM_ENDS: Final[dict[Reason, int]] = {
    Reason.PLATFORM_HUNG_UP: 31,
    Reason.PLATFORM_STOPPED: 41,
    Reason.MAX_DURATION: 102,
    Reason.DEAD_MEDIA: 31,
    Reason.MEDIA_LOST: 31,
    Reason.MEDIA_UNAVAILABLE: 65,
}

_BY_CAUSE: Final[dict[int, Reason]] = {
    1: Reason.CALLEE_NUMBER_INVALID,
    17: Reason.CALLEE_BUSY,
    18: Reason.CALLEE_NO_ANSWER,
    19: Reason.CALLEE_NO_ANSWER,
    20: Reason.CALLEE_UNREACHABLE,
    21: Reason.CALLEE_REJECTED,
    22: Reason.CALLEE_NUMBER_INVALID,
    27: Reason.CALLEE_UNREACHABLE,
    28: Reason.CALLEE_NUMBER_INVALID,
}

_BY_CODE: Final[dict[int, Reason]] = {
    403: Reason.CALLEE_REJECTED,
    404: Reason.CALLEE_NUMBER_INVALID,
    410: Reason.CALLEE_NUMBER_INVALID,
    480: Reason.CALLEE_UNREACHABLE,
    484: Reason.CALLEE_NUMBER_INVALID,
    486: Reason.CALLEE_BUSY,
    600: Reason.CALLEE_BUSY,
    603: Reason.CALLEE_REJECTED,
    604: Reason.CALLEE_NUMBER_INVALID,
}


def ended_by(reason: Reason, told: Party) -> Party:
    """Who ended a call, where the edge tells this: the platform gives up where no trunk has carried it."""
    return Party.PLATFORM if reason is Reason.TRUNK_FAILURE and told is Party.CALLEE else told


def not_answered(sip_code: int, q850_cause: int | None) -> tuple[Reason, int]:
    """The reason and the Q.850 cause of a call that the callee's side refused with a final response."""
    trunk_failed = sip_code == 408 or 500 <= sip_code < 600
    reason = Reason.TRUNK_FAILURE if trunk_failed else None
    if reason is None and q850_cause is not None:
        reason = _BY_CAUSE.get(q850_cause)
    if reason is None:
        reason = _BY_CODE.get(sip_code, Reason.CALLEE_UNREACHABLE)
    return reason, q850_cause or USUAL_CAUSES.get(sip_code, 31)
