"""The terms of bindings. What a mode means is in `modes.py`, how a call is recognised in `recognition.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict


class Mode(StrEnum):
    """How the people of a binding reach one another."""

    #: A dials Y and reaches B, who sees X; B dials X and reaches A, who sees Y
    AXYB = "axyb"
    #: A and B dial the same X and see it
    AXB = "axb"
    #: anyone dials X and reaches A; A dials X and reaches who called last, or a B that was named
    AX = "ax"
    #: anyone dials X and then A's extension, and reaches A
    AXE = "axe"
    #: the customer is asked about each call to X
    X = "x"


class Direction(StrEnum):
    """Who may call whom."""

    BOTH = "both"
    A_TO_B = "a_to_b"
    B_TO_A = "b_to_a"


class Role(StrEnum):
    """Who dials a leg. Where anyone may, they are B."""

    A = "a"
    B = "b"


class PromptMoment(StrEnum):
    """When a prompt is played."""

    #: to the caller, before the callee is called
    TO_CALLER = "to_caller"
    #: to the caller, in place of the ringing tone
    RINGING = "ringing"
    #: to the callee, after they have answered and before they are connected
    TO_CALLEE = "to_callee"
    #: to the caller, before a call that is refused ends
    REFUSED = "refused"
    #: to both, before the longest duration is reached
    NEAR_END = "near_end"


class BindingState(StrEnum):
    """What has become of a binding."""

    LIVE = "live"
    RELEASED = "released"
    EXPIRED = "expired"


class LegState(StrEnum):
    """Whether a leg connects, or only keeps its key from being given to somebody else."""

    LIVE = "live"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a customer asks for: that A and B can call each other. Numbers in any spelling.

    Without `x`, A keeps the X that is theirs already, else one is taken from `x_pool`; without `y` one is
    taken from `y_pool`. `expires_in_s` seconds from now, or at `expires_at` (µs since the epoch), it ends;
    both None: when it is released. `reuse`: a live binding of the same pair with the same content is given
    back instead of refused. Which of the people, numbers and pools belong to a mode says `modes.misfit`.

    `y_on_demand`: B is not known yet; whoever dials X is given a Y of `y_pool` on the spot, for `y_life_s`
    seconds or as long as this binding. `prompts`: moment → name.
    """

    a: str | None = field(default=None, repr=False)
    b: str | None = field(default=None, repr=False)
    x: str | None = None
    y: str | None = None
    x_pool: str | None = None
    y_pool: str | None = None
    expires_in_s: int | None = None
    record: bool = True
    max_duration_s: int | None = None
    order_ref: str | None = None
    user_data: str | None = field(default=None, repr=False)
    reuse: bool = False
    mode: Mode = Mode.AXYB
    extension: str | None = None
    direction: Direction = Direction.BOTH
    y_on_demand: bool = False
    y_life_s: int | None = None
    prompts: Mapping[PromptMoment, str] | None = None
    x_city: str | None = None
    y_city: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class NewNumber:
    """What the X or the Y of a binding that lives shall be: this `number`, or one of a pool and a city.

    Without `pool` it is that of the present number, and without either its city, too. `instead_of`: any but
    this one. A present number that is as wanted stays, so that the same wish again changes nothing.
    """

    number: str | None = None
    pool: str | None = None
    city: str | None = None
    instead_of: str | None = None

    @property
    def is_pool_only(self) -> bool:
        """Whether nothing but a pool is named."""
        return self == NewNumber(pool=self.pool)


class Changes(TypedDict, total=False):
    """What a customer changes of a binding: what is named becomes so. Numbers in any spelling.

    `expires_at` in microseconds, None: no end. What begins with x or y, and `instead_of_…`: see `NewNumber`;
    of a binding with `y_on_demand` `y_pool` says where it takes numbers from now on.
    """

    mode: Mode
    a: str
    b: str | None
    x: str
    x_pool: str
    x_city: str
    instead_of_x: str
    y: str
    y_city: str
    instead_of_y: str
    extension: str
    direction: Direction
    y_pool: str
    y_life_s: int | None
    expires_at: int | None
    record: bool
    max_duration_s: int | None
    prompts: Mapping[PromptMoment, str] | None
    order_ref: str | None
    user_data: str | None


@dataclass(frozen=True, slots=True)
class Binding:
    """A relation between two people. `seq` grows in the order of making; times in µs since the epoch.

    `a` None: mode x. `b` None: anyone. `y` None: modes with one number, or not given out yet. `parent_id`:
    the binding by which this pair came about on the spot. `recycle_until`: the end of the quarantine of its
    last leg, set when it has ended.
    """

    seq: int
    id: str
    customer_id: str
    mode: Mode
    state: BindingState
    parent_id: str | None
    a: str | None = field(repr=False)
    b: str | None = field(repr=False)
    x: str
    y: str | None
    extension: str | None
    direction: Direction
    y_on_demand: bool
    y_pool: str | None
    y_life_s: int | None
    expires_at: int | None
    ended_at: int | None
    recycle_until: int | None
    record: bool
    max_duration_s: int | None
    prompts: Mapping[PromptMoment, str] | None
    order_ref: str | None
    user_data: str | None = field(repr=False)
    created_at: int
    updated_at: int


def is_overdue(row: Mapping[str, Any], now: int) -> bool:
    """Whether a binding, as it is stored, counts as live only because nobody has swept it yet."""
    return row["state"] == BindingState.LIVE and row["expires_at"] is not None and row["expires_at"] <= now
