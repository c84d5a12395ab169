"""What is said where no number is left, and what would be chosen where one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings import figures_store as store
from xiaohao.bindings.choice import Exhausted, Found, Need
from xiaohao.bindings.model import Binding, Mode, Role
from xiaohao.bindings.wish import Wish
from xiaohao.clock import rfc3339_or_none
from xiaohao.errors import Refusal, conflict

#: cities that a refusal names as those that would have helped
_CITIES: Final = 5
#: A survey of a pool's cities reads the whole pool: so many refusals of one request have one.
_SURVEYS: Final = 10
#: how a shared pool stands: the acts of other customers would shine through
_UNTOLD: Final = dict.fromkeys(("total", "usable", "assigned", "not_verified", "full"))
#: more relations than a number can have
_NO_LIMIT: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A number that would be taken.

    `candidates`: from so many of its pool and city; None: without choice, or from a shared pool.
    """

    found: Found
    candidates: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reservation would come to: X and Y, or the binding that is there already, or the refusal."""

    x: Chosen | None = None
    y: Chosen | None = None
    extension: str | None = None
    existing: Binding | None = None
    refusal: Refusal | None = None


class Explaining:
    """Explains over one connection; what it read about a pool is good for the other rows of the same request.

    What other customers do is never told: of a shared pool there are no figures but of one's own legs.
    """

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._of_pools: dict[Any, Any] = {}
        self._surveys = 0

    async def chosen(self, wish: Wish, role: Role, found: Found | None) -> Chosen | None:
        """The number that stands for A or for B, and from how many it was taken."""
        if found is None:
            return None
        if found.need is None or found.facts.customer_id is None:
            return Chosen(found, None)
        by_city = await self._free_by_city(str(found.facts.pool_id), found.need)
        wished = wish.x_city if role is Role.A else wish.y_city
        if wished is None:
            return Chosen(found, sum(by_city.values()))
        return Chosen(found, by_city.get(found.facts.city, 0))

    async def refusal(self, wish: Wish, exhausted: Exhausted) -> Refusal:
        """The refusal that says how the pool stands, and which city would have helped."""
        of_x = exhausted.role is Role.A
        pool_id, cities = exhausted.pool_id, exhausted.cities
        limit = exhausted.need.policy.max_relations
        most = _NO_LIMIT if limit is None else limit
        pool = await self._of_pool(store.pool_figures, pool_id, cities, most, self._now)
        if wish.mode is not Mode.X and pool["usable"] and pool["not_displayable"] == pool["usable"]:
            detail = (
                "The pool's numbers are only dialled, and nothing that can be displayed now stands for them."
            )
            field = "x_pool" if of_x else "y_pool"
            title = "Number not displayable"
            return conflict("number_not_displayable", title, detail, field=field, pool_id=pool_id)
        if exhausted.is_shared:
            pool = _UNTOLD
        # where there is no such person, the figures of nobody: no key is empty
        a = await self._of_legs(pool_id, cities, wish, wish.a_key or b"")
        b = await self._of_legs(pool_id, cities, wish, wish.b_key or b"")
        resting = await self._of_legs(pool_id, cities, wish, None) if of_x else a
        earliest = rfc3339_or_none(resting["earliest"])
        facts = {
            "field": "x_pool" if of_x else "y_pool",
            "pool_id": pool_id,
            "total": pool["total"],
            "usable": pool["usable"],
            "assigned": pool["assigned"],
            "not_verified": pool["not_verified"],
            "at_relation_limit": pool["full"],
            "in_use_by_a": a["live"],
            "in_use_by_b": b["live"],
            "in_quarantine": resting["quarantined"],
            "earliest_quarantine_end": earliest,
        }
        detail = _why_of_shared(cities) if exhausted.is_shared else _why(of_x, pool, cities, a["live"])
        if earliest is not None:
            whose = "of yours " if exhausted.is_shared else ""
            detail += f" {resting['quarantined']} {whose}in quarantine, the first until {earliest}."
        if exhausted.is_shared and None not in cities:
            facts |= {"cities": list(cities), "free_in_other_cities": None}
            return conflict("number_pool_exhausted", "No number is free", detail, **facts)
        if None not in cities and self._surveys < _SURVEYS:
            self._surveys += 1
            by_city = await self._free_by_city(pool_id, exhausted.need)
            helpful = [
                {"city": city, "free": free}
                for city, free in by_city.items()
                if city is not None and city not in cities
            ][:_CITIES]
            facts |= {"cities": list(cities), "free_in_other_cities": helpful}
            if helpful:
                named = ", ".join(str(one["city"]) for one in helpful)
                detail += f" These cities of the pool have some left: {named}."
        return conflict("number_pool_exhausted", "No number is free", detail, **facts)

    async def _of_pool(self, ask: Any, *question: Any) -> Any:
        if (ask, *question) not in self._of_pools:
            self._of_pools[ask, *question] = await ask(self._connection, *question)
        return self._of_pools[ask, *question]

    async def _of_legs(
        self, pool_id: str, cities: tuple[str | None, ...], wish: Wish, key: bytes | None
    ) -> Any:
        return await self._of_pool(store.leg_figures, pool_id, cities, wish.customer_id, key)

    async def _free_by_city(self, pool_id: str, need: Need) -> dict[str | None, int]:
        return dict(await self._of_pool(store.free_by_city, pool_id, need, self._now))


def _where(cities: Sequence[str | None]) -> str:
    where = "The pool" if None in cities else f"City {cities[0]}"
    if len(cities) > 1:
        where += f" (nor {', '.join(str(city) for city in cities[1:])})"
    return where


def _why_of_shared(cities: Sequence[str | None]) -> str:
    return f"{_where(cities)} has none left that can be given to this pair; several customers share the pool."


def _why(of_x: bool, pool: Any, cities: Sequence[str | None], dialled_by_a: int) -> str:
    where = _where(cities)
    if pool["usable"] == 0:
        return f"{where} has no number that can be used."
    if pool["not_verified"] == pool["usable"]:
        return f"{where} has no number whose real name is verified."
    if pool["full"] == pool["usable"]:
        return f"{where} has no number that may carry another relation."
    if of_x:
        return f"{where} has none left: each is somebody's X, or collides with what A or B dial."
    if dialled_by_a == pool["usable"]:
        return f"{where} has none left: each is dialled by A already."
    return (
        f"{where} has none left: each is dialled by A already, or was a short while ago, or is somebody's X,"
        " or is not what the pool gives out: X and Y need pools of their own."
    )
