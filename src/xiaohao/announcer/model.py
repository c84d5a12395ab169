"""The terms of callers whom no binding knows: somebody calls from another phone, or is nobody's customer."""

from dataclasses import dataclass, field
from enum import StrEnum


class Treatment(StrEnum):
    """What becomes of them, by choice of the customer."""

    #: the call ends at once
    REFUSE = "refuse"
    #: the caller is told that nobody is bound to their number, and the call ends
    ANNOUNCE = "announce"
    #: asked for the last four digits of the number that the binding knows
    LAST_DIGITS = "last_digits"
    #: asked for the binding's order reference, where that is digits
    ORDER_CODE = "order_code"
    #: connected with a number of the customer's, who sees the number dialled
    HOTLINE = "hotline"


@dataclass(frozen=True, slots=True)
class Terms:
    """`hotline` (canonical) only with that treatment."""

    treatment: Treatment
    hotline: str | None = field(default=None, repr=False)


#: where nobody has said anything
USUAL = Terms(Treatment.ANNOUNCE)
