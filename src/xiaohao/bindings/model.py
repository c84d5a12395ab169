"""The terms of bindings, and the rule by which a call is recognised: by (caller, dialled), nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from xiaohao.numbers.model import USABLE_STATES
from xiaohao.tenants.model import CustomerState


class Mode(StrEnum):
    """How the people of a binding reach one another."""

    #: A dials Y and reaches B, who sees X; B dials X and reaches A, who sees Y
    AXYB = "axyb"


class BindingState(StrEnum):
    """What has become of a binding."""

    LIVE = "live"
    RELEASED = "released"
    EXPIRED = "expired"


class LegState(StrEnum):
    """Whether a leg connects, or only keeps its key from being given to somebody else."""

    LIVE = "live"
    QUARANTINED = "quarantined"


class Role(StrEnum):
    """Who dials a leg."""

    A = "a"
    B = "b"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a customer asks for: that A and B can call each other. Numbers in any spelling.

    Without `x`, A keeps the X that is theirs already, else one is taken from `x_pool`; without `y` one is
    taken from `y_pool`. `expires_in_s` seconds from now, None: until it is released. `reuse`: a live binding
    of the same pair with the same content is given back instead of refused.
    """

    a: str = field(repr=False)
    b: str = field(repr=False)
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


@dataclass(frozen=True, slots=True)
class Binding:
    """A relation between two people. `seq` grows in the order of making; times in µs since the epoch.

    `recycle_until`: the end of the quarantine of its last leg, set when it has ended.
    """

    seq: int
    id: str
    customer_id: str
    mode: Mode
    state: BindingState
    a: str = field(repr=False)
    b: str = field(repr=False)
    x: str
    y: str
    expires_at: int | None
    ended_at: int | None
    recycle_until: int | None
    record: bool
    max_duration_s: int | None
    order_ref: str | None
    user_data: str | None = field(repr=False)
    created_at: int
    updated_at: int


class Outcome(StrEnum):
    """What a look-up says. All but CONNECT are also values of `calls.model.Reason`."""

    CONNECT = "connect"
    UNKNOWN_NUMBER = "unknown_number"
    UNKNOWN_CALLER = "unknown_caller"
    BINDING_EXPIRED = "binding_expired"
    NUMBER_NOT_IN_SERVICE = "number_not_in_service"
    CUSTOMER_SUSPENDED = "customer_suspended"


class LegRow(NamedTuple):
    """One row of `store.HOT_LOOKUP_SQL`, in the order of its columns: `LegRow(*row)`."""

    number_state: str
    customer_id: str | None
    customer_state: str | None
    leg_state: str | None
    role: str | None
    binding_id: str | None
    callee_sealed: bytes | None
    display: str | None
    display_state: str | None
    display_trunk_id: str | None
    valid_until: int | None
    quarantine_until: int | None
    record: int | None
    max_duration_s: int | None
    order_ref: str | None
    user_data: str | None


@dataclass(frozen=True, slots=True)
class LegMatch:
    """The answer to "who is to be connected?". `callee` and `callee_sealed` only where a leg was found.

    `customer_id` is who answers for the dialled number, also where the call is refused; None: nobody does.
    """

    outcome: Outcome
    customer_id: str | None = None
    binding_id: str | None = None
    role: Role | None = None
    callee_sealed: bytes | None = field(default=None, repr=False)
    callee: str | None = field(default=None, repr=False)
    display: str | None = None
    display_trunk_id: str | None = None
    record: bool = False
    max_duration_s: int | None = None
    order_ref: str | None = None
    user_data: str | None = field(default=None, repr=False)


def judge(row: Sequence[Any] | None, now_us: int) -> LegMatch:
    """What the row that the look-up found (None: nothing) means at this moment; `callee` stays sealed."""
    if row is None:
        return LegMatch(Outcome.UNKNOWN_NUMBER)
    found = LegRow(*row)
    outcome = _outcome(found, now_us)
    if outcome is Outcome.UNKNOWN_CALLER or found.role is None:
        return LegMatch(outcome, found.customer_id)
    return LegMatch(
        outcome,
        found.customer_id,
        found.binding_id,
        Role(found.role),
        found.callee_sealed,
        None,
        found.display,
        found.display_trunk_id,
        bool(found.record),
        found.max_duration_s,
        found.order_ref,
        found.user_data,
    )


def _outcome(row: LegRow, now_us: int) -> Outcome:
    if row.number_state not in USABLE_STATES:
        return Outcome.NUMBER_NOT_IN_SERVICE
    if row.leg_state is None or _is_free_again(row, now_us):
        return Outcome.UNKNOWN_CALLER
    if row.customer_state != CustomerState.ACTIVE:
        return Outcome.CUSTOMER_SUSPENDED
    if row.leg_state != LegState.LIVE or (row.valid_until is not None and row.valid_until <= now_us):
        return Outcome.BINDING_EXPIRED
    if row.display_state not in USABLE_STATES:
        return Outcome.NUMBER_NOT_IN_SERVICE
    return Outcome.CONNECT


def _is_free_again(row: LegRow, now_us: int) -> bool:
    # Its quarantine is over and nobody has swept it away yet.
    return row.leg_state == LegState.QUARANTINED and (row.quarantine_until or 0) <= now_us
