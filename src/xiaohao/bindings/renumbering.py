"""Another X, or another Y, for a binding that lives: named, or chosen by the rules of a new one.

What may not come of it: a person with two X because one of their bindings went over to another number, and a
pair that came about on the spot with another X than the binding by which it did.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from xiaohao.bindings.allocation import Allocation
from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.change_store import ChangeStatements
from xiaohao.bindings.choice import CapitalOf, Exhausted, cities_tried
from xiaohao.bindings.desk import Desk
from xiaohao.bindings.entitled import check_owner
from xiaohao.bindings.model import Mode, NewNumber
from xiaohao.bindings.modes import claim_of
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import BindingRow, WritingStatements
from xiaohao.database.direct import Cursor
from xiaohao.errors import conflict, validation_failed
from xiaohao.numbers.model import NumberState
from xiaohao.pools.model import Policy

_STANDS_FOR: Final = {"x": "A", "y": "B"}
_SHARED: Final = "The X is not this binding's alone"


class NotLeft(Exception):
    """No number is left that a binding could go over to."""

    def __init__(self, wish: Wish, exhausted: Exhausted) -> None:
        super().__init__(str(exhausted))
        self.wish = wish
        self.exhausted = exhausted


class Renumbering:
    """Decides about numbers inside a transaction; `most_x` as in `Allocation`."""

    def __init__(
        self,
        statements: WritingStatements,
        changes: ChangeStatements,
        capital_of: CapitalOf,
        most_x: int = 0,
    ) -> None:
        self._statements = statements
        self._changes = changes
        self._capital_of = capital_of
        self._most_x = most_x

    def choose(
        self,
        cursor: Cursor,
        was: BindingRow,
        row: BindingRow,
        wanted: Mapping[str, NewNumber],
        children: Sequence[BindingRow],
        now: int,
        patient: bool,
    ) -> None:
        """Put the numbers wanted into `row`, and write what becomes of them; `children` live by this binding.

        What is fits already stays. `patient`: see `Desk`. Raises Refusal, NotLeft, LostRace, IntegrityError.
        """
        desk = Desk(cursor, self._statements, now, patient=patient)
        for name in ("x", "y"):
            if (wish := wanted.get(name)) is None:
                continue
            _check_mode(row, name, wish)
            present = _known(desk, row[name])
            if not self._stays(desk, present, wish):
                desk.leave([present.number])
                if name == "x":
                    self._another_x(desk, was, row, wish, children)
                else:
                    found = self._chosen(desk, row, "y", wish)
                    desk.use(found, 1)
                    row["y"] = found.number
        desk.flush()

    def _stays(self, desk: Desk, present: NumberFacts, wanted: NewNumber) -> bool:
        if wanted.number is not None:
            return wanted.number == present.number
        if wanted.instead_of == present.number or wanted.pool not in (None, present.pool_id):
            return False
        if wanted.city is None:
            return True
        return present.city in cities_tried(_policy(desk, present), wanted.city, self._capital_of)

    def _another_x(
        self,
        desk: Desk,
        was: BindingRow,
        row: BindingRow,
        wanted: NewNumber,
        children: Sequence[BindingRow],
    ) -> None:
        if row["parent_id"] is not None:
            raise conflict(
                "x_shared",
                _SHARED,
                "This pair came about by another binding, whose X it has: change the X of that one.",
                binding_id=row["parent_id"],
            )
        found = self._chosen(desk, row, "x", wanted, len(children))
        claim = claim_of(Mode(row["mode"]), row["a_key"])
        if claim is not None and claim == row["a_key"] == was["a_key"]:
            self._check_leaving(desk, was, found, [row["id"], *(child["id"] for child in children)])
        if found.state != NumberState.IN_SERVICE and claim is not None:
            sealed = row["a_sealed"] if claim == row["a_key"] else None
            desk.lend(found, row["customer_id"], claim, sealed)
        desk.use(found, (2 if row["mode"] in (Mode.AXB, Mode.AX) else 1) + len(children))
        row["x"] = found.number

    def _check_leaving(self, desk: Desk, was: BindingRow, new: NumberFacts, mine: Sequence[str]) -> None:
        """Raises Refusal: `x_shared`, where A would have both the old X and one that is not A's yet."""
        if new.assigned_to_key == was["a_key"] and new.state == NumberState.IN_SERVICE:
            return
        other = self._changes.other_with(desk.cursor, was["x"], mine)
        if other is not None:
            detail = "A has it in other live bindings: name an X that is A's already, or end those first."
            raise conflict("x_shared", _SHARED, detail, binding_id=other)
        if _known(desk, was["x"]).fixed:
            detail = "It is A's fixed X and stays so: unassign it, or make the other one A's first."
            raise conflict("x_shared", _SHARED, detail, binding_id=None)

    def _chosen(
        self, desk: Desk, row: BindingRow, name: str, wanted: NewNumber, more_legs: int = 0
    ) -> NumberFacts:
        """By the rules of a new binding. Raises Refusal, NotLeft."""
        wish = _wish(desk, row, name, wanted)
        check_owner(desk, wish)
        past = [] if wish.pair is None else [one for one in desk.of_pair(wish.pair) if one["id"] != row["id"]]
        if wanted.number is not None:
            past.insert(0, row)  # back to what rests from this binding itself, if that is what is named
        leaving = row["x"] if name == "x" else None
        allocation = Allocation(desk, wish, past, self._capital_of, self._most_x, leaving, more_legs)
        try:
            found = allocation.x() if name == "x" else allocation.y(_known(desk, row["x"]))
        except Exhausted as exhausted:
            raise NotLeft(wish, exhausted) from None
        return found.facts

    def let_go(
        self, cursor: Cursor, binding_ids: Sequence[str], old: Iterable[str], new: Iterable[str], now: int
    ) -> None:
        """Take note of the numbers on which these bindings had live legs, and have them now."""
        gone = Counter(old)
        gone.subtract(Counter(new))
        for number, count in sorted(gone.items()):
            if count > 0:
                self._statements.numbers.use(cursor, [number], -count, now)
        self._statements.numbers.lending.let_age(cursor, binding_ids, now)


def _check_mode(row: BindingRow, name: str, wanted: NewNumber) -> None:
    if name == "y" and row["y"] is None:
        field = "y" if wanted.number is not None else "instead_of_y" if wanted.instead_of else "y_city"
        field = "y_pool" if wanted.pool is not None and not row["y_on_demand"] else field
        named = "axyb with y_on_demand" if row["y_on_demand"] else row["mode"]
        raise validation_failed(field, f"mode {named} has no such field")
    if wanted.number is not None and wanted.number == row["y" if name == "x" else "x"]:
        raise validation_failed(name, "x and y are the same number")


def _wish(desk: Desk, row: BindingRow, name: str, wanted: NewNumber) -> Wish:
    present = _known(desk, row[name])
    pool, city = wanted.pool, wanted.city
    if wanted.number is None and pool is None:
        pool = present.pool_id
        if pool is None:
            detail = f"the number that stands for {_STANDS_FOR[name]} is in no pool: name one"
            raise validation_failed(f"{name}_pool", detail)
        city = present.city if city is None else city
    chosen: dict[str, Any] = {name: wanted.number, f"{name}_pool": pool, f"{name}_city": city}
    numbers = {"x": row["x"], "y": row["y"], "x_pool": None, "y_pool": None, **chosen}
    return Wish(
        customer_id=row["customer_id"],
        mode=Mode(row["mode"]),
        a=None,
        b=None,
        a_key=row["a_key"],
        b_key=row["b_key"],
        extension=row["extension"],
        y_on_demand=row["y_on_demand"],
        **numbers,
    )


def _policy(desk: Desk, facts: NumberFacts) -> Policy:
    pool = None if facts.pool_id is None else desk.pool(facts.pool_id)
    return Policy() if pool is None else pool.policy


def _known(desk: Desk, number: str) -> NumberFacts:
    facts = desk.number(number)
    assert facts is not None  # noqa: S101 - a number that a binding has stays in the inventory
    return facts
