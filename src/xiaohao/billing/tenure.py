"""Since when, and until when, numbers are a customer's: what the rents are for. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from xiaohao.billing.model import Tenure
from xiaohao.numbers.model import Kind, NumberState

#: states of numbers that nobody rents, whoever's pool they are in
_NOT_RENTED: Final = (NumberState.IN_STOCK, NumberState.RETIRED)


def tenures_of(
    customer_id: str, numbers: Iterable[Mapping[Any, Any]], changes: Iterable[Mapping[Any, Any]]
) -> list[Tenure]:
    """The times in which numbers were a customer's own, in one application each.

    `numbers`: rows of the inventory; `changes`: of its history, by number and then time, those that say whose
    a number is. A number without history is as the inventory shows it, since it came there. A number that is
    retired or back in stock is nobody's. A number of a shared pool is never a customer's, whoever it is lent
    to.
    """
    by_number: dict[str, list[Mapping[Any, Any]]] = {}
    for change in changes:
        by_number.setdefault(change["number"], []).append(change)
    found: list[Tenure] = []
    for row in numbers:
        for application, since, until in _spans(customer_id, row, by_number.get(row["number"], [])):
            found.append(Tenure(row["number"], Kind(row["kind"]), application, since, until))
    return found


def _spans(
    customer_id: str, row: Mapping[Any, Any], changes: Sequence[Mapping[Any, Any]]
) -> Iterator[tuple[str | None, int, int | None]]:
    if not changes:
        if row["customer_id"] == customer_id:
            gone = row["state"] in _NOT_RENTED
            yield row["pool_id"], row["created_at"], row["state_at"] if gone else None
        return
    untils: list[int | None] = [*(change["at"] for change in changes[1:]), None]
    for change, until in zip(changes, untils, strict=True):
        if (
            change["owner_id"] == customer_id
            and change["to_state"] not in _NOT_RENTED
            and change["at"] != until
        ):
            yield change["pool_id"], change["at"], until
