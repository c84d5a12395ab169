"""Which X and which Y a new binding gets, decided on a desk and written by nobody yet."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.desk import Desk, PoolFacts
from xiaohao.bindings.model import Mode, Role
from xiaohao.bindings.modes import (
    ANYONE,
    LONGEST_EXTENSION,
    callers_of_x,
    claim_of,
    extension_key,
    takes_all,
)
from xiaohao.bindings.writing_store import BindingRow
from xiaohao.errors import Refusal, conflict, validation_failed
from xiaohao.numbers.model import PERSONAL_STATES, USABLE_STATES, NumberState

#: an extension that is chosen has so many digits, unless so many draws in a row find none that is free
_DIGITS: Final = 3
_DRAWS: Final = 16


@dataclass(frozen=True, slots=True)
class Wish:
    """A reservation that was found in order, with all numbers canonical."""

    customer_id: str
    mode: Mode
    a: str | None = field(repr=False)
    b: str | None = field(repr=False)
    a_key: bytes | None = field(repr=False)
    b_key: bytes | None = field(repr=False)
    x: str | None
    y: str | None
    x_pool: str | None
    y_pool: str | None
    extension: str | None = None
    y_on_demand: bool = False
    #: of a pair that comes about on the spot: by which binding, and when that one ends
    parent_id: str | None = None
    latest_end: int | None = None

    @property
    def pair(self) -> tuple[str, bytes, bytes] | None:
        """What there is one live binding of; None where there is no B."""
        if self.a_key is None or self.b_key is None:
            return None
        return self.customer_id, self.a_key, self.b_key

    @property
    def people(self) -> list[bytes]:
        """The keys of those who are known."""
        return [key for key in (self.a_key, self.b_key) if key is not None]

    @property
    def claim(self) -> bytes | None:
        """What `numbers.assigned_to_key` of the X is going to be."""
        return claim_of(self.mode, self.a_key)

    @property
    def takes_all(self) -> bool:
        """Whether nobody else's leg may be dialled on the X."""
        return takes_all(self.mode, self.y_on_demand)

    @property
    def has_y(self) -> bool:
        """Whether it gets a Y now."""
        return self.mode is Mode.AXYB and not self.y_on_demand


class Exhausted(Exception):
    """No number of the pool is left for this pair."""

    def __init__(self, role: Role, pool_id: str) -> None:
        super().__init__(f"no free number in {pool_id}")
        self.role = role
        self.pool_id = pool_id


class Allocation:
    """Chooses the numbers of one binding.

    `predecessors` are the ended bindings of the same pair that are still in quarantine, newest first: their
    keys may be used again, because a late call on them would reach the right person.
    """

    def __init__(self, desk: Desk, wish: Wish, predecessors: list[BindingRow]) -> None:
        self._desk = desk
        self._wish = wish
        self._predecessors = predecessors
        self._past: list[str] = [row["id"] for row in predecessors]

        #: mode axe: what was wished for, or is chosen
        self.extension: str | None = wish.extension

    def choose(self) -> tuple[NumberFacts, NumberFacts | None]:
        """X, and Y where there is one. Raises Refusal, Exhausted."""
        for person in ("a", "b"):
            number = getattr(self._wish, person)
            if number is not None and self._desk.number(number) is not None:
                raise validation_failed(person, "is a number of the platform, not of a person")
        x = self._x()
        if self._wish.mode is Mode.AXE and self.extension is None:
            self.extension = self._free_extension(x)
        return x, self._y(x) if self._wish.has_y else None

    def _x(self) -> NumberFacts:
        wish, desk = self._wish, self._desk
        if wish.x is not None:
            facts = self._named("x", wish.x)
            if facts.assigned_to_key not in (None, wish.claim):
                _taken("x", "This number is another person's, or in use in another mode.")
            if self._is_held(facts):
                detail = "It is dialled already, or was a short while ago, to reach somebody else."
                _taken("x", detail)
            return facts
        own = self._own_x() or self._x_of_last_time()
        if own is not None:
            return own
        if wish.x_pool is None:
            raise validation_failed("x_pool", "A has no number yet: name one in x, or a pool to take it from")
        pool = self._pool(wish.x_pool)

        def fits(facts: NumberFacts) -> bool:
            return (
                facts.state == NumberState.AVAILABLE
                and facts.number != wish.y
                and not any(self._holds(key, facts.number) for key in wish.people)
                and not self._is_held(facts)
            )

        found = desk.first_free(pool.id, None, fits)
        if found is None:
            raise Exhausted(Role.A, pool.id)
        return found

    def _own_x(self) -> NumberFacts | None:
        """An X that is A's already and that B can dial: a fixed one, else one lent from the pool wanted."""
        wish = self._wish
        if wish.claim in (None, ANYONE):
            return None
        own = [
            facts
            for facts in self._desk.own(wish.claim)
            if facts.assigned_by == wish.customer_id
            and facts.state in PERSONAL_STATES
            and (facts.fixed or wish.x_pool in (None, facts.pool_id))
            and facts.may_be_bound(self._desk.now)
            and not self._is_held(facts)
        ]
        # Those that the group has used were used last.
        return min(own, key=lambda f: (not f.fixed, f.used, f.last_used_at, f.number), default=None)

    def _x_of_last_time(self) -> NumberFacts | None:
        """Of a pair with one number."""
        if self._wish.mode is not Mode.AXB:
            return None
        for predecessor in self._predecessors:
            facts = self._desk.number(predecessor["x"])
            if (
                facts is not None
                and predecessor["mode"] == Mode.AXB
                and facts.state == NumberState.AVAILABLE
                and facts.may_be_bound(self._desk.now)
                and self._wish.x_pool in (None, facts.pool_id)
                and not self._is_held(facts)
            ):
                return facts
        return None

    def _is_held(self, facts: NumberFacts) -> bool:
        """Whether those who are to dial this X reach somebody else by it, or reached a short while ago."""
        wish = self._wish
        callers = callers_of_x(wish.mode, wish.a_key, wish.b_key, wish.extension)
        if any(self._holds(key, facts.number) for key in callers):
            return True
        # Whoever dials an X that anyone may dial must reach A: nobody may have had it for something else.
        is_new = facts.assigned_to_key is None
        return wish.takes_all and is_new and not self._desk.is_untouched(facts)

    def _free_extension(self, x: NumberFacts) -> str:
        """One that nobody has behind this X: three digits, more where most of those are taken."""
        for digits in range(_DIGITS, LONGEST_EXTENSION + 1):
            for _ in range(_DRAWS):
                extension = f"{secrets.randbelow(10**digits):0{digits}}"
                if not self._holds(extension_key(extension), x.number):
                    return extension
        return _taken("x", "Hardly an extension is free behind this number: name another X.")

    def _y(self, x: NumberFacts) -> NumberFacts:
        wish = self._wish
        if wish.y is not None:
            facts = self._named("y", wish.y)
            if facts.assigned_to_key is not None or facts is x:
                _taken("y", "This number is the X of a person.")
            if self._holds(self._a_key, wish.y):
                _taken("y", "A dials this number already, or did a short while ago, to reach somebody else.")
            return facts
        fits = self._fits_as_y(x)
        if (again := self._y_of_last_time(fits)) is not None:
            return again
        if wish.y_pool is None:
            raise validation_failed(
                "y_pool", "name the number that A is to dial in y, or a pool to take it from"
            )
        pool = self._pool(wish.y_pool)
        found = self._desk.first_free(pool.id, None, fits)
        if found is None:
            raise Exhausted(Role.B, pool.id)
        return found

    def _fits_as_y(self, x: NumberFacts) -> Callable[[NumberFacts], bool]:
        def fits(facts: NumberFacts) -> bool:
            return (
                facts is not x
                and facts.state == NumberState.AVAILABLE
                and not self._holds(self._a_key, facts.number)
            )

        return fits

    def _y_of_last_time(self, fits: Callable[[NumberFacts], bool]) -> NumberFacts | None:
        # So the numbers in both call logs stay good when a trip is booked again.
        for predecessor in self._predecessors:
            facts = None if predecessor["y"] is None else self._desk.number(predecessor["y"])
            if (
                facts is not None
                and fits(facts)
                and facts.may_be_bound(self._desk.now)
                and self._wish.y_pool in (None, facts.pool_id)
            ):
                return facts
        return None

    def _named(self, name: str, number: str) -> NumberFacts:
        facts = self._desk.number(number)
        if facts is None or not self._is_visible(facts):
            raise Refusal(
                "number_not_found", "No such number", "There is no such number.", 404, {"field": name}
            )
        if facts.state not in USABLE_STATES:
            raise conflict(
                "number_not_in_service", "Number not in service", f"The number is {facts.state}.", field=name
            )
        if not facts.may_be_bound(self._desk.now):
            detail = "The real name behind this number has not been verified."
            raise conflict("number_not_verified", "Number not verified", detail, field=name)
        return facts

    def _is_visible(self, facts: NumberFacts) -> bool:
        customer_id = self._wish.customer_id
        if facts.assigned_by not in (None, customer_id):
            return False
        # A number without a customer is shared if it is in a pool, which is a shared one then.
        return facts.customer_id == customer_id or (facts.customer_id is None and facts.pool_id is not None)

    def _pool(self, pool_id: str) -> PoolFacts:
        pool = self._desk.pool(pool_id)
        assert pool is not None  # noqa: S101 - it was checked that the pools asked for are there
        return pool

    @property
    def _a_key(self) -> bytes:
        assert self._wish.a_key is not None  # noqa: S101 - who gets a Y has an A
        return self._wish.a_key

    def _holds(self, key: bytes, number: str) -> bool:
        return self._desk.holds(key, number, self._past)


def _taken(name: str, detail: str) -> NoReturn:
    raise conflict("number_taken", "Number taken", detail, field=name)
