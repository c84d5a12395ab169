"""The terms of prompts: in which situation something is said, and what is said then.

A situation in which a call is refused has the word of its `Reason`, so that each refusal has its prompt.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from xiaohao.calls.model import Reason

#: of every prompt as it is played: 16 bit linear PCM, one channel, in a WAV file
SAMPLE_RATE: Final = 8000
#: milliseconds of the longest and the shortest prompt
LONGEST_MS: Final = 120_000
SHORTEST_MS: Final = 100


class Language(StrEnum):
    """In which a text is said."""

    MANDARIN = "zh"
    ENGLISH = "en"


#: the order in which the default set says a text
LANGUAGES: Final = (Language.MANDARIN, Language.ENGLISH)

#: of these reasons nobody is told: the call was answered, or the caller has gone
_NOT_ANNOUNCED: Final = frozenset(
    {
        Reason.CALLER_HUNG_UP,
        Reason.CALLEE_HUNG_UP,
        Reason.PLATFORM_HUNG_UP,
        Reason.PLATFORM_STOPPED,
        Reason.MAX_DURATION,
        Reason.DEAD_MEDIA,
        Reason.CALLER_CANCELLED,
        Reason.MEDIA_LOST,
        Reason.MEDIA_UNAVAILABLE,
        Reason.EDGE_LOST,
        Reason.SWITCH_UNAVAILABLE,
        Reason.QUEUE_UNAVAILABLE,
    }
)


class Situation(StrEnum):
    """What is said beside refusals, each of which has the word of its `Reason`."""

    #: to the caller, before the callee is called
    BEFORE_CONNECT = "before_connect"
    #: to the callee, when the call is answered
    WHISPER = "whisper"
    #: to both
    RECORDED = "recorded"
    #: to the caller instead of the ring-back
    WAITING = "waiting"
    #: to the caller whom the customer lets wait, once; WAITING follows
    QUEUED = "queued"
    #: to both, a minute before the longest duration is over
    MAX_DURATION_SOON = "max_duration_soon"
    GOODBYE = "goodbye"
    # dialogues
    ASK_EXTENSION = "ask_extension"
    WRONG_EXTENSION = "wrong_extension"
    ASK_LAST_DIGITS = "ask_last_digits"
    WRONG_LAST_DIGITS = "wrong_last_digits"
    ASK_ORDER_CODE = "ask_order_code"
    WRONG_ORDER_CODE = "wrong_order_code"
    PLEASE_WAIT = "please_wait"
    NO_MORE_TRIES = "no_more_tries"


#: the words of all situations
SITUATIONS: Final[frozenset[str]] = frozenset(
    [reason.value for reason in Reason if reason not in _NOT_ANNOUNCED] + [one.value for one in Situation]
)


#: nothing is said in these unless somebody has chosen something
ONLY_IF_CHOSEN: Final[frozenset[str]] = frozenset(
    {
        Situation.BEFORE_CONNECT.value,
        Situation.WHISPER.value,
        Situation.RECORDED.value,
        Situation.WAITING.value,
        Situation.GOODBYE.value,
    }
)
#: what may be chosen beside prompts: what the default set says, and silence
DEFAULT: Final = "default"
NOTHING: Final = "none"


def situation_of(reason: Reason) -> str | None:
    """The situation of a refusal; None where nobody is there to be told, or nobody could."""
    return None if reason in _NOT_ANNOUNCED else reason.value


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is played.

    `path` is a WAV file (8 kHz, one channel, 16 bit) on this machine that is never overwritten. `languages`
    in the order in which they are spoken; empty where nobody said which. `id` is `prm_…`, or the word of the
    situation for one of the default set.
    """

    id: str
    name: str
    path: Path
    duration_ms: int
    languages: tuple[Language, ...]
