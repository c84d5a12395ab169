"""Calls, numbers and contracts for tests of billing. The month is November 2026, on a Chinese clock."""

from typing import Any

import msgspec

from xiaohao.billing import calendar, terms
from xiaohao.billing.model import Cdr
from xiaohao.billing.terms import Terms
from xiaohao.clock import SECOND

MONTH = 202611
START = calendar.start_of(MONTH)
HOUR = 3600 * SECOND
NUMBERS = {
    "400": "+86400123{:04d}",
    "landline": "+86106200{:04d}",
    "mobile": "+861700000{:04d}",
    "95": "+8695{:04d}",
}


def number_of(kind: str, place: int) -> str:
    """The n-th number of a kind."""
    return NUMBERS[kind].format(place)


def a_cdr(name: str, number: str, talk_ms: int | None, at: int = START + HOUR, **facts: Any) -> Cdr:
    """A call that arrived at `at`, rang at once, and was answered at once unless `talk_ms` is None."""
    known: dict[str, Any] = {
        "call_id": name,
        "received_at": at,
        "ringing_at": at,
        "answered_at": None if talk_ms is None else at,
        "ended_at": at + (20_000 if talk_ms is None else talk_ms) * 1000,
        "dialled": number,
        "displayed": None,
        "reason": "caller_cancelled" if talk_ms is None else "caller_hung_up",
        "order_ref": None,
        "recorded": False,
    }
    return Cdr(**{**known, **facts})


def standard_but(**changes: Any) -> Terms:
    """The standard tariff with other values of some fields."""
    return terms.check(msgspec.structs.replace(terms.standard(), **changes))
