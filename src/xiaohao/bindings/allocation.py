"""Which X and which Y a new binding gets, decided on a desk and written by nobody yet."""

import secrets
from collections.abc import Callable
from typing import Any, Final, NoReturn

from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.choice import (
    CapitalOf,
    Exhausted,
    Found,
    How,
    Need,
    cities_tried,
    has_room,
    may_be_given_out,
)
from xiaohao.bindings.desk import Desk, PoolFacts
from xiaohao.bindings.model import Mode, Role
from xiaohao.bindings.modes import (
    ANYONE,
    EXTENSIONS,
    LONGEST_EXTENSION,
    callers_of_x,
    extension_key,
)
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import BindingRow
from xiaohao.errors import Refusal, conflict, validation_failed
from xiaohao.numbers.model import PERSONAL_STATES, USABLE_STATES, NumberState
from xiaohao.pools.model import Policy

#: an extension that is chosen has so many digits, unless so many draws in a row find none that is free
_DIGITS: Final = 3
_DRAWS: Final = 16


class Allocation:
    """Chooses the numbers of one binding.

    `predecessors` are the ended bindings of the same pair that are still in quarantine, newest first: their
    keys may be used again, because a late call on them would reach the right person.
    """

    def __init__(
        self,
        desk: Desk,
        wish: Wish,
        predecessors: list[BindingRow],
        capital_of: CapitalOf,
        most_x: int = 0,
        leaving: str | None = None,
        more_legs: int = 0,
    ) -> None:
        """`leaving`: an X that A gives up for this one. `more_legs` are dialled on the X besides."""
        self._desk, self._wish = desk, wish
        self._predecessors = predecessors
        self._past: list[str] = [row["id"] for row in predecessors]
        self._capital_of = capital_of
        self._most_x, self._leaving = most_x, leaving
        #: legs that will be dialled on X
        self._legs_on_x = (2 if wish.mode in (Mode.AXB, Mode.AX) else 1) + more_legs
        #: mode axe: what was wished for, or is chosen
        self.extension: str | None = wish.extension

    def choose(self) -> tuple[Found, Found | None]:
        """X, and Y where there is one. Raises Refusal, Exhausted."""
        for person in ("a", "b"):
            number = getattr(self._wish, person)
            if number is not None and self._desk.number(number) is not None:
                raise validation_failed(person, "is a number of the platform, not of a person")
        x = self.x()
        if self._wish.mode is Mode.AXE and self.extension is None:
            self.extension = self._free_extension(x.facts)
        return x, self.y(x.facts) if self._wish.has_y else None

    def x(self) -> Found:
        """The number that stands for A. Raises as `choose`."""
        wish = self._wish
        if wish.x is not None:
            facts = self._named("x", wish.x, self._legs_on_x)
            if facts.assigned_to_key not in (None, wish.claim):
                _taken("x", "This number is another person's, or in use in another mode.")
            if self._is_held(facts):
                self._refuse_held(facts)
            if facts.assigned_to_key is None:
                self._check_another_x("x")
            return Found(facts, How.NAMED)
        pool = None if wish.x_pool is None else self._pool(wish.x_pool)
        if (own := self._own_x(pool)) is not None:
            return Found(own, How.OWN)
        again = self._of_last_time("x", self._fits_as_x, wish.x_pool, always=wish.mode is Mode.AXB)
        if again is not None:
            return Found(again, How.LAST_TIME)
        if pool is None:
            raise validation_failed("x_pool", self._why_no_own_x())
        self._check_another_x("x_pool")
        need = Need(
            tuple(wish.people),
            tuple(self._past),
            pool.policy,
            self._legs_on_x,
            is_shown=wish.mode is not Mode.X,
            is_alone=wish.takes_all,
            but_for=wish.y,
        )
        return self._of_pool(Role.A, pool, wish.x_city, self._fits_as_x, need)

    def _check_another_x(self, field: str) -> None:
        """Raises Refusal: `x_limit`, where A has as many X as one person may have."""
        wish = self._wish
        if not self._most_x or wish.a_key is None or wish.claim != wish.a_key:
            return
        own = [facts for facts in self._desk.own(wish.a_key) if facts.number != self._leaving]
        mine = sum(facts.assigned_by == wish.customer_id for facts in own)
        if mine >= self._most_x:
            detail = f"A has {mine} numbers already, as many as one person may have."
            raise conflict("x_limit", "No further X for this person", detail, field=field)

    def _fits_as_x(self, facts: NumberFacts) -> bool:
        wish = self._wish
        return (
            facts.state == NumberState.AVAILABLE
            and facts.number != wish.y
            and self._is_allowed(facts, self._legs_on_x)
            and not any(self._holds(key, facts.number) for key in wish.people)
            and not self._is_held(facts)
        )

    def _own_x(self, pool: PoolFacts | None) -> NumberFacts | None:
        """An X that is A's already and that B can dial: a fixed one, else one lent from the pool wanted."""
        wish = self._wish
        if wish.claim in (None, ANYONE):
            return None
        cities = cities_tried(Policy() if pool is None else pool.policy, wish.x_city, self._capital_of)
        own = [
            facts
            for facts in self._desk.own(wish.claim)
            if facts.assigned_by == wish.customer_id
            and facts.state in PERSONAL_STATES
            and (facts.fixed or wish.x_pool in (None, facts.pool_id))
            and (cities == (None,) or facts.city in cities)
            and has_room(self._policy(facts), facts, self._legs_on_x)
            and self._desk.can_be_shown(facts)
            and facts.may_be_bound(self._desk.now)
            and not self._is_held(facts)
        ]

        def order(facts: NumberFacts) -> tuple[Any, ...]:
            nearness = 0 if cities == (None,) else cities.index(facts.city)
            is_resting = facts.state != NumberState.IN_SERVICE
            # Those that the group has used were used last.
            return nearness, not facts.fixed, is_resting, facts.used, facts.last_used_at, facts.number

        return min(own, key=order, default=None)

    def _of_last_time(
        self, name: str, fits: Callable[[NumberFacts], bool], pool_id: str | None, *, always: bool
    ) -> NumberFacts | None:
        """The number by which the pair met before, so that it stays good in both call logs.

        For as long as it rests (`always`), or for ever where its pool is sticky.
        """
        wish = self._wish
        past = self._predecessors if always else []
        if wish.pair is not None and pool_id is not None and self._pool(pool_id).is_sticky:
            last = self._desk.last_of_pair(wish.pair)
            past = [*self._predecessors, *([] if last is None else [last])]
        wished = wish.x_city if name == "x" else wish.y_city
        for row in past:
            facts = None if row[name] is None else self._desk.number(row[name])
            if (
                facts is not None
                and row["mode"] == wish.mode
                and pool_id in (None, facts.pool_id)
                and wished in (None, facts.city)
                and facts.assigned_to_key is None
                and facts.may_be_bound(self._desk.now)
                and self._is_visible(facts)
                and fits(facts)
            ):
                return facts
        return None

    def _of_pool(
        self,
        role: Role,
        pool: PoolFacts,
        city: str | None,
        fits: Callable[[NumberFacts], bool],
        need: Need,
    ) -> Found:
        cities = cities_tried(pool.policy, city, self._capital_of)
        for place, tried in enumerate(cities):
            facts = self._desk.first_free(pool.id, tried, fits)
            if facts is not None:
                return Found(facts, How.LEAST_RECENTLY_USED, place > 0, need)
        raise Exhausted(role, pool.id, pool.customer_id is None, cities, need)

    def _policy(self, facts: NumberFacts) -> Policy | None:
        pool = None if facts.pool_id is None else self._desk.pool(facts.pool_id)
        return None if pool is None else pool.policy

    def _is_allowed(self, facts: NumberFacts, legs: int) -> bool:
        policy = self._policy(facts)
        return self._can_be_shown(facts) and (policy is None or may_be_given_out(policy, facts, legs))

    def _can_be_shown(self, facts: NumberFacts) -> bool:
        # What mode X is given is only dialled, and never stands for anybody.
        return self._wish.mode is Mode.X or self._desk.can_be_shown(facts)

    def _is_held(self, facts: NumberFacts) -> bool:
        """Whether those who are to dial this X reach somebody else by it, or reached a short while ago."""
        wish = self._wish
        callers = callers_of_x(wish.mode, wish.a_key, wish.b_key, wish.extension)
        if any(self._holds(key, facts.number) for key in callers):
            return True
        # Whoever dials an X that anyone may dial must reach A: nobody may have had it for something else.
        is_new = facts.assigned_to_key is None
        return wish.takes_all and is_new and not self._desk.is_untouched(facts)

    def _refuse_held(self, facts: NumberFacts) -> NoReturn:
        """Why a named X is held: what other customers' people dial is not told."""
        wish = self._wish
        if wish.mode is Mode.AXE and wish.extension is not None and facts.assigned_to_key == wish.claim:
            # the X serves nobody but this customer's people behind extensions
            _taken("extension", _EXTENSION_TAKEN)
        callers = callers_of_x(wish.mode, wish.a_key, wish.b_key, wish.extension)
        holders: set[str] = set()
        for key in callers:
            if self._holds(key, facts.number):
                holders |= self._desk.holders(key, facts.number)
        if wish.takes_all and facts.assigned_to_key is None:
            holders |= self._desk.diallers(facts.number)
        _taken("x", _X_DIALLED if wish.customer_id in holders else _NOT_FOR_THESE)

    def _why_no_own_x(self) -> str:
        wish = self._wish
        claim = wish.claim
        if claim in (None, ANYONE, EXTENSIONS):
            return "name the number that stands for A in x, or a pool to take it from"
        mine = [facts for facts in self._desk.own(claim) if facts.assigned_by == wish.customer_id]
        if not mine:
            return "A has no number yet: name one in x, or a pool to take it from"
        if all(self._is_held(facts) for facts in mine):
            whom = "whoever dials it reaches A already" if wish.takes_all else "B dials it already"
            return (
                f"A has a number already, but this binding cannot have it: {whom} by another"
                " binding, or did a short while ago. Name a pool to take another number from"
            )
        return (
            "A has a number already, but it cannot serve this binding: it is not in service, not verified,"
            " not to be shown, of another city, or at its limit. Name a pool to take another number from"
        )

    def _free_extension(self, x: NumberFacts) -> str:
        """One that nobody has behind this X: three digits, more where most of those are taken."""
        for digits in range(_DIGITS, LONGEST_EXTENSION + 1):
            for _ in range(_DRAWS):
                extension = f"{secrets.randbelow(10**digits):0{digits}}"
                if not self._holds(extension_key(extension), x.number):
                    return extension
        return _taken("x", "Hardly an extension is free behind this number: name another X.")

    def y(self, x: NumberFacts) -> Found:
        """The number that stands for B. Raises as `choose`."""
        wish = self._wish
        if wish.y is not None:
            facts = self._named("y", wish.y, 1)
            if facts.assigned_to_key is not None or facts is x:
                _taken("y", "This number is the X of a person.")
            if self._holds(self._a_key, wish.y):
                of_ours = wish.customer_id in self._desk.holders(self._a_key, wish.y)
                _taken("y", _A_DIALS_IT if of_ours else _NOT_FOR_THESE)
            return Found(facts, How.NAMED)

        def fits(facts: NumberFacts) -> bool:
            return (
                facts is not x
                and facts.state == NumberState.AVAILABLE
                and self._is_allowed(facts, 1)
                and not self._holds(self._a_key, facts.number)
            )

        if (again := self._of_last_time("y", fits, wish.y_pool, always=True)) is not None:
            return Found(again, How.LAST_TIME)
        if wish.y_pool is None:
            raise validation_failed(
                "y_pool", "name the number that A is to dial in y, or a pool to take it from"
            )
        pool = self._pool(wish.y_pool)
        need = Need((self._a_key,), tuple(self._past), pool.policy, 1, but_for=x.number)
        return self._of_pool(Role.B, pool, wish.y_city, fits, need)

    def _named(self, name: str, number: str, legs: int) -> NumberFacts:
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
        if not self._can_be_shown(facts):
            detail = (
                "This number is only dialled, and nothing that can be displayed now is shown in its place."
            )
            raise conflict("number_not_displayable", "Number not displayable", detail, field=name)
        policy = self._policy(facts)
        if policy is not None and not has_room(policy, facts, legs):
            most = policy.max_relations
            detail = f"Its pool lets a number carry {most} live relations, and it has no room for this one."
            raise conflict(
                "relation_limit", "No room for another relation", detail, field=name, max_relations=most
            )
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


_A_DIALS_IT: Final = "A dials this number already, or did a short while ago, to reach somebody else."
_X_DIALLED: Final = "It is dialled already, or was a short while ago, to reach somebody else."
_EXTENSION_TAKEN: Final = "This extension of the X is another binding's, or was a short while ago."
#: of what other customers do with a shared number
_NOT_FOR_THESE: Final = "This number cannot be given to this pair: name another one, or a pool."


def _taken(name: str, detail: str) -> NoReturn:
    raise conflict("number_taken", "Number taken", detail, field=name)
