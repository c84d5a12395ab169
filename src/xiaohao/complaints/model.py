"""The terms of complaints."""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who passed a complaint on."""

    OPERATOR = "operator"
    CARRIER = "carrier"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A complaint about calls from a number. `at`: when it was made, in µs since the epoch."""

    id: str
    number: str
    customer_id: str | None
    at: int
    source: Source
    note: str | None
    created_at: int
