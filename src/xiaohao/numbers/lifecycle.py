"""The life of a platform number is a table: which state follows which, and for what reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from xiaohao.errors import Refusal, conflict
from xiaohao.numbers.model import Kind, NumberState, Verification


class Reason(StrEnum):
    """Why a number's state, or whose it is, has changed."""

    IMPORTED = "imported"
    RELEASED_TO_POOL = "released_to_pool"
    TAKEN_TO_STOCK = "taken_to_stock"
    #: it became a person's X: lent by a binding, or fixed by name
    ASSIGNED = "assigned"
    #: the last binding that led through it has ended, or it was taken away from its person
    RETURNED = "returned"
    RECYCLE_OVER = "recycle_over"
    #: to another pool
    MOVED = "moved"
    # the reasons of a suspension
    OPERATOR = "operator"
    CARRIER = "carrier"
    COMPLAINT = "complaint"
    REAL_NAME = "real_name"
    # of its end: by hand, or because its time is over
    RESUMED = "resumed"
    SUSPENSION_OVER = "suspension_over"
    RETIRED = "retired"
    # the state stays, and what is known of the real name behind the number changes
    NAME_VERIFIED = "real_name_verified"
    NAME_EXPIRED = "real_name_expired"
    NAME_REJECTED = "real_name_rejected"


#: what a suspension may be for
SUSPENSIONS: Final = frozenset({Reason.OPERATOR, Reason.CARRIER, Reason.COMPLAINT, Reason.REAL_NAME})
_RESUMPTIONS: Final = frozenset({Reason.RESUMED, Reason.SUSPENSION_OVER})
NAMES: Final = frozenset({Reason.NAME_VERIFIED, Reason.NAME_EXPIRED, Reason.NAME_REJECTED})
_LET_GO: Final = frozenset({Reason.RETURNED, Reason.RECYCLE_OVER})

_IN_STOCK, _AVAILABLE, _IN_SERVICE = NumberState.IN_STOCK, NumberState.AVAILABLE, NumberState.IN_SERVICE
_AGEING, _SUSPENDED, _RETIRED = NumberState.AGEING, NumberState.SUSPENDED, NumberState.RETIRED

#: (from, to) → reasons. From None: it comes into the inventory. A state that follows itself: something else
#: has changed that the history keeps, such as whose the number is.
TRANSITIONS: Final[Mapping[tuple[NumberState | None, NumberState], frozenset[Reason]]] = {
    (None, _IN_STOCK): frozenset({Reason.IMPORTED}),
    (None, _AVAILABLE): frozenset({Reason.IMPORTED}),
    (_IN_STOCK, _IN_STOCK): NAMES | {Reason.MOVED},
    (_IN_STOCK, _AVAILABLE): frozenset({Reason.RELEASED_TO_POOL}),
    (_IN_STOCK, _RETIRED): frozenset({Reason.RETIRED}),
    (_AVAILABLE, _AVAILABLE): NAMES | {Reason.MOVED},
    (_AVAILABLE, _IN_STOCK): frozenset({Reason.TAKEN_TO_STOCK}),
    (_AVAILABLE, _IN_SERVICE): frozenset({Reason.ASSIGNED}),
    (_AVAILABLE, _SUSPENDED): SUSPENSIONS,
    (_AVAILABLE, _RETIRED): frozenset({Reason.RETIRED}),
    (_IN_SERVICE, _IN_SERVICE): NAMES | {Reason.ASSIGNED},
    (_IN_SERVICE, _AGEING): frozenset({Reason.RETURNED}),
    (_IN_SERVICE, _AVAILABLE): _LET_GO,
    (_IN_SERVICE, _SUSPENDED): SUSPENSIONS,
    (_IN_SERVICE, _RETIRED): frozenset({Reason.RETIRED}),
    (_AGEING, _AGEING): NAMES,
    (_AGEING, _IN_SERVICE): frozenset({Reason.ASSIGNED}),
    (_AGEING, _AVAILABLE): frozenset({Reason.RECYCLE_OVER}),
    (_AGEING, _SUSPENDED): SUSPENSIONS,
    (_AGEING, _RETIRED): frozenset({Reason.RETIRED}),
    (_SUSPENDED, _SUSPENDED): SUSPENSIONS | _LET_GO | NAMES | {Reason.ASSIGNED, Reason.MOVED},
    (_SUSPENDED, _AVAILABLE): _RESUMPTIONS,
    (_SUSPENDED, _IN_SERVICE): _RESUMPTIONS,
    (_SUSPENDED, _AGEING): _RESUMPTIONS,
    (_SUSPENDED, _RETIRED): frozenset({Reason.RETIRED}),
    (_RETIRED, _RETIRED): _LET_GO | NAMES | {Reason.ASSIGNED},
}

#: Changes that the customer is told of by `number.status_changed`. What its own bindings bring about
#: (assigned, returned, recycle over) it knows from them, and imports come by the million.
TOLD: Final = (
    SUSPENSIONS
    | _RESUMPTIONS
    | NAMES
    | {Reason.RELEASED_TO_POOL, Reason.TAKEN_TO_STOCK, Reason.MOVED, Reason.RETIRED}
)


def check(state: NumberState, to: NumberState, reason: Reason) -> None:
    """Raises Refusal: `number_retired`, `number_in_another_state` where the table has no such change."""
    if reason in TRANSITIONS.get((state, to), ()):
        return
    if state is NumberState.RETIRED:
        raise retired()
    raise conflict(
        "number_in_another_state",
        "The number is in another state",
        f"A number that is {state.value} does not become {to.value}.",
        state=state.value,
    )


def retired() -> Refusal:
    """The refusal for what cannot be done with a retired number."""
    return conflict("number_retired", "Number retired", "A retired number does not come back.")


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is to be made: `values` are further columns of the number that change with it.

    `by` is the key of who wants it; None: the platform itself.
    """

    to: NumberState
    reason: Reason
    by: str | None = None
    note: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NumberChanged:
    """A change that was made, as its customer is told of it. Moments in microseconds."""

    seq: int
    at: int
    number: str
    kind: Kind
    city: str | None
    pool_id: str | None
    from_state: NumberState | None
    to_state: NumberState
    reason: Reason
    suspended_until: int | None
    verification: Verification
    verified_until: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a number's history. `person` is whose X it was from then on; None: nobody's."""

    seq: int
    at: int
    from_state: NumberState | None
    to_state: NumberState
    reason: Reason
    changed_by: str | None
    note: str | None
    customer_id: str | None
    person: str | None = field(repr=False)
