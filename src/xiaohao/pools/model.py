"""The terms of pools: which numbers they take, and by which policy numbers are given out and taken back."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import RowMapping

from xiaohao.numbers.model import Kind

DAY_S: Final = 86_400


class CityRule(StrEnum):
    """What happens where a city has no number that is free."""

    #: nothing: the reservation is refused
    STRICT = "strict"
    #: the fallback cities are tried in their order; without a list the capital of the province
    NEAREST = "nearest"


class Choice(StrEnum):
    """Which of the free numbers of a pool is taken."""

    #: the one that has rested longest
    LEAST_RECENTLY_USED = "least_recently_used"
    #: the one by which the same pair met before, else the one that has rested longest
    STICKY = "sticky"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a pool takes and how it gives out. Lengths of time in seconds.

    `recycle_s`: so long the keys of an ended binding rest; `grace_s`: so long of that time they still connect
    their pair (lost property). `kind` and `cities` (area codes): the only ones taken, None: any.
    `fallback_cities`: None: the capital of the province. `max_relations`: legs that one number may carry,
    None: as many as fit. `complaints_limit` complaints within `complaint_rest_s` suspend a number until so
    long after the last of them; None: never.
    """

    recycle_s: int = DAY_S
    grace_s: int = 0
    kind: Kind | None = None
    cities: tuple[str, ...] | None = None
    city_rule: CityRule = CityRule.STRICT
    fallback_cities: tuple[str, ...] | None = None
    choice: Choice = Choice.LEAST_RECENTLY_USED
    max_relations: int | None = None
    complaints_limit: int | None = None
    complaint_rest_s: int | None = None

    def takes(self, kind: Kind, city: str | None) -> bool:
        """Whether a number of this kind and city may be in the pool."""
        return self.kind in (None, kind) and (self.cities is None or city in self.cities)


@dataclass(frozen=True, slots=True)
class Pool:
    """Numbers for one purpose. `customer_id` None: all customers share it."""

    id: str
    customer_id: str | None
    name: str
    policy: Policy
    created_at: int
    updated_at: int


#: the columns of the table `pools` that hold a policy
POLICY_COLUMNS: Final = tuple(Policy.__dataclass_fields__)
_LISTS: Final = ("cities", "fallback_cities")


def policy_of(row: RowMapping | dict[str, Any]) -> Policy:
    """The policy in a row of the table `pools`."""
    values = {name: row[name] for name in POLICY_COLUMNS}
    for name in _LISTS:
        if values[name] is not None:
            values[name] = tuple(json.loads(values[name]))
    values["kind"] = None if values["kind"] is None else Kind(values["kind"])
    values["city_rule"] = CityRule(values["city_rule"])
    values["choice"] = Choice(values["choice"])
    return Policy(**values)


def columns_of(policy: Policy) -> dict[str, Any]:
    """The values of a policy for a row of the table `pools`; the inverse of `policy_of`."""
    values = {name: getattr(policy, name) for name in POLICY_COLUMNS}
    for name in _LISTS:
        if values[name] is not None:
            values[name] = json.dumps(values[name])
    values["kind"] = None if policy.kind is None else policy.kind.value
    values["city_rule"] = policy.city_rule.value
    values["choice"] = policy.choice.value
    return values


def pool_of(row: RowMapping | dict[str, Any]) -> Pool:
    """The pool in a row of the table."""
    facts = {name: row[name] for name in ("id", "customer_id", "name", "created_at", "updated_at")}
    return Pool(policy=policy_of(row), **facts)
