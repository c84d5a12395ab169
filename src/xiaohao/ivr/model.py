"""The terms of announcement graphs: nodes, and what a dialogue does (actions) and is told (events).

A graph is data: `wire.py` reads it from JSON, `rules.py` checks it, `machine.py` walks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

#: what a keypad has (RFC 4733 section 3.2, events 0 to 15)
KEYS: Final = "0123456789*#ABCD"
#: digits that are kept while nobody asks for any; what is dialled beyond is not kept
TYPED_AHEAD: Final = 64


class Kind(StrEnum):
    """What is looked up by the digits that a caller gave."""

    #: an extension behind the number dialled: who has it
    EXTENSION = "extension"
    #: the last four digits of the number that a binding of the number dialled knows
    LAST_DIGITS = "last_digits"
    #: the order reference of a binding of the number dialled
    ORDER_CODE = "order_code"


class Found(StrEnum):
    """What came of a look-up."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    #: it could not be carried out
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Play:
    """A node that plays a prompt. `barge_in`: a key ends it; else keys are kept for the next question."""

    prompt: str
    next: str
    barge_in: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """A node that asks for digits, at most `tries` times in one call.

    `prompt` None: silently. It goes on to `digits` with `least` to `most` of them, after a terminator, when
    there are enough or nothing more comes; to `nothing` where too few came, and to `exhausted` instead of a
    further try. Times in milliseconds: until the first digit, after the prompt, and between digits.
    """

    prompt: str | None
    digits: str
    nothing: str
    exhausted: str
    least: int = 1
    most: int = 1
    terminators: str = "#"
    first_ms: int = 5000
    between_ms: int = 3000
    barge_in: bool = True
    tries: int = 3


@dataclass(frozen=True, slots=True)
class Branch:
    """A node that goes on by the digits collected last."""

    cases: Mapping[str, str]
    otherwise: str


@dataclass(frozen=True, slots=True)
class Look:
    """A node that looks something up by the digits collected last."""

    kind: Kind
    found: str
    not_found: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Connect:
    """A last node: connect with whom the last look-up found (`to` None), or with a number."""

    to: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HangUp:
    """A last node: refuse the call for a reason (a word of `calls.model.Reason`)."""

    reason: str


Node = Play | Collect | Branch | Look | Connect | HangUp


@dataclass(frozen=True, slots=True)
class Graph:
    """A dialogue with a caller."""

    start: str
    nodes: Mapping[str, Node]


# What the dialogue is told. `step` is that of the action that it answers: what comes too late is not heeded.
# None: the action of the moment.


@dataclass(frozen=True, slots=True)
class Started:
    """The caller listens. `digits`, dialled along with the number (`X,123`), answer the first question."""

    digits: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Played:
    """A prompt has come to its end, or could not be played."""

    step: int | None = None


@dataclass(frozen=True, slots=True)
class Digit:
    """A key was pressed (one of KEYS)."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Timeout:
    """The time of a WaitForDigits is over, and no key was pressed in it."""

    step: int | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A look-up has come to its end."""

    result: Found
    step: int | None = None


Event = Started | Played | Digit | Timeout | Looked


# What the dialogue does. Only the last action that has a `step` is under way; each new one takes its place.


@dataclass(frozen=True, slots=True)
class PlayPrompt:
    """Play a prompt (a situation or a name) and say Played at its end."""

    prompt: str
    step: int


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """Be silent: a key has ended the prompt. No Played is needed."""


@dataclass(frozen=True, slots=True)
class WaitForDigits:
    """Say Timeout when no key is pressed for `timeout_ms`; every key comes as a Digit anyhow.

    `most` further digits are wanted, and `terminators` end them: for whoever collects by itself.
    """

    most: int
    timeout_ms: int
    terminators: str
    step: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find whom `digits` mean, and say Looked."""

    kind: Kind
    digits: str = field(repr=False)
    step: int


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """The end: connect the call with whom the last look-up found (`to` None), or with this number."""

    to: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The end: refuse the call for a reason (a word of `calls.model.Reason`)."""

    reason: str


Action = PlayPrompt | StopPlaying | WaitForDigits | LookUp | ConnectTo | Refuse
