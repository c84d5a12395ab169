"""The one place that makes the JSON of bills and invoices. Amounts are text, minutes rounded for reading."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import msgspec

from xiaohao.billing.calendar import day_text, month_text
from xiaohao.billing.model import Bill, Charged, Line, NumberSum, Usage
from xiaohao.billing.money import text_of
from xiaohao.clock import rfc3339_local

_AMOUNTS: Final = ("rent", "minutes", "acd", "number_protection", "recording")
_COUNTS: Final = ("calls", "seconds", "included_s", "acd_s", "protections", "recordings")
_CENT: Final = Decimal("0.01")

encode = msgspec.json.Encoder(order="deterministic").encode


def bill_document(bill: Bill, applications: Mapping[str, str]) -> dict[str, Any]:
    """A bill on all its levels. `applications`: names by id."""
    by_application = _grouped(bill.numbers, lambda one: one.application)
    by_kind = _grouped(bill.numbers, lambda one: str(one.kind))
    return {
        "month": month_text(bill.month),
        "currency": bill.currency,
        "lines": [line_document(line) for line in bill.lines],
        "applications": [
            {"application": key, "name": applications.get(key or ""), **sums}
            for key, sums in by_application.items()
        ],
        "kinds": [{"kind": key, **sums} for key, sums in by_kind.items()],
        "numbers": [
            {"application": one.application, "kind": one.kind, "number": one.number, **_sums([one])}
            for one in bill.numbers
        ],
        "days": [
            {
                "day": day_text(one.day),
                "calls": one.calls,
                "seconds": one.seconds,
                "amount": text_of(one.amount),
            }
            for one in bill.days
        ],
        "total": text_of(bill.total),
        "net": text_of(bill.net),
        "vat_percent": str(bill.vat_percent),
        "vat": text_of(bill.vat),
        "gross": text_of(bill.gross),
    }


def line_document(line: Line) -> dict[str, Any]:
    """A line; `seconds` beside `quantity` where that is in minutes."""
    seconds = int(line.quantity) if line.unit == "minute" and line.quantity is not None else None
    return {
        "item": line.item,
        "kind": line.kind,
        "unit": line.unit,
        "quantity": line.quantity if seconds is None else minutes(seconds),
        "seconds": seconds,
        "price": line.price,
        "amount": text_of(line.amount),
        "note": line.note,
        "about": line.about,
    }


def minutes(seconds: int) -> str:
    """Seconds as minutes, to two places."""
    whole, rest = divmod(seconds, 60)
    return str(whole) if not rest else str((Decimal(seconds) / 60).quantize(_CENT, ROUND_HALF_UP))


def _grouped(numbers: Iterable[NumberSum], key_of: Any) -> dict[str | None, dict[str, Any]]:
    groups: dict[str | None, list[NumberSum]] = {}
    for one in numbers:
        groups.setdefault(key_of(one), []).append(one)
    return {key: _sums(groups[key]) for key in sorted(groups, key=lambda key: key or "")}


def _sums(numbers: list[NumberSum]) -> dict[str, Any]:
    counts = {name: sum(getattr(one, name) for one in numbers) for name in _COUNTS}
    amounts = {name: text_of(sum(getattr(one, name) for one in numbers)) for name in _AMOUNTS}
    return {**counts, **amounts, "total": text_of(sum(one.total for one in numbers))}


def usage_document(usage: Usage, charged: Charged) -> dict[str, Any]:
    """What a call, or a part of it, costs, and how it came to it."""
    return {
        "call_id": usage.call_id,
        "part": usage.part,
        "month": month_text(usage.month),
        "day": day_text(usage.day),
        "begins_at": rfc3339_local(usage.at),
        "number": usage.number,
        "kind": usage.kind,
        "application": usage.application,
        "order_ref": usage.order_ref,
        "seconds": usage.seconds,
        "included_s": charged.included_s,
        "unpriced_s": charged.unpriced_s,
        "portions": [
            {"price": text_of(one.price), "seconds": one.seconds, "amount": text_of(one.amount)}
            for one in charged.portions
        ],
        "acd_s": usage.acd_s,
        "minutes": text_of(charged.minutes),
        "acd": text_of(charged.acd),
        "number_protection": text_of(charged.protection),
        "recording": text_of(charged.recording),
        "total": text_of(charged.total),
    }
