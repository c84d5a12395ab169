"""By which rules a number is chosen: how it was found, where it is looked for, what its pool allows."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from xiaohao.bindings.allocation_store import NumberFacts
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
class Found:
    """A number, and why it is this one.

    `fallback`: the city wished for had none that is free. `most_relations`: what its pool lets it carry.
    """

    facts: NumberFacts
    how: How
    fallback: bool = False
    most_relations: int | None = None


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
