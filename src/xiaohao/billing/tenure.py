"""Since when, and until when, numbers are a customer's: what the rents are for. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xiaohao.billing.model import Tenure
from xiaohao.numbers.model import Kind, NumberState


def tenures_of(
    customer_id: str, numbers: Iterable[Mapping[Any, Any]], changes: Iterable[Mapping[Any, Any]]
) -> list[Tenure]:
    """The times in which numbers were a customer's own.

    `numbers`: rows of the inventory; `changes`: of its history, by number and then time, those that say whose
    a number is. A number without history is as the inventory shows it, since it came there. A retired number
    is nobody's. A number of a shared pool is never a customer's, whoever it is lent to.
    """
    by_number: dict[str, list[Mapping[Any, Any]]] = {}
    for change in changes:
        by_number.setdefault(change["number"], []).append(change)
    found: list[Tenure] = []
    for row in numbers:
        kind, application = Kind(row["kind"]), row["pool_id"]
        for since, until in _spans(customer_id, row, by_number.get(row["number"], [])):
            found.append(Tenure(row["number"], kind, application, since, until))
    return found


def _spans(
    customer_id: str, row: Mapping[Any, Any], changes: Sequence[Mapping[Any, Any]]
) -> list[tuple[int, int | None]]:
    if not changes:
        if row["customer_id"] != customer_id:
            return []
        retired = row["state"] == NumberState.RETIRED
        return [(row["created_at"], row["state_at"] if retired else None)]
    spans: list[tuple[int, int | None]] = []
    since: int | None = None
    for change in changes:
        theirs = change["customer_id"] == customer_id and change["to_state"] != NumberState.RETIRED
        if theirs and since is None:
            since = change["at"]
        elif not theirs and since is not None:
            spans.append((since, change["at"]))
            since = None
    if since is not None:
        spans.append((since, None))
    return spans
