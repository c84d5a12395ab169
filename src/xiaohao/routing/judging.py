"""Whether what a customer answers may be carried out. Pure rules; the facts are a row of the inventory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from xiaohao.numbers.model import USABLE_STATES, canonical, is_proven
from xiaohao.routing.model import Connect


class ShownRow(NamedTuple):
    """One row of `routing.store.SHOWN_SQL`, in the order of its columns.

    `shown` is what stands on the display: the number itself, or the one that is displayed in its place.
    """

    customer_id: str | None
    assigned_by: str | None
    state: str
    shown: str | None
    shown_state: str | None
    shown_displayable: int | None
    shown_verification: str | None
    shown_verified_until: int | None
    shown_trunk_id: str | None
    callee_is_ours: int


@dataclass(frozen=True, slots=True)
class Way:
    """Whom to call and how, checked. Numbers are canonical; `prompts` is JSON: moment → name."""

    callee: str = field(repr=False)
    display: str
    display_trunk_id: str | None
    record: bool
    max_duration_s: int | None
    prompts: str | None
    order_ref: str | None
    user_data: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom a customer wants to be called, and what to be shown, in canonical form."""

    callee: str = field(repr=False)
    display: str


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Which numbers a customer's answer may have called: those that begin so, and with no forbidden one."""

    allowed: tuple[str, ...]
    forbidden: tuple[str, ...]

    def allow(self, number: str) -> bool:
        """Whether this canonical number may be called."""
        return number.startswith(self.allowed) and not (self.forbidden and number.startswith(self.forbidden))


class NotAllowed(Exception):
    """The answer may not be carried out. The text says what is wrong; it holds no number."""


def wish_of(answer: Connect, caller: str | None, dialled: str, prefixes: Prefixes, region: str) -> Wish:
    """What the answer wants, as far as it can be judged by itself. Raises NotAllowed."""
    callee = canonical(answer.callee, region)
    if callee is None:
        raise NotAllowed("callee: is no telephone number")
    display = dialled if answer.display is None else canonical(answer.display, region)
    if display is None:
        raise NotAllowed("display: is no telephone number")
    if not prefixes.allow(callee):
        raise NotAllowed("callee: calls to numbers that begin so are not allowed")
    if callee == caller:
        raise NotAllowed("callee: is the caller")
    return Wish(callee, display)


def way_of(
    answer: Connect, wish: Wish, row: Sequence[Any] | None, customer_id: str, dialled: str, now: int
) -> Way:
    """The wish, checked against the inventory's row of the number to display. Raises NotAllowed.

    The number dialled may always be displayed, as far as any number may: its customer was asked about it.
    """
    if row is None:
        raise NotAllowed("display: is not one of your numbers")
    found = ShownRow(*row)
    if customer_id not in (found.customer_id, found.assigned_by) and wish.display != dialled:
        raise NotAllowed("display: is not one of your numbers")
    for state in (found.state, found.shown_state):
        if state is not None and state not in USABLE_STATES:
            raise NotAllowed("display: is suspended, retired or not in use yet")
    if found.shown is None or not found.shown_displayable:
        raise NotAllowed("display: may only be dialled, and none stands in for it")
    if not is_proven(found.shown_verification or "", found.shown_verified_until, now):
        raise NotAllowed("display: its real name is not verified")
    if found.callee_is_ours:
        raise NotAllowed("callee: is a number of the platform, not a person's")
    prompts = answer.prompts
    return Way(
        wish.callee,
        found.shown,
        found.shown_trunk_id,
        answer.record,
        answer.max_duration_s,
        msgspec.json.encode(prompts).decode() if prompts else None,
        answer.order_ref,
        answer.user_data,
    )
