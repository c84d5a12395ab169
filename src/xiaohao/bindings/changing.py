"""How a live binding is changed: its terms, its end, and the real numbers of its people.

A key that falls away rests in quarantine, so that a late call of the person who had it meets a refusal and
never somebody else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from xiaohao.bindings.change_store import ChangeStatements
from xiaohao.bindings.model import (
    BindingState,
    Direction,
    LegState,
    Mode,
    NewNumber,
    PromptMoment,
    Role,
    is_overdue,
)
from xiaohao.bindings.modes import claim_of, is_of_many, leg_rows, legs_of, misfit
from xiaohao.bindings.renumbering import Renumbering
from xiaohao.bindings.writing_store import BindingRow, WritingStatements
from xiaohao.database.direct import Cursor
from xiaohao.database.writer import LostRace
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.secrecy import Vault

#: what says who can be reached by a binding
_WHO: Final = ("a_key", "b_key", "x", "y", "extension")


@dataclass(frozen=True, slots=True)
class Change:
    """Change a live binding. Result: the Binding, or the Refusal.

    `values` are columns of its row and their new values, with `a` and `b` for canonical real numbers.
    `extend`: an end that is later than the one named stays.
    """

    customer_id: str
    binding_id: str
    values: Mapping[str, Any] = field(repr=False)
    changed_by: str | None = None
    #: what X and Y shall be
    numbers: Mapping[str, NewNumber] = field(default_factory=dict)
    extend: bool = False
    weight: int = 3


class Changing:
    """Carries changes out inside a transaction."""

    def __init__(
        self,
        statements: WritingStatements,
        changes: ChangeStatements,
        vault: Vault,
        renumbering: Renumbering,
    ) -> None:
        self._statements = statements
        self._changes = changes
        self._vault = vault
        self._renumbering = renumbering

    def carry_out(self, cursor: Cursor, job: Change, now: int, patient: bool) -> BindingRow:
        """Gives back the row as it is from now on. `patient`: see `Desk`.

        Raises Refusal, NotLeft, LostRace, IntegrityError.
        """
        sealed = self._sealed(job.values)
        was = self._locked(cursor, job, sealed)
        numbers = dict(job.numbers)
        if was["y_on_demand"] and "y" in numbers and numbers["y"].is_pool_only:
            sealed["y_pool"] = numbers.pop("y").pool  # of the numbers that are given out from now on
        if was["state"] != BindingState.LIVE or is_overdue(was, now):
            raise conflict("binding_ended", "The binding has ended", "Only a live binding can be changed.")
        if sealed.get("mode", was["mode"]) != was["mode"]:
            detail = "The mode says who reaches whom by which number: release this binding and bind anew."
            raise conflict("mode_unchangeable", "The mode cannot be changed", detail, mode=was["mode"])
        row = {**was, **{name: value for name, value in sealed.items() if value != was[name]}}
        row = _keeping_what_is_the_same(was, row)
        if job.extend:
            row["expires_at"] = _later(was["expires_at"], row["expires_at"])
        _check(row, sealed)
        if row == was and not numbers:
            return was
        self._check_pool(cursor, row, sealed)
        children = self._live_children(cursor, row, now)
        if _people_of(row) != _people_of(was):
            for pair in _pairs_with(row, children):
                self._expire_overdue(cursor, pair, now)  # locks bindings, and therefore comes before numbers
        if numbers:
            self._renumbering.choose(cursor, was, row, numbers, children, now, patient)
            if row == was:
                return was
        row["updated_at"] = now
        self._check_people(cursor, job, was, row, children, now)
        is_passed_on = was["a_key"] != row["a_key"] and was["x"] == row["x"]
        if is_passed_on and claim_of(Mode(row["mode"]), row["a_key"]) == row["a_key"]:
            self._changes.pass_on(cursor, row, job.changed_by)
        self._write(cursor, was, row, now, job.changed_by)
        for child in children:
            self._follow(cursor, child, was, row, now, job.changed_by)
        if (was["x"], was["y"]) != (row["x"], row["y"]):
            self._let_go(cursor, was, row, children, now)
        return row

    def _let_go(
        self, cursor: Cursor, was: BindingRow, row: BindingRow, children: Sequence[BindingRow], now: int
    ) -> None:
        old, new = [[leg.dialled for leg in legs_of(content)] for content in (was, row)]
        old += [was["x"]] * len(children)
        new += [row["x"]] * len(children)
        ids = [row["id"], *(child["id"] for child in children)]
        self._renumbering.let_go(cursor, ids, old, new, now)

    def _live_children(self, cursor: Cursor, row: BindingRow, now: int) -> list[BindingRow]:
        """Those whose time is over end first."""
        if not row["y_on_demand"]:
            return []
        ids = [id_ for _, id_ in self._changes.children(cursor, [row["id"]])]
        found = self._statements.find(cursor, ids)
        live = [child for child in found if child["state"] == BindingState.LIVE]
        if overdue := [child["id"] for child in live if is_overdue(child, now)]:
            self._statements.expire(cursor, overdue, now)
        return [child for child in live if child["id"] not in overdue]

    def _check_pool(self, cursor: Cursor, row: BindingRow, named: Mapping[str, Any]) -> None:
        """Raises Refusal: `pool_not_found`."""
        if "y_pool" in named:
            pools = self._statements.pools(cursor, [row["y_pool"]])
            if not pools or pools[0]["customer_id"] not in (None, row["customer_id"]):
                raise Refusal(
                    "pool_not_found", "No such pool", "There is no such pool.", 404, {"field": "y_pool"}
                )

    def _sealed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Real numbers as keys and sealed, prompts as JSON."""
        sealed = {name: value for name, value in values.items() if name not in ("a", "b", "prompts")}
        for person in ("a", "b"):
            if person in values:
                number = values[person]
                sealed[f"{person}_key"] = None if number is None else self._vault.index(number)
                sealed[f"{person}_sealed"] = None if number is None else self._vault.seal(number)
        if "prompts" in values:
            sealed["prompts"] = prompts_json(values["prompts"])
        return sealed

    def _locked(self, cursor: Cursor, job: Change, values: Mapping[str, Any]) -> BindingRow:
        """The binding, which nobody else changes from now on. Raises Refusal: `not_found`."""
        people = self._changes.people(cursor, job.binding_id, job.customer_id)
        if people is None:
            raise not_found("binding")  # of another customer's nothing is locked
        new = [values[name] for name in ("a_key", "b_key") if values.get(name) is not None]
        self._statements.lock_people(cursor, {*people, *new})
        found = self._statements.find(cursor, [job.binding_id])
        if {found[0]["a_key"], found[0]["b_key"]} - {None} != set(people):
            raise LostRace  # somebody else has just changed its people
        return found[0]

    def _check_people(
        self,
        cursor: Cursor,
        job: Change,
        was: BindingRow,
        row: BindingRow,
        children: Sequence[BindingRow],
        now: int,
    ) -> None:
        changed = [person for person in ("a", "b") if was[f"{person}_key"] != row[f"{person}_key"]]
        numbers = [job.values[person] for person in changed if job.values[person] is not None]
        for facts in self._statements.numbers.find(cursor, numbers):
            person = next(person for person in changed if job.values[person] == facts.number)
            raise validation_failed(person, "is a number of the platform, not of a person")
        if not changed:
            return
        if "a" in changed:
            self._check_real_name(cursor, row, now)
        if row["a_key"] is not None and row["a_key"] == row["b_key"]:
            raise validation_failed(changed[0], "A and B are the same number")
        for pair in _pairs_with(row, children):
            self._check_pair(cursor, pair, now, is_child=pair["id"] != row["id"])
        personal = claim_of(Mode(row["mode"]), row["a_key"]) == row["a_key"] and was["x"] == row["x"]
        mine = [row["id"], *(child["id"] for child in children)]
        if personal and "a" in changed and self._changes.serves_others(cursor, row["x"], mine):
            raise conflict(
                "number_taken",
                "Number taken",
                "The X is the same person's in other live bindings: release those first, or bind anew.",
                field="a",
            )

    def _check_pair(self, cursor: Cursor, pair: BindingRow, now: int, *, is_child: bool) -> None:
        """Raises Refusal: `pair_taken`, `validation_failed`. `pair` is a binding as it would be."""
        if pair["a_key"] == pair["b_key"]:
            came = "B of a pair that came about by this binding has this number: release that one first, "
            raise validation_failed("a", came + pair["id"])
        for other in self._statements.of_pairs(cursor, _pairs_of(pair), now):
            swapped = other["a_key"] != pair["a_key"] and other["mode"] != Mode.AXB
            if other["state"] == BindingState.LIVE and other["id"] != pair["id"] and not swapped:
                detail = "A and B have another live binding."
                if is_child:
                    detail = (
                        "A would have two live bindings with somebody who has called the X: release this one,"
                        f" or {pair['id']}."
                    )
                raise conflict(
                    "pair_taken",
                    "The pair is taken",
                    detail,
                    binding_id=other["id"],
                    x=other["x"],
                    y=other["y"],
                )

    def _expire_overdue(self, cursor: Cursor, row: BindingRow, now: int) -> None:
        """End bindings of the pair whose time is over, which nobody has swept yet."""
        others = self._statements.of_pairs(cursor, _pairs_of(row), now)
        overdue = [other["id"] for other in others if is_overdue(other, now)]
        if overdue:
            self._statements.expire(cursor, overdue, now)

    def _check_real_name(self, cursor: Cursor, row: BindingRow, now: int) -> None:
        """Raises Refusal: `person_not_verified`, as at the binding."""
        customer = self._statements.customers(cursor, [row["customer_id"]])[row["customer_id"]]
        if customer.real_names and not self._statements.is_verified(
            cursor, row["customer_id"], row["a_key"], now
        ):
            detail = "The real name of A has not been verified, or its verification is over."
            raise conflict("person_not_verified", "Person not verified", detail, field="a")

    def _follow(
        self,
        cursor: Cursor,
        child: BindingRow,
        was: BindingRow,
        row: BindingRow,
        now: int,
        changed_by: str | None,
    ) -> None:
        """A pair that came about on the spot has the A of its parent, and lives no longer."""
        people = {"a_key": row["a_key"], "a_sealed": row["a_sealed"]}
        new = {**child, **people, "x": row["x"], "updated_at": now}
        if child["a_key"] == row["a_key"]:
            new["a_sealed"] = child["a_sealed"]
        if was["expires_at"] != row["expires_at"]:
            own = None if child["y_life_s"] is None else child["expires_at"]
            new["expires_at"] = min(
                (end for end in (own, row["expires_at"]) if end is not None), default=None
            )
        if {**new, "updated_at": child["updated_at"]} != child:
            self._write(cursor, child, new, now, changed_by)

    def _write(
        self, cursor: Cursor, was: BindingRow, row: BindingRow, now: int, changed_by: str | None
    ) -> None:
        old = {(leg["caller_key"], leg["dialled"]): leg for leg in self._changes.live_legs(cursor, was["id"])}
        new = leg_rows(row)
        keys = {(leg["caller_key"], leg["dialled"]) for leg in new}
        if was["b_key"] is None and row["b_key"] is None:
            self._keep_last_caller(list(old.values()), new)
        self._changes.rest(cursor, list(old.keys() - keys), now)
        self._take_keys(cursor, was, row, list(keys - old.keys()), now)
        self._changes.replace_live_legs(cursor, row["id"], new)
        self._changes.put(cursor, row)
        if any(was[name] != row[name] for name in _WHO):
            self._changes.put_version(cursor, was, now, changed_by)

    @staticmethod
    def _keep_last_caller(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> None:
        """Of mode AX: A is the same person, with another number or not."""
        by_a = [leg["callee_sealed"] for leg in old if leg["role"] == Role.A and leg["mode"] == Mode.AX]
        for leg in new:
            if leg["role"] == Role.A and by_a:
                leg["callee_sealed"] = by_a[0]

    def _take_keys(
        self,
        cursor: Cursor,
        was: BindingRow,
        row: BindingRow,
        keys: Sequence[tuple[bytes, str]],
        now: int,
    ) -> None:
        """Make sure that keys are free. Raises Refusal: `number_taken`."""
        mine = {row["id"]}
        if row["b_key"] is not None:
            pair = (row["customer_id"], row["a_key"], row["b_key"])
            mine |= {other["id"] for other in self._statements.of_pairs(cursor, [pair], now)}
        free = []
        for key, number, binding_id, state, until, holder in self._changes.holders(cursor, keys):
            resting = state != LegState.LIVE
            if resting and ((until or 0) <= now or binding_id in mine):
                free.append((key, number))
                continue
            field = "x" if number == row["x"] != was["x"] else _field_of(row, key)
            detail = "It is in use on this platform number already, or was a short while ago."
            if holder != row["customer_id"]:
                detail = "This number cannot be given to this pair: make a new binding, with other numbers."
            elif field == "extension":
                detail = "This extension of the X is another binding's, or was a short while ago."
            raise conflict("number_taken", "Number taken", detail, field=field, number=number)
        self._statements.free_keys(cursor, free)


def _people_of(row: BindingRow) -> tuple[bytes | None, bytes | None]:
    return row["a_key"], row["b_key"]


def _pairs_with(row: BindingRow, children: Sequence[BindingRow]) -> list[BindingRow]:
    """The binding, and the pairs that came about by it, which have the same A; those whose B is known."""
    pairs = [row, *({**child, "a_key": row["a_key"]} for child in children)]
    return [pair for pair in pairs if pair["b_key"] is not None]


def _pairs_of(row: BindingRow) -> list[tuple[str, bytes, bytes]]:
    """The pairs that would be in the way of this one: in mode AXB also the other way round."""
    customer_id, a_key, b_key = row["customer_id"], row["a_key"], row["b_key"]
    return [(customer_id, a_key, b_key), *([(customer_id, b_key, a_key)] if row["mode"] == Mode.AXB else [])]


def _field_of(row: BindingRow, key: bytes) -> str:
    """What of a change makes somebody dial with this key."""
    if is_of_many(key):
        return "extension"
    return "a" if key == row["a_key"] else "b"


def prompts_json(prompts: Mapping[PromptMoment, str] | None) -> str | None:
    """Prompts as they are stored."""
    if not prompts:
        return None
    return json.dumps({moment.value: name for moment, name in sorted(prompts.items())})


def prompts_of(text: str | None) -> dict[PromptMoment, str] | None:
    """The inverse of `prompts_json`."""
    if text is None:
        return None
    return {PromptMoment(moment): name for moment, name in json.loads(text).items()}


def _keeping_what_is_the_same(was: BindingRow, row: BindingRow) -> BindingRow:
    # the same number sealed again is not a change
    for person in ("a", "b"):
        if was[f"{person}_key"] == row[f"{person}_key"]:
            row[f"{person}_sealed"] = was[f"{person}_sealed"]
    return row


def _later(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _check(row: BindingRow, named: Mapping[str, Any]) -> None:
    """Raises Refusal unless the changed binding is one of its mode."""
    given = {"a": row["a_key"], "b": row["b_key"], "x": row["x"], "y": row["y"], "x_pool": None}
    given |= {name: row[name] for name in ("y_pool", "extension", "y_on_demand")}
    given["y_life_s"] = row["y_life_s"] if row["y_on_demand"] else named.get("y_life_s")
    wrong = misfit(Mode(row["mode"]), Direction(row["direction"]), given)
    if wrong is not None:
        raise validation_failed(*wrong)
