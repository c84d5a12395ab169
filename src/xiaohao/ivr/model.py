"""The terms of announcement graphs: nodes, and what a dialogue does (actions) and is told (events).

A graph is data: `wire.py` reads it from JSON, `rules.py` checks it, `machine.py` walks it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

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


#: a node, as others name it
NodeName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
#: a prompt: a situation's word, or a name
PromptName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Milliseconds = Annotated[int, Meta(ge=500, le=30_000)]


class Play(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="play"):
    """A node that plays a prompt. `barge_in`: a key ends it; else keys are kept for the next question."""

    prompt: PromptName
    next: NodeName
    barge_in: bool = False


class Collect(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="collect"):
    """A node that asks for digits, at most `tries` times in one call.

    `prompt` null: silently. It goes on to `digits` with `least` to `most` of them, after a terminator, when
    there are enough or nothing more comes; to `nothing` where too few came, and to `exhausted` instead of a
    further try. Times in milliseconds: until the first digit, after the prompt, and between digits.
    """

    digits: NodeName
    nothing: NodeName
    exhausted: NodeName
    prompt: PromptName | None = None
    least: Annotated[int, Meta(ge=1, le=32)] = 1
    most: Annotated[int, Meta(ge=1, le=32)] = 1
    terminators: Annotated[str, Meta(pattern=r"^[0-9*#A-D]{0,16}$")] = "#"
    first_ms: Milliseconds = 5000
    between_ms: Milliseconds = 3000
    barge_in: bool = True
    tries: Annotated[int, Meta(ge=1, le=10)] = 3


class Branch(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="branch"):
    """A node that goes on by the digits collected last."""

    cases: dict[Annotated[str, Meta(pattern=r"^[0-9*#A-D]{1,32}$")], NodeName]
    otherwise: NodeName


class Look(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="look"):
    """A node that looks something up by the digits collected last."""

    kind: Kind
    found: NodeName
    not_found: NodeName
    trouble: NodeName


class Connect(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="connect"):
    """A last node: connect with whom the last look-up found (`to` null), or with a number."""

    to: str | None = None

    def __repr__(self) -> str:
        """Without the number, which may be somebody's."""
        return f"Connect(to={None if self.to is None else '…'})"


class HangUp(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="hang_up"):
    """A last node: refuse the call for a reason, as in docs/reason-codes.md."""

    reason: Annotated[str, Meta(pattern=r"^[a-z_]{1,64}$")]


Node = Play | Collect | Branch | Look | Connect | HangUp


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """A dialogue with a caller."""

    start: NodeName
    nodes: Annotated[dict[NodeName, Node], Meta(min_length=1, max_length=100)]


class Occasion(StrEnum):
    """When a caller is led through a dialogue."""

    #: no binding of the number dialled knows this caller
    UNKNOWN_CALLER = "unknown_caller"
    #: several people are behind the number dialled (mode AXE)
    EXTENSION_NEEDED = "extension_needed"


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
