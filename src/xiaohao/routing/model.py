"""The terms of scheme 2: who decides a number's calls, how a customer is asked, and what then."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from xiaohao.bindings.model import PromptMoment

#: ms, of a customer's deadline
DEADLINE_MS: Final = 800
LEAST_DEADLINE_MS: Final = 100
#: what a decision needs beside the customer's answer, in ms: look-ups, and a margin for a busy machine
BESIDE_MS: Final = 500
LONGEST_CALL_S: Final = 86_400
#: how long an answer may be kept at the most
LONGEST_KEPT_S: Final = 30 * 86_400
#: s, of callers who wait: until the customer is asked again, and altogether
RETRY_S: Final = 5
LONGEST_RETRY_S: Final = 60
WAIT_S: Final = 60
LONGEST_WAIT_S: Final = 600
#: so many bytes may an answer's body have
LONGEST_ANSWER: Final = 16_384

#: no control characters; and none that PostgreSQL's text cannot hold
_ONE_LINE: Final = r"^[^\x00-\x1f\x7f]*$"
_NO_NUL: Final = r"^[^\x00]*$"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=_ONE_LINE)]
NumberText = Annotated[str, msgspec.Meta(min_length=3, max_length=40, description="A telephone number")]
Reference = Annotated[str, msgspec.Meta(max_length=200, pattern=_ONE_LINE)]
UserData = Annotated[str, msgspec.Meta(max_length=2000, pattern=_NO_NUL)]


class Decider(StrEnum):
    """Who decides the calls of a number."""

    #: its customer, asked about each call
    ASK = "ask"
    #: the bindings
    BINDINGS = "bindings"


class Fallback(StrEnum):
    """What to do where the customer gives no usable answer."""

    #: what the customer last answered for the same caller and number
    LAST_ANSWER = "last_answer"
    #: the binding that the caller and the number have (scheme 1)
    BINDING = "binding"
    #: one destination for all
    DEFAULT = "default"
    #: tell the caller, and end the call
    ANNOUNCEMENT = "announcement"


class Verdict(StrEnum):
    """What came of asking."""

    ANSWERED = "answered"
    #: nothing within the deadline
    NO_ANSWER = "no_answer"
    #: the host is not known, nobody listens, TLS is wrong, the connection broke
    NO_CONNECTION = "no_connection"
    #: an HTTP status other than 2xx
    BAD_STATUS = "bad_status"
    #: no HTTP, too long, no JSON, or not as the contract has it
    NOT_UNDERSTOOD = "not_understood"
    #: it was understood, and may not be carried out
    NOT_ALLOWED = "not_allowed"
    #: not asked: too many questions failed a short while ago
    BREAKER_OPEN = "breaker_open"
    #: not asked: too many questions of this customer wait for their answers
    TOO_MANY = "too_many"
    #: not asked: there is no URL
    NOT_SET_UP = "not_set_up"


#: verdicts that say that asking again soon would help nobody: they count for the breaker
AT_FAULT: Final = frozenset({Verdict.NO_ANSWER, Verdict.NO_CONNECTION})


class RefusalReason(StrEnum):
    """Why a customer refuses a call, and with it what the caller's network is told."""

    NOT_ALLOWED = "not_allowed"
    REJECTED = "rejected"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    UNKNOWN_NUMBER = "unknown_number"


class Connect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="connect"):
    """Connect the caller to somebody. `display` None: the callee sees the number that was dialled."""

    callee: NumberText
    display: NumberText | None = None
    max_duration_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_CALL_S)] | None = None
    record: bool = True
    prompts: dict[PromptMoment, Text] | None = None
    order_ref: Reference | None = None
    user_data: UserData | None = None


class Announce(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="announce"):
    """Play a prompt to the caller, and end the call."""

    prompt: Text
    order_ref: Reference | None = None
    user_data: UserData | None = None


class Otherwise(StrEnum):
    """What becomes of a caller who has waited long enough, or may not wait because too many do."""

    #: tell them, and end the call
    ANNOUNCEMENT = "announcement"
    #: the binding that the caller and the number have (scheme 1)
    BINDING = "binding"
    #: the one destination for all
    DEFAULT = "default"


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="queue"):
    """Let the caller wait, and ask again. `queue` is a name of the customer's, which the next question has.

    `prompt` is said first, `music` again and again, `otherwise_prompt` with `otherwise` announcement; where
    they are None, what is chosen for the situations `queued`, `waiting` and `queue_timeout` or `queue_full`.
    """

    queue: Text
    retry_after_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_RETRY_S)] = RETRY_S
    max_wait_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_WAIT_S)] = WAIT_S
    prompt: Text | None = None
    music: Text | None = None
    otherwise: Otherwise = Otherwise.ANNOUNCEMENT
    otherwise_prompt: Text | None = None
    order_ref: Reference | None = None
    user_data: UserData | None = None


class Refuse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="refuse"):
    """Do not connect the caller."""

    reason: RefusalReason = RefusalReason.NOT_ALLOWED
    order_ref: Reference | None = None
    user_data: UserData | None = None


Answer = Connect | Announce | Queue | Refuse


class Destination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where calls go by default. `display` None: the number that was dialled is shown."""

    callee: str
    display: str | None = None
    record: bool = True


class Terms(msgspec.Struct, frozen=True):
    """How a customer is asked. Holds secrets and may hold a person's number: it is stored sealed.

    `everything`: all calls to the customer's numbers are asked about, where neither the number nor its pool
    says otherwise. `fallbacks` are tried in their order. `keep_answers_s` 0: no answer is kept.
    """

    secret: str
    url: str | None = None
    second_url: str | None = None
    deadline_ms: int = DEADLINE_MS
    everything: bool = False
    fallbacks: tuple[Fallback, ...] = ()
    default: Destination | None = None
    announcement: str | None = None
    keep_answers_s: int = 0
    #: the secret before, which signs as well until a moment (microseconds)
    old_secret: str | None = None
    old_secret_until: int | None = None

    def secrets(self, now: int) -> tuple[str, ...]:
        """What signs at this moment, the newest first."""
        if self.old_secret is None or self.old_secret_until is None or self.old_secret_until <= now:
            return (self.secret,)
        return (self.secret, self.old_secret)
