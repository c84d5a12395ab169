"""Whether a live binding is the one that a reservation asks for, so that it is given back instead."""

import hashlib
from operator import itemgetter
from typing import Final

from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.changing import prompts_json
from xiaohao.bindings.desk import Desk
from xiaohao.bindings.model import BindingState, Mode, Reservation, is_overdue
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import BindingRow
from xiaohao.errors import conflict

#: what two requests for the same have in common, besides people, numbers and prompts
_TERMS: Final = ("mode", "direction", "record", "max_duration_s", "order_ref", "user_data")


def lock_of(wish: Wish) -> bytes | None:
    """What requests of mode x that may mean the same binding wait for, as there is no person to wait for."""
    if not wish.reuse or wish.people:
        return None
    return hashlib.blake2b(wish.customer_id.encode(), digest_size=8).digest()


def check_same(row: BindingRow, wish: Wish, wanted: Reservation) -> None:
    """Raises Refusal unless the live binding of a pair may be given back for this reservation."""
    same = wish.x in (None, row["x"]) and wish.y in (None, row["y"]) and _has_terms(row, wanted)
    if not (wanted.reuse and same and row["a_key"] == wish.a_key):
        raise conflict(
            "pair_taken",
            "The pair is taken",
            "A and B have a live binding already: release it, or send an identical request with reuse.",
            binding_id=row["id"],
            x=row["x"],
            y=row["y"],
        )


def of_same_people(desk: Desk, wish: Wish) -> list[BindingRow]:
    """The live binding of the pair, if there is one, and those in quarantine, newest first.

    In mode AXB both dial the same X: the bindings in which A is B and B is A are the same pair's.
    """
    rows = [] if wish.pair is None else desk.of_pair(wish.pair)
    swapped = [row for pair in wish.pairs[1:] for row in desk.of_pair(pair) if row["mode"] == Mode.AXB]
    live = [row for row in (*rows, *swapped) if row["state"] == BindingState.LIVE]
    if live or not swapped:
        return live + [row for row in rows if row not in live]
    return sorted([*rows, *swapped], key=itemgetter("seq"), reverse=True)


def live_alike(desk: Desk, wish: Wish, wanted: Reservation) -> BindingRow | None:
    """Of a reservation without a B that may be given an old one: the oldest live binding with its content."""
    if not wish.reuse or wish.pair is not None:
        return None
    for row in desk.without_b(wish.customer_id, wish.a_key):
        x = desk.number(row["x"])
        if not is_overdue(row, desk.now) and x is not None and _is_alike(row, x, wish, wanted):
            return row
    return None


def _is_alike(row: BindingRow, x: NumberFacts, wish: Wish, wanted: Reservation) -> bool:
    return (
        _has_terms(row, wanted)
        and wish.x in (None, x.number)
        # as an X that is A's already is taken whatever the pool, if it is a fixed one
        and (wish.x_pool in (None, x.pool_id) or x.fixed)
        and wish.x_city in (None, x.city)
        and wish.extension in (None, row["extension"])
        and wish.y_on_demand == row["y_on_demand"]
        and row["y_pool"] == (wish.y_pool if wish.y_on_demand else None)
        and row["y_life_s"] == wanted.y_life_s
    )


def _has_terms(row: BindingRow, wanted: Reservation) -> bool:
    return (
        all(getattr(wanted, name) == row[name] for name in _TERMS)
        and prompts_json(wanted.prompts) == row["prompts"]
    )
