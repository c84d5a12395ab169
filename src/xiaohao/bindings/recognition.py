"""The rule by which a call is recognised: by (caller, dialled), nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from xiaohao.bindings.model import LegState, Mode, Role
from xiaohao.bindings.modes import EXTENSIONS, PAIRS
from xiaohao.numbers.model import USABLE_STATES, DialledBy, is_proven
from xiaohao.tenants.model import CustomerState


class Outcome(StrEnum):
    """What a look-up says. All but CONNECT are also values of `calls.model.Reason`."""

    CONNECT = "connect"
    UNKNOWN_NUMBER = "unknown_number"
    UNKNOWN_CALLER = "unknown_caller"
    BINDING_EXPIRED = "binding_expired"
    NUMBER_NOT_IN_SERVICE = "number_not_in_service"
    CUSTOMER_SUSPENDED = "customer_suspended"
    CREDIT_EXHAUSTED = "credit_exhausted"
    CALLER_FROM_ABROAD = "caller_from_abroad"
    DIRECTION_NOT_ALLOWED = "direction_not_allowed"
    DISPLAY_NOT_ALLOWED = "display_not_allowed"
    NUMBER_NOT_VERIFIED = "number_not_verified"
    NO_LAST_CALLER = "no_last_caller"
    EXTENSION_NEEDED = "extension_needed"
    EXTENSION_UNKNOWN = "extension_unknown"
    ROUTING_MISSING = "routing_missing"
    #: the caller is to be given a Y first; it is the reason where that does not come about
    NO_Y_FREE = "no_y_free"


class LegRow(NamedTuple):
    """One row of `lookup_store.HOT_LOOKUP_SQL`, in the order of its columns: `LegRow(*row)`.

    `display` is the number that the leg says, `shown` the one that stands on the callee's display.
    """

    number_state: str
    dialled_by: str
    claim: bytes | None
    customer_id: str | None
    customer_state: str | None
    leg_state: str | None
    role: str | None
    mode: str | None
    barred: int | None
    binding_id: str | None
    callee_sealed: bytes | None
    display: str | None
    valid_until: int | None
    grace_until: int | None
    record: int | None
    max_duration_s: int | None
    prompts: str | None
    order_ref: str | None
    user_data: str | None
    display_state: str | None
    shown: str | None
    shown_state: str | None
    shown_displayable: int | None
    shown_kind: str | None
    shown_verification: str | None
    shown_verified_until: int | None
    shown_trunk_id: str | None
    pool_id: str | None = None
    #: who decides the number's calls, as its own customer has set it: ask | bindings
    routing: str | None = None


@dataclass(frozen=True, slots=True)
class LegMatch:
    """The answer to "who is to be connected?". `callee` and `callee_sealed` only where a leg was found.

    `customer_id` is who answers for the dialled number, also where the call is refused; None: nobody does.
    `in_grace`: the binding has ended, and the pair is connected all the same for a while. `door` is what the
    number dialled and its customer say by themselves, whatever the legs: CONNECT where they let the call in.
    """

    outcome: Outcome
    customer_id: str | None = None
    binding_id: str | None = None
    mode: Mode | None = None
    role: Role | None = None
    callee_sealed: bytes | None = field(default=None, repr=False)
    callee: str | None = field(default=None, repr=False)
    display: str | None = None
    display_trunk_id: str | None = None
    in_grace: bool = False
    record: bool = False
    max_duration_s: int | None = None
    #: JSON: moment → name
    prompts: str | None = None
    order_ref: str | None = None
    user_data: str | None = field(default=None, repr=False)
    door: Outcome = Outcome.UNKNOWN_NUMBER
    pool_id: str | None = None
    routing: str | None = None


def judge(
    row: Sequence[Any] | None, now_us: int, *, from_abroad: bool = False, extension: bool = False
) -> LegMatch:
    """What the row that the look-up found (None: nothing) means at this moment; `callee` stays sealed.

    `from_abroad`: the caller's number is another country's. `extension`: the row was looked for by an
    extension instead of the caller.
    """
    if row is None:
        return LegMatch(Outcome.UNKNOWN_NUMBER)
    found = LegRow(*row)
    door = _door(found, from_abroad)
    if found.leg_state is None or found.mode is None or found.role is None:
        return LegMatch(
            _without_leg(found, from_abroad, extension),
            found.customer_id,
            display=_displayed(found, now_us),
            display_trunk_id=found.shown_trunk_id,
            door=door,
            pool_id=found.pool_id,
            routing=found.routing,
        )
    outcome, in_grace = _with_leg(found, now_us, from_abroad)
    return LegMatch(
        outcome,
        found.customer_id,
        found.binding_id,
        Mode(found.mode),
        Role(found.role),
        found.callee_sealed,
        None,
        found.shown,
        found.shown_trunk_id,
        in_grace,
        bool(found.record),
        found.max_duration_s,
        found.prompts,
        found.order_ref,
        found.user_data,
        door,
        found.pool_id,
        found.routing,
    )


def is_over_for_b(match: LegMatch) -> bool:
    """Whether it is the leg of a B whose binding has ended: `as_anyone` says whether they reach A again."""
    over = match.outcome is Outcome.BINDING_EXPIRED
    return over and match.role is Role.B and match.callee_sealed is not None


def as_anyone(own: LegMatch, anyone: LegMatch, open_sealed: Callable[[bytes], str]) -> LegMatch:
    """What holds for a B whose own leg is over (`own`), where `anyone` was found for callers without a leg.

    Whoever may be anyone may be this B, too; but nobody's late call reaches another A than it reached before.
    """
    if anyone.callee_sealed is None or own.callee_sealed is None:
        return own
    if anyone.role is not Role.B or anyone.outcome is Outcome.BINDING_EXPIRED:
        return own
    return anyone if open_sealed(anyone.callee_sealed) == open_sealed(own.callee_sealed) else own


def _door(row: LegRow, from_abroad: bool) -> Outcome:
    if row.number_state not in USABLE_STATES:
        return Outcome.NUMBER_NOT_IN_SERVICE
    if _is_barred_abroad(row, from_abroad):
        return Outcome.CALLER_FROM_ABROAD
    if row.customer_id is None:
        return Outcome.UNKNOWN_CALLER
    if row.customer_state == CustomerState.EXHAUSTED:
        return Outcome.CREDIT_EXHAUSTED
    if row.customer_state != CustomerState.ACTIVE:
        return Outcome.CUSTOMER_SUSPENDED
    return Outcome.CONNECT


def _without_leg(row: LegRow, from_abroad: bool, extension: bool) -> Outcome:
    if row.number_state not in USABLE_STATES:
        return Outcome.NUMBER_NOT_IN_SERVICE
    if _is_barred_abroad(row, from_abroad):
        return Outcome.CALLER_FROM_ABROAD
    if row.claim == EXTENSIONS:
        return Outcome.EXTENSION_UNKNOWN if extension else Outcome.EXTENSION_NEEDED
    return Outcome.UNKNOWN_CALLER


def _with_leg(row: LegRow, now_us: int, from_abroad: bool) -> tuple[Outcome, bool]:
    """The outcome, and whether the binding has ended and is in its time of grace."""
    door = _door(row, from_abroad)
    if door is not Outcome.CONNECT:
        return door, False
    over = row.leg_state != LegState.LIVE or (row.valid_until is not None and row.valid_until <= now_us)
    if over and not _is_in_grace(row, now_us):
        return Outcome.BINDING_EXPIRED, False
    return _of_living(row, now_us), over


def _of_living(row: LegRow, now_us: int) -> Outcome:
    if row.barred:
        return Outcome.DIRECTION_NOT_ALLOWED
    if row.mode == Mode.X:
        return Outcome.ROUTING_MISSING
    if row.callee_sealed is None:
        return Outcome.NO_LAST_CALLER
    if row.display is None:
        return Outcome.NO_Y_FREE
    return _of_display(row, now_us)


def _of_display(row: LegRow, now_us: int) -> Outcome:
    for state in (row.display_state, row.shown_state):
        if state is not None and state not in USABLE_STATES:
            return Outcome.NUMBER_NOT_IN_SERVICE
    if row.shown is None or not row.shown_displayable:
        return Outcome.DISPLAY_NOT_ALLOWED
    if not is_proven(row.shown_verification or "", row.shown_verified_until, now_us):
        return Outcome.NUMBER_NOT_VERIFIED
    return Outcome.CONNECT


def _displayed(row: LegRow, now_us: int) -> str | None:
    """What a caller without a leg would be shown as: the number dialled; None where it may not be."""
    return row.shown if _of_display(row, now_us) is Outcome.CONNECT else None


def _is_in_grace(row: LegRow, now_us: int) -> bool:
    # Only two people who were bound to each other: whoever may be anyone has nothing to go on with.
    return (
        row.mode in PAIRS
        and row.display is not None
        and row.grace_until is not None
        and row.grace_until > now_us
    )


def _is_barred_abroad(row: LegRow, from_abroad: bool) -> bool:
    return from_abroad and row.dialled_by == DialledBy.DOMESTIC
