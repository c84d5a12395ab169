"""How a simulated phone reacts: a frozen record, so that a test can share one between phones."""

from dataclasses import dataclass
from typing import Literal

#: status code, reason phrase and, if wanted, the value of a Reason header (RFC 3326)
Rejection = tuple[int, str] | tuple[int, str, str]


@dataclass(frozen=True)
class Behaviour:
    """What a called phone does with a call; the last group holds for its own calls too. Times are in seconds.

    Without any argument: 100 at once, 180 at once, 200 after 0.2 s, then talks until the other hangs up.
    """

    #: 180 (or 183) this long after the INVITE; None = no ringing at all
    ring_after_s: float | None = 0.0
    #: 200 this long after the INVITE, or later if ringing has not come so far
    answer_after_s: float = 0.2
    #: rings and waits for the test to call `answer()` or `reject()`, or for the caller to give up
    never_answer: bool = False
    #: refuses, `reject_after_s` after the INVITE (rings before that if it is more than 0)
    reject_with: Rejection | None = None
    reject_after_s: float = 0.0
    #: answers nothing at all, not even 100: a dead trunk
    never_reply: bool = False
    #: 302 with this Contact URI
    redirect_to: str | None = None
    no_100: bool = False

    #: 183 with SDP in place of 180, and this tone before the answer (450 Hz is China's ring-back)
    early_media: bool = False
    early_media_hz: int = 450
    #: sends 180/183 reliably if the caller supports it (RFC 3262): RSeq, retransmitted until PRACK
    reliable_provisional: bool = False
    #: so many 180 with different To tags before the phone's own, which has yet another tag
    forked_provisionals: int = 0

    #: after the answer: sends UPDATE, or re-INVITE, this long after the ACK
    update_after_s: float | None = None
    reinvite_after_s: float | None = None
    hang_up_after_s: float | None = None

    #: session timer (RFC 4028) that the phone asks for when called, and who shall refresh
    session_expires: int | None = None
    refresher: Literal["uac", "uas"] = "uas"
    #: refuses shorter timers than this with 422
    min_se: int | None = None
    #: False: never refreshes a session although it said that it would
    refreshes: bool = True

    #: the share of SIP packets that reach the phone and are ignored, chosen at random from `seed`
    drop_packets: float = 0.0
    seed: int = 1
    send_rtp: bool = True
    #: RTCP reports, with a CNAME that holds the phone's number
    send_rtcp: bool = True
    #: puts its own number, name and address into every header and SDP line that has room for them
    leaky_headers: bool = False
