"""By which rules a number is chosen: how it was found, where it is looked for, what its pool allows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.model import Role
from xiaohao.numbers.model import Kind
from xiaohao.pools.model import CityRule, Policy


class How(StrEnum):
    """By which rule a number was chosen."""

    #: the request named it
    NAMED = "named"
    #: it is A's X already
    OWN = "own"
    #: the same pair met by it before
    LAST_TIME = "last_time"
    #: of the free numbers of its pool the one that has rested longest
    LEAST_RECENTLY_USED = "least_recently_used"


@dataclass(frozen=True, slots=True)
class Need:
    """What a number of a pool must be like, for `figures_store` to count those that are.

    `keys` of those who dial nothing else by it, legs of the bindings `past` that rest aside; by `policy` room
    for `legs`; `is_shown`: can be displayed; `is_alone`: nobody dials it; any `but_for` this one.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    past: tuple[str, ...]
    policy: Policy
    legs: int
    is_shown: bool = True
    is_alone: bool = False
    but_for: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A number, and why it is this one.

    `fallback`: the city wished for had none that is free. `need`: of one that was chosen from several.
    """

    facts: NumberFacts
    how: How
    fallback: bool = False
    need: Need | None = None


class Exhausted(Exception):
    """No number of the pool is left for this pair. `cities`: where it was looked for; (None,): anywhere."""

    def __init__(
        self, role: Role, pool_id: str, is_shared: bool, cities: tuple[str | None, ...], need: Need
    ) -> None:
        super().__init__(f"no free number in {pool_id}")
        self.role = role
        self.pool_id = pool_id
        self.is_shared = is_shared
        self.cities = cities
        self.need = need


#: gives the area code of the capital of a city's province, None where there is none
CapitalOf = Callable[[str], str | None]


def cities_tried(policy: Policy, city: str | None, capital_of: CapitalOf) -> tuple[str | None, ...]:
    """Where a number is looked for, in this order; (None,): anywhere in the pool."""
    if city is None or policy.city_rule is CityRule.STRICT:
        return (city,)
    others = policy.fallback_cities
    if others is None:
        capital = capital_of(city)
        others = () if capital is None else (capital,)
    return (city, *(other for other in others if other != city))


def has_room(policy: Policy | None, facts: NumberFacts, legs: int) -> bool:
    """Whether a number of a pool (None: of none) may carry so many legs more."""
    return policy is None or policy.max_relations is None or facts.relations + legs <= policy.max_relations


def may_be_given_out(policy: Policy, facts: NumberFacts, legs: int) -> bool:
    """Whether its pool allows a free number to be chosen: its kind, city and room."""
    return policy.takes(Kind(facts.kind), facts.city) and has_room(policy, facts, legs)
