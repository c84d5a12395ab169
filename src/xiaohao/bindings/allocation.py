"""Which X and which Y a new binding gets, and what is said where there is none."""

from dataclasses import dataclass, field
from typing import NoReturn

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings import allocation_store as store
from xiaohao.bindings.model import Role
from xiaohao.clock import rfc3339
from xiaohao.errors import Refusal, conflict, validation_failed
from xiaohao.numbers.model import USABLE_STATES, NumberState


@dataclass(frozen=True, slots=True)
class Wish:
    """A reservation that was found in order, with all numbers canonical."""

    customer_id: str
    a: str = field(repr=False)
    b: str = field(repr=False)
    a_key: bytes = field(repr=False)
    b_key: bytes = field(repr=False)
    a_sealed: bytes = field(repr=False)
    x: str | None
    y: str | None
    x_pool: str | None
    y_pool: str | None
    now: int


class LostRace(Exception):
    """A number that was free a moment ago is not any more: choose again."""


class Exhausted(Exception):
    """No number of the pool is left for this pair."""

    def __init__(self, role: Role, pool_id: str) -> None:
        super().__init__(f"no free number in {pool_id}")
        self.role = role
        self.pool_id = pool_id


class Allocation:
    """Chooses the numbers of one binding, inside its transaction.

    `predecessors` are the ended bindings of the same pair that are still in quarantine, newest first: their
    keys may be used again, because a late call on them would reach the right person.
    """

    def __init__(self, connection: AsyncConnection, wish: Wish, predecessors: list[RowMapping]) -> None:
        self._connection = connection
        self._wish = wish
        self._predecessors = predecessors
        self.predecessor_ids: list[str] = [row["id"] for row in predecessors]
        self._known: dict[str, RowMapping] = {}

    async def choose(self) -> tuple[str, str]:
        """X and Y, marked as used. Raises Refusal, Exhausted, LostRace."""
        wish = self._wish
        named = {wish.a, wish.b, wish.x, wish.y, *(row["y"] for row in self._predecessors)}
        self._known = await store.find_numbers(self._connection, [number for number in named if number])
        for person in ("a", "b"):
            if getattr(wish, person) in self._known:
                raise validation_failed(person, "is a number of the platform, not of a person")
        x = await self._x()
        if not await store.lend(self._connection, x, wish.customer_id, wish.a_key, wish.a_sealed, wish.now):
            raise LostRace
        y = await self._y(x)
        if not await store.use(self._connection, y, wish.now):
            raise LostRace
        return x, y

    async def _x(self) -> str:
        wish = self._wish
        if wish.x is not None:
            row = self._named("x", wish.x)
            if row["assigned_to_key"] not in (None, wish.a_key):
                _taken("x", "This number is another person's.")
            if await self._is_held(wish.b_key, wish.x):
                _taken("x", "B dials this number already, or did a short while ago, to reach somebody else.")
            return wish.x
        own = await store.own_x(
            self._connection, wish.customer_id, wish.a_key, wish.x_pool, self._free_of(wish.b_key)
        )
        if own is not None:
            return own
        if wish.x_pool is None:
            raise validation_failed("x_pool", "A has no number yet: name one in x, or a pool to take it from")
        free_of = self._free_of(wish.a_key, wish.b_key)
        found = await store.least_recently_used(self._connection, wish.x_pool, free_of, wish.y)
        if found is None:
            raise Exhausted(Role.A, wish.x_pool)
        return found

    async def _y(self, x: str) -> str:
        wish = self._wish
        if wish.y is not None:
            row = self._named("y", wish.y)
            if row["assigned_to_key"] is not None or wish.y == x:
                _taken("y", "This number is the X of a person.")
            if await self._is_held(wish.a_key, wish.y):
                _taken("y", "A dials this number already, or did a short while ago, to reach somebody else.")
            return wish.y
        if (again := await self._y_of_last_time(x)) is not None:
            return again
        if wish.y_pool is None:
            raise validation_failed(
                "y_pool", "name the number that A is to dial in y, or a pool to take it from"
            )
        found = await store.least_recently_used(self._connection, wish.y_pool, self._free_of(wish.a_key))
        if found is None:
            raise Exhausted(Role.B, wish.y_pool)
        return found

    async def _y_of_last_time(self, x: str) -> str | None:
        # So the numbers in both call logs stay good when a trip is booked again.
        for predecessor in self._predecessors:
            row = self._known.get(predecessor["y"])
            if (
                row is not None
                and row["number"] != x
                and row["state"] == NumberState.AVAILABLE
                and self._wish.y_pool in (None, row["pool_id"])
                and not await self._is_held(self._wish.a_key, predecessor["y"])
            ):
                return str(predecessor["y"])
        return None

    def _named(self, name: str, number: str) -> RowMapping:
        row = self._known.get(number)
        if row is None or not self._is_visible(row):
            raise Refusal(
                "number_not_found", "No such number", "There is no such number.", 404, {"field": name}
            )
        if row["state"] not in USABLE_STATES:
            raise conflict(
                "number_not_in_service", "Number not in service", f"The number is {row['state']}.", field=name
            )
        return row

    def _is_visible(self, row: RowMapping) -> bool:
        customer_id = self._wish.customer_id
        if row["assigned_by"] not in (None, customer_id):
            return False
        # A number without a customer is shared if it is in a pool, which is a shared one then.
        return row["customer_id"] == customer_id or (
            row["customer_id"] is None and row["pool_id"] is not None
        )

    async def _is_held(self, key: bytes, number: str) -> bool:
        return await store.holds(self._connection, key, number, self._wish.now, self.predecessor_ids)

    def _free_of(self, *keys: bytes) -> tuple[tuple[bytes, ...], int, list[str]]:
        return keys, self._wish.now, self.predecessor_ids


def _taken(name: str, detail: str) -> NoReturn:
    raise conflict("number_taken", "Number taken", detail, field=name)


async def explain(connection: AsyncConnection, wish: Wish, exhausted: Exhausted) -> Refusal:
    """The refusal that says how the pool stands. Legs of other customers are never told of."""
    of_x = exhausted.role is Role.A
    pool = await store.pool_figures(connection, exhausted.pool_id)
    a = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, wish.a_key)
    b = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, wish.b_key)
    resting = a
    if of_x:
        resting = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, None)
    earliest = None if resting["earliest"] is None else rfc3339(resting["earliest"])
    if pool["usable"] == 0:
        detail = "The pool has no number that can be used."
    elif of_x:
        detail = "Every number of the pool is somebody's X, or collides with what A or B dial."
    else:
        detail = (
            "Every number of the pool is dialled by A already, or was a short while ago, or is somebody's X:"
            " X and Y need pools of their own."
        )
    if earliest is not None:
        detail += f" {resting['quarantined']} in quarantine, the first until {earliest}."
    return conflict(
        "number_pool_exhausted",
        "No number is free",
        detail,
        field="x_pool" if of_x else "y_pool",
        pool_id=exhausted.pool_id,
        total=pool["total"],
        usable=pool["usable"],
        assigned=pool["assigned"],
        in_use_by_a=a["live"],
        in_use_by_b=b["live"],
        in_quarantine=resting["quarantined"],
        earliest_quarantine_end=earliest,
    )
